"""One table: recall, false alarms, escaped bytes and speed of overread and its peers on the same windows and clean bodies."""

from __future__ import annotations

import argparse
import collections
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from calibration import page
from calibration.bodies import Body
from calibration.leaks.recall import base_bodies, gather, splice, wilson

from . import detectors, modsecurity

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Leak:
    """A clean body with a window of server memory in it."""

    body: bytes
    content_type: str
    row: str
    start: int
    size: int


@dataclass
class Result:
    """What one tool said."""

    name: str
    found: list[int | None]
    alarms: int
    escaped: int
    seconds: float


def leaks_of(windows: int, bases: Sequence[Body], seed: int) -> list[Leak]:
    """Windows of four servers in clean bodies; NULs alone hold no foreign byte and are left out."""
    rng = random.Random(seed)
    out = []
    for w in gather(("nginx", "apache2", "squid", "haproxy"), max(3, windows // 16), seed):
        base = rng.choice(bases)
        if w.all_zero or w.stratum == "c-string-line":
            continue
        at, body = splice(base.data, w.data, rng)
        row = "C string" if w.stratum == "c-string" else "secret-centred" if w.stratum == "secret" else "length-based"
        if len(w.data) >= 64:
            out.append(Leak(body, base.content_type, row, at, len(w.data)))
    return out


def measure(name: str, find: Callable[[bytes, str], int | None], leaks: Sequence[Leak], clean: Sequence[Body]) -> Result:
    """Runs a detector that is given whole bodies: what it finds has not left, if its user waits for it."""
    started = time.perf_counter()
    found = [find(x.body, x.content_type) for x in leaks]
    alarms = sum(find(b.data, b.content_type) is not None for b in clean)
    seconds = time.perf_counter() - started
    return Result(name, found, alarms, sum(x.size for x, f in zip(leaks, found, strict=True) if f is None), seconds)


def through_modsecurity(level: int, leaks: Sequence[Leak], clean: Sequence[Body]) -> Result:
    """The same bodies through nginx with ModSecurity; escaped is what its client really got."""
    everything = [(x.body, x.content_type) for x in leaks] + [(b.data, b.content_type) for b in clean]
    with tempfile.TemporaryDirectory(prefix="overread-peers-") as folder:
        fired, received, seconds = modsecurity.run(everything, level, Path(folder))
    n = len(leaks)
    escaped = sum(min(x.size, max(0, r - x.start)) for x, r in zip(leaks, received[:n], strict=True))
    return Result(f"{modsecurity.version()}, PL{level}, nginx", [0 if f else None for f in fired[:n]], sum(fired[n:]), escaped, seconds)


def table(results: Sequence[Result], leaks: Sequence[Leak], clean: Sequence[Body]) -> str:
    """Markdown, one row a tool."""
    rows = sorted({x.row for x in leaks})
    counts = collections.Counter(x.row for x in leaks)
    size = sum(len(x.body) for x in leaks) + sum(len(b.data) for b in clean)
    window_bytes = sum(x.size for x in leaks)
    heads = [f"{r}, n = {counts[r]}, % found [95 %]" for r in rows]
    lines = [
        f"| tool | {' | '.join(heads)} | false alarms of {len(clean):,} clean bodies | per million [95 %] | window bytes that escaped, % | MB/s |",
        "|" + "---|" * (5 + len(rows)),
    ]
    for r in results:
        recall = [wilson(sum(f is not None for x, f in zip(leaks, r.found, strict=True) if x.row == row), counts[row]).strip() for row in rows]
        p = wilson(r.alarms, len(clean))
        low, high = (float(v) * 1e4 for v in p[p.index("[") + 1 : -1].split(", "))
        lines.append(
            f"| {r.name} | {' | '.join(recall)} | {r.alarms} | {r.alarms / len(clean) * 1e6:,.0f} [{low:,.0f}, {high:,.0f}] "
            f"| {100 * r.escaped / window_bytes:.1f} | {size / r.seconds / 1e6:,.1f} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--windows", type=int, default=800)
    parser.add_argument("--clean", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "calibration")
    parser.add_argument("--draw", action="store_true", help="also put the table into docs/detection.md")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    bases = [b for b in base_bodies(args.cache, args.seed, each=400) if len(b.data) <= 100_000]
    clean = rng.sample(bases, min(args.clean, len(bases)))
    leaks = leaks_of(args.windows, bases, args.seed)
    results = []
    for detector in (
        detectors.overread_at(22),
        detectors.overread_at(30),
        detectors.control_bytes(),
        detectors.expressions(),
        detectors.yara_x(),
        detectors.detect_secrets(),
    ):
        results.append(measure(detector.name, detector.find, leaks, clean))
        print(detector.name, file=sys.stderr)
    for level in (1, 4):
        results.append(through_modsecurity(level, leaks, clean))
    text = table(results, leaks, clean)
    print(text)
    if args.draw:
        page.put("peers table", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
