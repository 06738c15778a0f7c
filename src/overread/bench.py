"""Speed on the user's own files: ``overread bench``."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ._stream import Scanner
from .ruleset import Ruleset
from .scan_files import files_of, guess_type

CHUNK = 16384  # bytes: what proxies hand over at a time
ROUNDS = 9
AT_LEAST = 0.02  # seconds a round: shorter ones measure the clock


@dataclass
class Group:
    """Files of one content class; ``rates`` in GB/s: scan, feed of 16 KiB chunks, and a plain copy.

    ``tables`` and ``candidates`` are places a KiB: what the kernel's tables let through, and what its filter leaves to the
    verifiers. They say why files like these are fast or slow.
    """

    files: list[tuple[bytes, str]] = field(default_factory=list)
    rates: dict[str, float] = field(default_factory=dict)
    tables: float = 0
    candidates: float = 0

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(len(data) for data, _ in self.files)


def _scan(scanner: Scanner, group: Group) -> None:
    for data, kind in group.files:
        scanner.scan(data, kind)


def _feed(scanner: Scanner, group: Group) -> None:
    for data, kind in group.files:
        stream = scanner.stream(kind)
        view = memoryview(data)
        for at in range(0, len(data), CHUNK):
            stream.feed(view[at : at + CHUNK])
        stream.finish()


def _copy(_: Scanner, group: Group) -> None:
    for data, _kind in group.files:
        bytearray(data)


RUNS: dict[str, Callable[[Scanner, Group], None]] = {"scan": _scan, "feed": _feed, "copy": _copy}


def measure(paths: list[Path], content_type: str | None = None) -> dict[str, Group]:
    """Reads the files, then races scan, feed and a copy over them in interleaved rounds; medians, by content class.

    Raises
    ------
    OSError
        When a file cannot be read: a figure for a part of what was asked would be another figure.
    """
    ruleset = Ruleset.default()
    scanner = Scanner(ruleset)
    groups: dict[str, Group] = {}
    for path in paths:
        for file in files_of(path):
            data = file.read_bytes()
            kind = content_type or guess_type(str(file)) or ""
            groups.setdefault(scanner.scan(data, kind).content_class, Group()).files.append((data, kind))
    for group in groups.values():
        times: dict[str, list[float]] = {name: [] for name in RUNS}
        repeat = dict.fromkeys(RUNS, 1)
        for turn in range(ROUNDS + 1):
            for name, run in RUNS.items():
                started = time.perf_counter()
                for _ in range(repeat[name]):
                    run(scanner, group)
                took = time.perf_counter() - started
                if turn:
                    times[name].append(took / repeat[name])
                else:  # the first round warms up, and says how often to repeat
                    repeat[name] = max(1, int(AT_LEAST / max(took, 1e-9)))
        places = [ruleset._candidates(data) for data, _ in group.files]
        group.tables, group.candidates = (1024 * sum(of_file) / max(1, group.size) for of_file in zip(*places, strict=True))
        group.rates = {name: group.size / statistics.median(t) / 1e9 for name, t in times.items()}
    return dict(sorted(groups.items()))


def table(groups: dict[str, Group]) -> str:
    """One line a content class."""
    lines = [f"{'class':14} {'files':>6} {'MB':>9} {'scan GB/s':>10} {'feed GB/s':>10} {'copy GB/s':>10} {'tables/KiB':>11} {'candidates':>11}"]
    for name, g in groups.items():
        rates = " ".join(f"{g.rates[run]:10.2f}" for run in RUNS)
        lines.append(f"{name:14} {len(g.files):6} {g.size / 1e6:9.2f} {rates} {g.tables:11.1f} {g.candidates:11.2f}")
    return "\n".join(lines)
