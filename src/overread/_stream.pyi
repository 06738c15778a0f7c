from collections.abc import Iterable, Mapping, Sequence
from os import PathLike

from typing_extensions import Buffer

from ._core import Ruleset
from .policy import Headers, Policy, Request, Text
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

class Filter:
    def body(self, chunk: Buffer) -> bytes: ...
    def flush(self) -> bytes: ...
    def trailers(self, fields: Headers | Mapping[Text, Text]) -> bytes: ...
    def end(self) -> bytes: ...
    def verdict(self) -> Verdict: ...
    def unsent(self) -> None: ...
    def event(self, proxy: str, method: Text = "", host: Text = "", target: Text = "", *, unix_ms: int = 0, owner: Text = "") -> str: ...
    @property
    def verb(self) -> str: ...
    @property
    def head_ready(self) -> bool: ...
    @property
    def headers(self) -> list[tuple[Text, Text]]: ...
    @property
    def no_store(self) -> bool: ...
    @property
    def hold_ms(self) -> int: ...
    @property
    def ignored(self) -> list[int]: ...
    @property
    def wants_event(self) -> bool: ...
    @property
    def repeated(self) -> bool: ...
    @property
    def id(self) -> str: ...

class SecretRegistry:
    def __init__(
        self,
        *,
        memory: int = 0,
        life: float = 0,
        key: bytes | None = None,
        segment: str | PathLike[str] | None = None,
        names: Iterable[str] = (),
    ) -> None: ...
    def observe_request(
        self,
        owner: Text | None,
        headers: Headers | Mapping[Text, Text],
        body: Buffer = b"",
        *,
        target: Text = "/",
        method: Text = "GET",
        unix_ms: int | None = None,
    ) -> None: ...
    def observe_response(
        self,
        owner: Text | None,
        headers: Headers | Mapping[Text, Text],
        body: Buffer = b"",
        *,
        content_type: Text | None = None,
        request: Request | None = None,
        unix_ms: int | None = None,
    ) -> None: ...
    def plant(self, token: Text, *, unix_ms: int | None = None) -> None: ...
    def retire(self, token: Text) -> None: ...
    def canary(self, owner: Text | None = None, *, unix_ms: int | None = None) -> str: ...
    def poison_key(self, *, unix_ms: int | None = None) -> bytes: ...
    def export_changed(self, *, unix_ms: int | None = None, most: int = 65536) -> bytes: ...
    def import_changed(self, records: Buffer, *, unix_ms: int | None = None) -> None: ...
    @property
    def key_id(self) -> str: ...
    def metrics(self, *, unix_ms: int | None = None) -> dict[str, int]: ...

def poison(buffer: Buffer, key: bytes) -> None: ...

class Scanner:
    threshold: float
    hold: int
    registry: SecretRegistry | None
    def __init__(
        self,
        ruleset: Ruleset | None = None,
        *,
        threshold: float = 22.0,
        hold: int = 16384,
        kernel: str | None = None,
        key: bytes | None = None,
        registry: SecretRegistry | None = None,
        max_decoded: int = 0,
        max_ratio: int = 0,
    ) -> None: ...
    @property
    def kernel(self) -> str: ...
    def site_counts(self) -> str: ...
    def stream(
        self,
        content_type: Text | None = None,
        *,
        status: int = 200,
        reason: Text | None = None,
        headers: Headers | Mapping[Text, Text] = (),
        request: Request | None = None,
        owner: Text | None = None,
        unix_ms: int | None = None,
    ) -> Stream: ...
    def filter(
        self,
        policy: Policy,
        content_type: Text | None = None,
        *,
        status: int = 200,
        reason: Text | None = None,
        headers: Headers | Mapping[Text, Text] = (),
        request: Request | None = None,
        owner: Text | None = None,
        unix_ms: int | None = None,
    ) -> Filter: ...
    def scan(
        self,
        body: Buffer,
        content_type: Text | None = None,
        *,
        status: int = 200,
        reason: Text | None = None,
        headers: Headers | Mapping[Text, Text] = (),
        request: Request | None = None,
        owner: Text | None = None,
        unix_ms: int | None = None,
    ) -> Verdict: ...
    def scan_many(self, bodies: Iterable[Buffer] | Sequence[Buffer], threads: int | None = None, content_type: Text | None = None) -> list[Verdict]: ...
