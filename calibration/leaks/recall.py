"""Recall on freshly cut windows: ``python -m calibration.leaks.recall [--servers nginx,squid] [--each N] [--seed N]``.

Runs the servers, cuts windows from their memory, puts them into clean bodies of held-back packages, scans the result in
4 KiB chunks as a blocking proxy with a 16 KiB hold would, and prints recall by stratum, length and kind with 95 % intervals.
Nothing is written: the windows live in this process only.
"""

from __future__ import annotations

import argparse
import collections
import math
import random
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from .. import page
from ..bodies import Body, bodies, download
from ..counting import CONTAINER, TEXT, ends_well, package_list
from . import people, servers
from .windows import Window, cut

HERE = Path(__file__).parent
TIERS = (14, 22, 30)  # bits
LENGTHS = (16, 64, 256, 1024, 4096, 16384)  # bytes, lower ends
CHUNK, HOLD = 4096, 16384  # bytes


def gather(
    names: Sequence[str], each: int, seed: int, exchanges: dict[str, list[people.Exchange]] | None = None, canary: Callable[[str], str] | None = None
) -> list[Window]:
    """Windows of every named server, three snapshots each. ``exchanges`` takes each server's traffic; ``canary`` as of :func:`people.visit`."""
    out: list[Window] = []
    for name in names:
        rng = random.Random(f"{seed} {name}")
        visitors = [people.person(rng) for _ in range(160)]
        secrets = [s for p in visitors for s in p.secrets if len(s) >= 8]
        site = people.Site(seed)
        threading.Thread(target=site.serve_forever, daemon=True).start()
        with tempfile.TemporaryDirectory(prefix="overread-leaks-") as folder, servers.proxy(name, site.server_port, Path(folder)) as (port, pid):
            stop = threading.Event()
            more = (150, stop, None if exchanges is None else exchanges.setdefault(name, []), canary)
            clients = [threading.Thread(target=people.visit, args=(port, visitors, seed * 1000 + i, *more), daemon=True) for i in range(20)]
            for c in clients:
                c.start()
            for _ in range(3):
                stop.wait(3)
                pieces, ranges = servers.memory(pid)
                out += cut(name, pieces, ranges, secrets, each // 3, rng)
            stop.set()
            for c in clients:
                c.join(10)
        site.shutdown()
        print(f"{name}: {sum(w.server == name for w in out)} windows", file=sys.stderr)
    return out


def base_bodies(cache: Path, seed: int, each: int = 60) -> list[Body]:
    """Clean bodies of held-back packages already downloaded, about the same number of each suffix."""
    rng = random.Random(seed)
    found: dict[str, list[Body]] = collections.defaultdict(list)
    packages = package_list(HERE.parent / "held-back.txt")
    rng.shuffle(packages)
    for registry, name in packages[:60]:
        path = download(registry, name, cache)
        if path is None:
            continue
        for b in bodies(registry, name, path):
            kind = b.content_type.partition(";")[0]
            if len(found[kind]) < each and len(b.data) < 300_000 and rng.random() < 0.2:
                found[kind].append(b)
    return [b for kind in sorted(found) for b in found[kind]]


def splice(base: bytes, window: bytes, rng: random.Random) -> tuple[int, bytes]:
    """Where the window starts, and the body: inserted, appended, or in the place of the rest."""
    way = rng.random()
    at = len(base) if way < 0.4 else rng.randrange(len(base) + 1)
    return at, base[:at] + window + (base[at:] if way >= 0.55 else b"")


def wilson(k: int, n: int) -> str:
    """Share and 95 % interval in per cent."""
    if not n:
        return "      -"
    z = 1.96
    p, d = k / n, 1 + z * z / n
    middle, half = (p + z * z / 2 / n) / d, z / d * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    return f"{100 * p:5.1f} [{100 * max(0, middle - half):.1f}, {100 * min(1, middle + half):.1f}]"


class Table:
    """Cases and how many of them reached each tier, by row."""

    def __init__(self) -> None:
        self.rows: dict[str, list[int]] = collections.defaultdict(lambda: [0] * (1 + len(TIERS)))

    def add(self, keys: Iterable[str], bits: float) -> None:
        """One case in all its rows."""
        for key in keys:
            row = self.rows[key]
            row[0] += 1
            for i, t in enumerate(TIERS, 1):
                row[i] += bits >= t

    def text(self) -> str:
        """Markdown."""
        lines = ["| windows | n | " + " | ".join(f"≥ {t} bits, % [95 %]" for t in TIERS) + " |", "|" + "---|" * (2 + len(TIERS))]
        for key in sorted(self.rows):
            n, *ks = self.rows[key]
            lines.append(f"| {key} | {n} | " + " | ".join(wilson(k, n) for k in ks) + " |")
        return "\n".join(lines)


def measure(windows: Sequence[Window], bases: Sequence[Body], seed: int) -> str:
    """Tables of recall, escaped bytes and the error of the estimated start."""
    import overread

    scanner = overread.Scanner(hold=HOLD)
    rng = random.Random(seed)
    table = Table()
    escaped: list[int] = []
    whole = found_secrets = 0
    errors: list[int] = []
    by_kind: dict[str, list[Body]] = collections.defaultdict(list)
    for b in bases:
        by_kind[b.content_type.partition(";")[0]].append(b)
    kinds = sorted(by_kind)
    for w in windows:
        base = rng.choice(by_kind[rng.choice(kinds)])
        at, body = splice(base.data, w.data, rng)
        stream = scanner.stream(base.content_type)
        before = left = 0
        alarmed = False
        for i in range(0, len(body), CHUNK):
            gone = stream.feed(body[i : i + CHUNK])
            if stream.bits >= 22 and not alarmed:
                alarmed, left = True, min(len(w.data), max(0, before - at)) if i else 0
            before = gone
        v = stream.finish()
        n = len(w.data)
        text, container = v.content_class in TEXT, v.content_class in CONTAINER
        where = "legacy" if v.content_class == "legacy" else "text" if text else "container" if container else "other"
        least = max(x for x in LENGTHS if n >= x)
        keys = [f"{where}, {w.stratum}, {least} B and more of its class", f"{where}, {w.stratum}, all lengths"]
        based = w.stratum in ("uniform", "after-body")
        if w.all_zero:
            keys = [f"{where}, NULs only"]
        elif where == "text" and based:
            kind = "one kind of raw sign" if w.raw_kinds else "header lines only" if w.header else "plain text"
            if w.raw_kinds >= 2 or (w.raw_kinds and w.header):
                kind = "two kinds of raw sign, or raw and HTTP"
            keys += [f"text, length-based, {kind}, ≥ {x} B" for x in (256, 1024, 4096) if n >= x]
            keys += [f"text, length-based, all, ≥ {x} B" for x in (256, 1024, 4096) if n >= x]
        elif where == "text" and w.stratum.startswith("c-string"):
            near = f"text, C-string of 64 B and more near {'a head' if w.stratum == 'c-string' else 'a parsed line'}"
            keys += [near, f"{near}, {w.server}"]
        elif container and based and at == len(base.data):
            # Some clean images are cut off: what follows them stands inside, as far as anyone can tell.
            behind = "behind the end" if ends_well(scanner, base.content_type, base.data) else "behind an image that is cut off"
            keys += [f"container, length-based, {behind}", *([f"container, length-based, {behind}, ≥ 64 B"] if n >= 64 else [])]
        table.add(keys, v.bits)
        if v.bits >= 22:
            escaped.append(left)
            for offset, length in w.secrets:
                found_secrets += 1
                whole += offset + length <= left
            if v.first_offset is not None:
                errors.append(v.first_offset - at)
    escaped.sort()
    errors.sort()

    def quantile(values: list[int], q: float) -> str:
        return str(values[min(len(values) - 1, int(q * len(values)))]) if values else "-"

    early = sum(e < -64 for e in errors)
    return "\n".join(
        [
            table.text(),
            "",
            f"of {len(escaped)} windows at 22 bits: escaped bytes median {quantile(escaped, 0.5)}, 95th percentile {quantile(escaped, 0.95)};"
            f" planted secrets that left whole: {whole} of {found_secrets}",
            f"first_offset minus true start, bytes: 5th percentile {quantile(errors, 0.05)}, median {quantile(errors, 0.5)},"
            f" 95th {quantile(errors, 0.95)}; more than 64 early: {early} of {len(errors)}",
        ]
    )


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", default=",".join(servers.NAMES))
    parser.add_argument("--each", type=int, default=300, help="windows of each stratum from each server")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=HERE.parents[1] / ".cache" / "calibration")
    parser.add_argument("--draw", action="store_true", help="also put the tables into docs/detection.md")
    args = parser.parse_args()
    try:
        windows = gather(args.servers.split(","), args.each, args.seed)
    except RuntimeError as e:
        print(e, file=sys.stderr)
        return 1
    text = measure(windows, base_bodies(args.cache, args.seed), args.seed)
    print(text)
    if args.draw:
        page.put("recall table", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
