"""Where in an anchor the kernel looks, and in which of its buckets: ``make fingerprints``.

The kernel tests three bytes of each place against seven tables of four bits of them for eight buckets; a bucket lets through
every mix of what its anchors have in each table. Which four bytes of an anchor are looked for (the fourth only in the hash set behind the tables), and
which anchors share a bucket, decides how many places of clean text must be looked at again. Simulated annealing over
windows sampled from packages chooses both and writes src/overread/fingerprints.txt, which ``overread rules compile`` puts
into the blob; anchors it does not list are placed when the blob is loaded. A bad choice costs speed, never a finding.
"""

from __future__ import annotations

import argparse
import collections
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from overread import ruleset

from . import bodies as packages
from .counting import package_list

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "src/overread/fingerprints.txt"
TYPES = {
    "text/html": "html", "text/javascript": "js", "application/typescript": "js", "text/css": "css", "application/json": "json",
    "image/svg+xml": "svg", "text/plain": "text", "text/markdown": "text",
}  # fmt: skip
EVERY = 8  # of the calibration's packages
PER_BODY = 16  # windows: many bodies say more than much of one
PER_CLASS = 8192  # windows
WINDOW = 4
TEXT_BUCKETS = 7  # of eight; the loader keeps one for names at the start of a line and in UTF-16
TABLES = 7
# A place that passes the tables costs about 4 ns; one whose four bytes are an anchor's, as much as this many.
VERIFIED = 8
# Checks whose match goes on behind the anchor with what the rule says.
FOLLOWED = {"none", "jwt", "entropy", "github-crc", "basic", "session-cookie", "pem", "letters"}
HOT = 4000  # the first temperature is 1/HOT of the sample: hotter runs give up a bucket and do not come back


def sample(cache: Path) -> dict[str, list[bytes]]:
    """Windows of four bytes by content class, from every ``EVERY``-th package; the same ones each time."""
    rng = random.Random(20170218)
    found: dict[str, list[bytes]] = {}
    rows = package_list(HERE / "packages.txt")
    for number, (registry, name) in enumerate(rows[::EVERY]):
        print(f"\r{number * EVERY * 100 // len(rows)} %", end="", file=sys.stderr, flush=True)
        path = packages.download(registry, name, cache)
        if path is None:
            continue
        for body in packages.bodies(registry, name, path):
            kind = TYPES.get(body.content_type.split(";")[0])
            if kind and len(body.data) > 64:
                places = (rng.randrange(len(body.data) - WINDOW) for _ in range(PER_BODY))
                found.setdefault(kind, []).extend(body.data[i : i + WINDOW] for i in places)
    return {kind: rng.sample(windows, min(len(windows), PER_CLASS)) for kind, windows in sorted(found.items())}


@dataclass(frozen=True, order=True)
class Anchor:
    """An anchor of the shipped packs that may stand anywhere; ``follows``: the bytes that may stand behind it."""

    text: bytes
    nocase: bool
    follows: frozenset[int]

    def windows(self) -> list[tuple[int, list[frozenset[int]]]]:
        """Each place in the anchor where a window may lie, with the bytes it may have; its last one may lie behind the anchor."""
        each = [frozenset({b, b ^ 0x20}) if self.nocase and chr(b).isalpha() else frozenset({b}) for b in self.text] + [self.follows]
        found = [(at, each[at : at + WINDOW]) for at in range(len(each) - WINDOW + 1)]
        return [(at, four) for at, four in found if max(map(max, four[:3])) < 0x80]  # the kernel looks for others elsewhere


def entries(a: int, b: int, c: int) -> tuple[int, ...]:
    """The entry of each of the kernel's tables that three bytes of ASCII lead to (csrc/kernel/kernel.h)."""
    return a & 15, a >> 3, b & 15, b >> 3, c & 15, c >> 3, (b ^ c) & 15


def all_entries(four: Sequence[frozenset[int]]) -> list[set[int]]:
    """Those of a window whose bytes may be one of a few."""
    each = [entries(a, b, c) for a in four[0] for b in four[1] for c in four[2]]
    return [set(column) for column in zip(*each, strict=True)]


def anchors() -> list[Anchor]:
    """Of all rules but those on header lines, whose window is the line's start, and on names behind a NUL."""
    follows: dict[tuple[bytes, bool], frozenset[int]] = {}
    for r in ruleset.load(ruleset.shipped_packs()):
        need = r.after[0].members if r.check in FOLLOWED and r.after and r.after[0].min and not r.after[0].edge else frozenset(range(256))
        for a in r.anchor:
            if r.check != "header-line" and a[0] != 0:
                follows[a, r.nocase] = follows.get((a, r.nocase), frozenset()) | need
    found = (Anchor(*a, f) for a, f in follows.items())
    return sorted(a for a in found if a.windows())


class Buckets:
    """The kernel's tables over a sample: one bit a sampled window, all windows at once in one long integer."""

    def __init__(self, windows: Sequence[bytes]) -> None:
        self.with_entry = [[0] * 16 for _ in range(TABLES)]
        for i, w in enumerate(windows):
            if max(w[:3]) < 0x80:
                for table, entry in enumerate(entries(*w[:3])):
                    self.with_entry[table][entry] |= 1 << i
        self.count = [[[0] * 16 for _ in range(TABLES)] for _ in range(TEXT_BUCKETS)]
        self.some = [[0] * TABLES for _ in range(TEXT_BUCKETS)]  # windows with any entry of the bucket's, by table
        self.hit = [0] * TEXT_BUCKETS
        self.hits = [0] * TEXT_BUCKETS

    def change(self, bucket: int, window: Sequence[set[int]], by: int) -> None:
        """Adds an anchor's window to a bucket, or takes it out."""
        changed = False
        for table, led_to in enumerate(window):
            counts = self.count[bucket][table]
            before = [counts[e] > 0 for e in led_to]
            for e in led_to:
                counts[e] += by
            if before != [counts[e] > 0 for e in led_to]:
                changed = True
                some = 0
                for count, with_entry in zip(counts, self.with_entry[table], strict=True):
                    if count:
                        some |= with_entry
                self.some[bucket][table] = some
        if changed:
            hit = -1
            for some in self.some[bucket]:
                hit &= some
            self.hit[bucket] = hit
            self.hits[bucket] = hit.bit_count()

    def cost(self) -> float:
        """Of the sample: half by the windows that any bucket lets through, half by each bucket's, so that none is given up."""
        union = 0
        for hit in self.hit:
            union |= hit
        return (union.bit_count() + sum(self.hits)) / 2


def anneal(anchors: Sequence[Anchor], windows: Sequence[bytes], rounds: int, seed: int) -> list[tuple[int, int]]:
    """Window and bucket of each anchor."""
    rng = random.Random(seed)
    buckets = Buckets(windows)
    seen = collections.Counter(w.lower() for w in windows)
    options = [[(at, four, all_entries(four)) for at, four in a.windows()] for a in anchors]
    verified = [[VERIFIED * sum(seen[w] for w in {bytes([*map(max, four[:3]), last]).lower() for last in four[3]}) for _, four, _ in o] for o in options]
    window, bucket = [0] * len(anchors), [0] * len(anchors)
    # First greedily, those with the least choice first.
    for i in sorted(range(len(anchors)), key=lambda i: (len(options[i]), i)):
        tried = []
        for b in range(TEXT_BUCKETS):
            for w, (_, _, window_entries) in enumerate(options[i]):
                buckets.change(b, window_entries, 1)
                tried.append((buckets.cost() + verified[i][w], w, b))
                buckets.change(b, window_entries, -1)
        _, window[i], bucket[i] = min(tried)
        buckets.change(bucket[i], options[i][window[i]][2], 1)
    exact = sum(costs[w] for costs, w in zip(verified, window, strict=True))
    now = buckets.cost() + exact
    best, chosen = now, list(zip(window, bucket, strict=True))
    hot, cold = len(windows) / HOT, len(windows) / 200_000
    for step in range(rounds):
        heat = hot * (cold / hot) ** (step / rounds)
        i = rng.randrange(len(anchors))
        old_window, old_bucket = window[i], bucket[i]
        new_window, new_bucket = rng.choice([(old_window, rng.randrange(TEXT_BUCKETS)), (rng.randrange(len(options[i])), rng.randrange(TEXT_BUCKETS))])
        if (new_window, new_bucket) == (old_window, old_bucket):
            continue
        buckets.change(old_bucket, options[i][old_window][2], -1)
        buckets.change(new_bucket, options[i][new_window][2], 1)
        moved = exact + verified[i][new_window] - verified[i][old_window]
        cost = buckets.cost() + moved
        if cost <= now or rng.random() < math.exp((now - cost) / heat):
            now, exact = cost, moved
            window[i], bucket[i] = new_window, new_bucket
            if cost < best:
                best, chosen = cost, list(zip(window, bucket, strict=True))
        else:
            buckets.change(new_bucket, options[i][new_window][2], -1)
            buckets.change(old_bucket, options[i][old_window][2], 1)
        if step % max(1, rounds // 20) == 0:
            print(f"{step}: {now * 1024 / len(windows):.2f}, best {best * 1024 / len(windows):.2f} a KiB", file=sys.stderr)
    return [(options[i][w][0], b) for i, (w, b) in enumerate(chosen)]


def write(anchors: Sequence[Anchor], placed: Sequence[tuple[int, int]]) -> None:
    """One line an anchor: its bytes in hex, whether its case is free, the window's place, the bucket."""
    lines = ["# Written by `make fingerprints`: anchor in hex, 1 when its case is free, place of the window in it, bucket."]
    lines += [f"{a.text.hex()} {a.nocase:d} {at} {bucket}" for a, (at, bucket) in zip(anchors, placed, strict=True)]
    OUT.write_text("\n".join(lines) + "\n")


def main() -> int:
    """Samples, chooses and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=HERE.parent / ".cache/calibration")
    parser.add_argument("--rounds", type=int, default=6_000_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    found = anchors()
    write(found, anneal(found, [w for windows in sample(args.cache).values() for w in windows], args.rounds, args.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
