"""Plain settings: the client's own request, and what to do at which tier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .errors import ConfigError

Text = str | bytes
Headers = Sequence[tuple[Text, Text]]

BITS = {"weak": 14.0, "strong": 22.0, "certain": 30.0}
MODES = ("off", "monitor", "enforce")


@dataclass(frozen=True, slots=True)
class Request:
    """The client's own request: findings that consist wholly of its values are exempt. Only keyed digests are kept."""

    method: Text
    target: Text
    headers: Headers = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)

    def __repr__(self) -> str:
        return f"<overread.Request with {len(self.headers)} headers>"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a filter does: ``hold`` in bytes, ``hold_ms`` in milliseconds.

    Raises
    ------
    ConfigError
        When a value is out of range.
    """

    mode: str = "monitor"
    block_from: str = "certain"
    hold: int = 16384
    hold_ms: int = 50

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(f"mode: found {self.mode!r}, expected one of {', '.join(MODES)}")
        if self.block_from not in BITS:
            raise ConfigError(f"block_from: found {self.block_from!r}, expected one of {', '.join(BITS)}")
        if not 0 <= self.hold < 2**32 - 1:
            raise ConfigError(f"hold: found {self.hold}, expected 0 to 4294967294 bytes")
        if not 0 < self.hold_ms <= 60000:
            raise ConfigError(f"hold_ms: found {self.hold_ms}, expected 1 to 60000 milliseconds")
