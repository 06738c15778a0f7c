"""Plain settings: the client's own request, and what to do at which tier."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .control import MODES, Control
from .errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._core import Ignores

_FEATURE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,31}")

Text = str | bytes
Headers = Sequence[tuple[Text, Text]]

BITS = {"weak": 14.0, "strong": 22.0, "certain": 30.0}
WATCH = ("repetition", "sameness", "twins")  # by what is compared; docs/evidence.md
ACTIONS = ("log", "no-store", "redact", "trim", "truncate", "block", "trip")  # by rising strength
_DEFAULT = {"weak": "log", "strong": "no-store", "certain": "block"}


def block_bits(budget: float, responses_per_day: float) -> float:
    """Bits from which to block so that at most ``budget`` clean responses a year are: at most 2**-bits of them reach as many.

    Never below 22, tier strong: max(22, log2(responses a year / budget)), with 365 days a year.

    Raises
    ------
    ConfigError
        When a value is not above 0 and finite.
    """
    for name, value in (("budget", budget), ("responses_per_day", responses_per_day)):
        if not 0 < value < math.inf:
            raise ConfigError(f"{name}: found {value}, expected a number above 0")
    return max(BITS["strong"], math.log2(responses_per_day) + math.log2(365) - math.log2(budget))


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
    """What a filter does.

    Parameters
    ----------
    mode
        ``off``, ``monitor`` (the default: never alters a byte) or ``enforce``.
    action
        What ``enforce`` does at a tier, by its name: ``log``; ``no-store`` (no cache and no search engine may keep it);
        ``redact`` (what was found is overwritten, byte for byte); ``trim`` (a tail behind a complete image, font or other
        container is dropped); ``truncate`` (the body ends before the first sign); ``block``; ``trip`` (blocked, and the response's
        features are switched off at once). Of the tiers reached the strongest
        action is taken; a tier that is not named keeps its default: weak logs, strong is not stored, certain is blocked.
    block_from
        Short for ``action`` block from this tier on.
    on_error
        What ``enforce`` does with a coded body that cannot be decoded: ``pass`` or ``block``.
    hold, hold_ms
        The delay line, in bytes, and how long it may wait, in milliseconds.
    test_key
        16 bytes: a response that echoes a token of :func:`overread.selftest.token` out of its request is stopped, and its event
        marked as a test.
    most_blocked
        Share of responses that ``enforce`` may stop, of every 1,000 of a scanner; above it the scanner's filters only monitor,
        until a whole 1,000 has fewer that they would stop. 0: any.
    watch
        What is compared with other responses of the scanner, by name: ``repetition`` (signs on one path that are too many for
        chance are an event), ``sameness`` (the same raw bytes in every fetch of a path are published text: logged, no more) and
        ``twins`` (bytes that the same object, by URL and strong ETag, did not have). Each wants a request with a host.
    budget, responses_per_day
        False blocks a year that are bearable, at this traffic. Together they say from where a response is blocked, in place of
        ``action``.
    threshold
        Bits from which a response is an alarm and the action of tier strong is taken, 14 to 1000; 22 by default.
    ignore
        What is known and harmless.
    control
        An :class:`overread.Control`: in ``enforce`` alarms of features are told there.
    feature, feature_header
        The feature that makes these responses, 1 to 32 letters, digits, ``-``, ``_`` or ``.``, which is not the first; a field of the response that names more
        of them, with commas between.
    trip_alarms, trip_ms, rearm_ms
        So many alarms of a feature (1 to 64) within so long trip it (a minute by default), and after so long it is armed again (0: by
        hand). Times in milliseconds; 0 alarms never trip.
    events_per_second, weak_sample
        Of a scanner's events so many a second are written, half of them for tier weak, and of tier weak one in so many; 0 means all.

    Raises
    ------
    ConfigError
        When a value is out of range, or of budget and responses_per_day one is missing.
    """

    mode: str = "monitor"
    block_from: str | None = None
    hold: int = 16384
    hold_ms: int = 50
    budget: float | None = None
    responses_per_day: float | None = None
    action: Mapping[str, str] = field(default_factory=dict, hash=False)
    on_error: str = "pass"
    test_key: bytes | None = field(default=None, repr=False)
    most_blocked: float = 0.0
    threshold: float | None = None
    ignore: Ignores | None = field(default=None, compare=False)
    control: Control | None = field(default=None, compare=False)
    feature: str = ""
    feature_header: str = ""
    trip_alarms: int = 0
    trip_ms: int = 60_000
    rearm_ms: int = 0
    events_per_second: int = 0
    weak_sample: int = 0
    watch: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(f"mode: found {self.mode!r}, expected one of {', '.join(MODES)}")
        for tier, name in self.action.items():
            if tier not in BITS:
                raise ConfigError(f"action: found tier {tier!r}, expected one of {', '.join(BITS)}")
            if name not in ACTIONS:
                raise ConfigError(f"action of {tier}: found {name!r}, expected one of {', '.join(ACTIONS)}")
        for name in self.watch:
            if name not in WATCH:
                raise ConfigError(f"watch: found {name!r}, expected some of {', '.join(WATCH)}")
        if not 0 <= self.most_blocked <= 1:
            raise ConfigError(f"most_blocked: found {self.most_blocked}, expected a share, 0 to 1")
        if self.test_key is not None and not isinstance(self.test_key, bytes):
            raise ConfigError(f"test_key: found {type(self.test_key).__name__}, expected bytes")
        if self.test_key is not None and len(self.test_key) != 16:
            raise ConfigError(f"test_key: found {len(self.test_key)} bytes, expected 16")
        if self.on_error not in ("pass", "block"):
            raise ConfigError(f"on_error: found {self.on_error!r}, expected pass or block")
        if self.block_from is not None and self.block_from not in BITS:
            raise ConfigError(f"block_from: found {self.block_from!r}, expected one of {', '.join(BITS)}")
        if not 0 <= self.hold < 2**32 - 1:
            raise ConfigError(f"hold: found {self.hold}, expected 0 to 4294967294 bytes")
        if not 0 < self.hold_ms <= 60000:
            raise ConfigError(f"hold_ms: found {self.hold_ms}, expected 1 to 60000 milliseconds")
        for given, name, missing in ((self.budget, "budget", "responses_per_day"), (self.responses_per_day, "responses_per_day", "budget")):
            if given is not None and getattr(self, missing) is None:
                raise ConfigError(f"{missing}: found nothing, expected a number beside {name}")
        if self.threshold is not None and not BITS["weak"] <= self.threshold <= 1000:
            raise ConfigError(f"threshold: found {self.threshold}, expected 14 to 1000 bits")
        if self.feature and not _FEATURE.fullmatch(self.feature):
            raise ConfigError(f"feature: found {self.feature!r}, expected 1 to 32 letters, digits, '-', '_' or '.'")
        if not (len(self.feature_header) <= 64 and self.feature_header.isascii()):
            raise ConfigError("feature_header: expected the name of a field, at most 64 bytes")
        if not 0 <= self.trip_alarms <= 64:
            raise ConfigError(f"trip_alarms: found {self.trip_alarms}, expected 0 to 64")
        for name in ("trip_ms", "rearm_ms", "events_per_second", "weak_sample"):
            if not 0 <= getattr(self, name) < 2**32:
                raise ConfigError(f"{name}: found {getattr(self, name)}, expected 0 to 4294967295")
        _ = self.block_bits  # a budget out of range is an error here, not at the first response

    @property
    def actions(self) -> dict[str, str]:
        """The action of every tier."""
        out = {**_DEFAULT, **self.action}
        if self.block_from is not None:
            out |= {tier: "block" for tier, bits in BITS.items() if bits >= BITS[self.block_from]}
        return out

    @property
    def block_bits(self) -> float:
        """Bits from which a response is blocked in enforce; infinite where no tier is."""
        if self.budget is None or self.responses_per_day is None:
            return min((BITS[tier] for tier, action in self.actions.items() if action == "block"), default=math.inf)
        return block_bits(self.budget, self.responses_per_day)
