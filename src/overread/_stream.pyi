from collections.abc import Iterable, Mapping, Sequence

from typing_extensions import Buffer

from ._core import Ruleset
from .policy import Headers, Request, Text
from .verdict import Verdict

class Stream:
    def feed(self, chunk: Buffer) -> int: ...
    def flush(self) -> int: ...
    def trailers(self, fields: Headers | Mapping[Text, Text]) -> int: ...
    def finish(self) -> Verdict: ...
    @property
    def bits(self) -> float: ...
    @property
    def leaked(self) -> bool: ...
    @property
    def tier(self) -> str: ...

class Scanner:
    threshold: float
    hold: int
    def __init__(self, ruleset: Ruleset | None = None, *, threshold: float = 22.0, hold: int = 16384, kernel: str | None = None) -> None: ...
    @property
    def kernel(self) -> str: ...
    def stream(
        self,
        content_type: Text | None = None,
        *,
        status: int = 200,
        reason: Text | None = None,
        headers: Headers | Mapping[Text, Text] = (),
        request: Request | None = None,
    ) -> Stream: ...
    def scan(
        self,
        body: Buffer,
        content_type: Text | None = None,
        *,
        status: int = 200,
        reason: Text | None = None,
        headers: Headers | Mapping[Text, Text] = (),
        request: Request | None = None,
    ) -> Verdict: ...
    def scan_many(self, bodies: Iterable[Buffer] | Sequence[Buffer], threads: int | None = None, content_type: Text | None = None) -> list[Verdict]: ...
