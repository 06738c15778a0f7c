"""The control file: what is switched off at run time. Proxies read it, operators and the agent write it (docs/policy.md)."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from . import _core

MODES = ("off", "monitor", "enforce")


@dataclass(frozen=True, slots=True)
class Feature:
    """A part of the site that can be switched off; times are milliseconds since 1970, 0 means never (``until_ms``: by hand)."""

    tripped: bool
    at_ms: int
    until_ms: int
    alarms: int
    trips: int


@dataclass(frozen=True, slots=True)
class State:
    """What a control file says.

    ``mode`` is the most that any filter does, ``agent_ms`` when the agent last showed life (0: never), ``fault`` what is wrong with the
    file, told once, or empty.
    """

    mode: str
    features: dict[str, Feature]
    agent_ms: int
    fault: str

    @property
    def tripped(self) -> list[str]:
        """Names of the features that are switched off."""
        return [name for name, feature in self.features.items() if feature.tripped]


class Control:
    """A control file. Safe to share between threads; every process opens its own.

    Parameters
    ----------
    path
        The file; one that is not there means: as configured.
    create
        Makes the file where there is none.

    Raises
    ------
    ConfigError
        When the file cannot be made or, by the methods, not be written, or a name is no feature's.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool = False) -> None:
        self.path = Path(path)
        self._handle = _core._Control(os.fspath(path), create)

    @property
    def _address(self) -> int:
        return self._handle._address

    def look(self, unix_ms: int | None = None) -> State:
        """The state now; looks at the file at most ten times a second."""
        found = self._handle.look(_now() if unix_ms is None else unix_ms)
        return State(**{**found, "features": {name: Feature(**f) for name, f in found["features"].items()}})

    def set_mode(self, mode: str) -> None:
        """The most that filters do from now on: ``off``, ``monitor`` or ``enforce`` (as configured)."""
        self._handle.set_mode(MODES.index(mode) if mode in MODES else -1, _now())

    def trip(self, feature: str, seconds: float = 0) -> None:
        """Switches a feature off, for so long or until it is rearmed."""
        now = _now()
        self._handle.trip(feature, now, now + round(seconds * 1000) if seconds else 0)

    def rearm(self, feature: str) -> None:
        """Switches a feature on again."""
        self._handle.rearm(feature, _now())

    def show_life(self) -> None:
        """For the agent: tells the proxies that it runs, by the time of a file beside."""
        beside = self.path.with_name(self.path.name + ".agent")
        with beside.open("ab"):
            os.utime(beside)

    def __repr__(self) -> str:
        return f"<overread.Control {self.path}>"


def _now() -> int:
    return time.time_ns() // 1_000_000
