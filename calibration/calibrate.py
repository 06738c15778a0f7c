"""Counts clean bodies and writes the weights: ``python -m calibration.calibrate [--limit N]``.

Every weight is minus log2 of the upper 95 % bound of a counted rate: the share of clean bodies whose group reached the
level. It never exceeds what the sample supports. ``--check`` verifies a file against its own counts.
"""

from __future__ import annotations

import argparse
import collections
import math
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from . import clusters
from .bounds import bits_of, upper_bound
from .count_heads import HEAD_LEVELS, HeadCounts, count_heads
from .counting import BINARY, CONTAINER, FAMILY, TEXT, Mixtures, Row, count, package_list

HERE = Path(__file__).parent
LEVELS = {"raw": 3, "http": 6, "place": 3, "escaped": 2}  # the raw group's fourth level is chained
THICK = (
    3 << 14
)  # bodies that support the weak tier, 14 bits, without a hit: a class with fewer borrows from its pool where at most one project of its own showed the level
PER_KIND = 1000  # bodies that one kind of mixture counts as, at most
HTTP_CAP = 17.0  # docs/evidence.md: http and secret together, in a text class
ESCAPED_CAPS = {1: 3.0, 2: 8.0}  # docs/evidence.md: U+FFFD runs, escaped bytes
LINE_ENDING_BITS = 4.0  # CRLF islands in LF pages are what forms submit


Shown = tuple[tuple[str, int], ...]  # group and level


class Counts:
    """Tallies over distinct bodies."""

    def __init__(self) -> None:
        self.n: collections.Counter[str] = collections.Counter()
        self.k: collections.Counter[tuple[str, str, int]] = collections.Counter()
        self.sources: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self.hits: dict[tuple[str, str, int], collections.Counter[str]] = collections.defaultdict(collections.Counter)
        # By class and the levels that a body's groups reached: which sources such bodies come from.
        self.shown: dict[str, dict[Shown, collections.Counter[str]]] = collections.defaultdict(lambda: collections.defaultdict(collections.Counter))
        self.crlf = 0
        self.crlf_header = 0
        self.mixtures = {family: Mixtures() for family in dict.fromkeys(FAMILY.values())}
        self.high: list[str] = []
        self.files: list[str] = []

    @property
    def bodies(self) -> int:
        """Distinct bodies of all classes."""
        return sum(n for cls, n in self.n.items() if cls not in ("text-pool", "container-pool", "head"))

    def body(self, row: Row) -> None:
        """Counts one body in its class and in its pool."""
        for pool in filter(None, (row.cls, pool_of(row.cls))):
            self.n[pool] += 1
            self.sources[pool][row.source] += 1
            for group, level in row.levels.items():
                for reached in range(1, level + 1):
                    self.k[pool, group, reached] += 1
                    self.hits[pool, group, reached][row.source] += 1
            if row.levels:
                self.shown[pool][tuple(sorted(row.levels.items()))][row.source] += 1
        if row.cls in TEXT:
            self.crlf += row.crlf
            self.crlf_header += row.crlf and row.levels.get("http", 0) >= 3
        if row.levels.get("raw", 0) >= 2 or row.levels.get("http", 0) >= 3 or row.levels.get("place", 0) >= 2:
            self.high.append(f"{row.path} {row.cls} {row.levels}")

    def bound(self, pool: str, group: str, level: int) -> float:
        """Upper 95 % bound of the share that reaches a level: for independent bodies, and not below that of whole sources."""
        if not self.n[pool]:
            return 1.0
        return self.bound_of(pool, self.hits[pool, group, level])

    def bound_of(self, pool: str, hits: collections.Counter[str]) -> float:
        """The same for any set of the class's bodies, given as a count by source."""
        sources = self.sources[pool]
        hit = [(k, sources[source]) for source, k in sorted(hits.items())]
        return max(upper_bound(hits.total(), self.n[pool]), clusters.upper(hit, len(sources), self.n[pool]))

    def where(self, pool: str, wanted: Callable[[Shown], bool]) -> collections.Counter[str]:
        """Bodies of a class whose levels are wanted, by source."""
        out: collections.Counter[str] = collections.Counter()
        for shown, hits in self.shown[pool].items():
            if wanted(shown):
                out.update(hits)
        return out


def pool_of(cls: str) -> str:
    """The pool a class borrows from, or nothing."""
    return "text-pool" if cls in TEXT else "container-pool" if cls in CONTAINER else ""


def evenly(bodies: collections.Counter[str], hits: collections.Counter[str]) -> int:
    """Hits over all kinds, of which none counts as more than ``PER_KIND`` bodies: cheap kinds must not drown the others."""
    return sum(math.ceil(hits[kind] * min(1.0, PER_KIND / n)) for kind, n in bodies.items() if n)


def in_bits(bound: float) -> float:
    """Credit that an upper bound supports; rounded down so that no weight exceeds it."""
    return math.floor(-math.log2(bound) * 100) / 100


def chain(m: Mixtures) -> dict[str, object]:
    """The chained factor of one family, with the count of every kind of mixture."""
    k, n = evenly(m.n, m.raw4), evenly(m.n, m.n)
    worst = max((kind for kind in m.n if m.n[kind] >= 20), key=lambda kind: m.raw4[kind] / m.n[kind], default="")
    return {
        "given": "raw bytes after text or a complete container (raw level 3)", "sign": "two kinds and no known magic (raw level 4)", "k": k, "n": n,
        "packages": len(m.packages), "bound": upper_bound(k, n) if n else 1.0, "bits": bits_of(k, n), "worst_kind": worst,
        "kinds": {kind: [m.raw4[kind], m.n[kind]] for kind in sorted(m.n)},
        "headers": {kind: [m.http[kind, 3], m.unknown[kind]] for kind in sorted(m.unknown) if m.unknown[kind]},
    }  # fmt: skip


def pair(counts: Counts, cls: str) -> dict[str, object]:
    """What two groups without a chain may add up to: never more than bodies that show two groups support, nor log2(n / 3) + 3."""
    pool = pool_of(cls)
    counted = pool if pool and counts.n[cls] < THICK else cls
    n = counts.n[counted]
    # Raw bytes of a container count behind its end only: raw and place are one sign there.
    both = counts.where(counted, lambda shown: len(shown) - (cls in CONTAINER and {"raw", "place"} <= {g for g, _ in shown}) >= 2)
    most = math.log2(max(3, n) / 3) + 3
    return {"k": both.total(), "n": n, "bits": math.floor(min(most, -math.log2(counts.bound_of(counted, both))) * 100) / 100 if n else 0.0}


def as_strong(counts: Counts, weights: list[dict[str, object]], pair_cap: float) -> None:
    """Lowers a class's counted weights to the surprise of any evidence at least as strong.

    The law speaks of all groups together: two groups that each show in 2^-t of clean bodies show t bits in twice as many.
    """
    bits = {(w["group"], w["level"]): float(w["bits"]) for w in weights if w["basis"] == "counted"}  # type: ignore[arg-type] # a float by construction

    def strongest(shown: Shown) -> float:
        most = max(bits.get((group, level), 0.0) for group, level in shown)
        return max(most, pair_cap) if len(shown) > 1 else most

    def supported(cls: str, most: float) -> tuple[float, int, float]:
        """Bits, hits and bound of evidence of so many bits, by the bodies of one class or pool."""
        hits = counts.where(cls, lambda shown: strongest(shown) >= most)
        bound = counts.bound_of(cls, hits)
        return min(most, in_bits(bound)), hits.total(), bound

    lost: dict[object, float] = {}
    for w in weights:
        before = float(w["bits"])  # type: ignore[arg-type] # a float by construction
        if w["basis"] == "counted" and w["n"]:
            got, k, bound = supported(str(w["counted"]), before)
            if got < before:
                w |= {"bits": got, "k": k, "bound": bound}
            # What is rare in a class may be common in its pool. A class's own bodies always count, however few they are.
            cls, group, level = str(w["class"]), str(w["group"]), int(w["level"])  # type: ignore[call-overload] # an int by construction
            if w["counted"] != cls and counts.n[cls]:
                own, k, bound = supported(cls, min(before, in_bits(counts.bound(cls, group, level))))
                if own > float(w["bits"]):  # type: ignore[arg-type] # a float by construction
                    w |= {"bits": round(own, 2), "k": k, "n": counts.n[cls], "bound": bound, "sources": len(counts.sources[cls]), "counted": cls}
            lost[w["group"], w["level"]] = before - float(w["bits"])  # type: ignore[arg-type] # a float by construction
    for w in weights:
        if w["group"] == "raw" and w["level"] == 4:
            third = next(x for x in weights if x["group"] == "raw" and x["level"] == 3)
            same = {key: third[key] for key in ("k", "n", "bound", "sources", "counted")}
            w |= same | {"bits": round(float(w["bits"]) - lost.get(("raw", 3), 0.0), 2)}  # type: ignore[arg-type] # a float by construction


def head_weights(counts: HeadCounts) -> list[dict[str, object]]:
    """The weights of signs in heads."""
    return [
        {
            "class": "head", "group": "place", "level": level, "bits": bits_of(counts.k[level], counts.n), "k": counts.k[level], "n": counts.n,
            "sources": len(counts.sources), "bound": upper_bound(counts.k[level], counts.n) if counts.n else 1.0, "basis": "counted", "counted": "head",
        }
        for level in HEAD_LEVELS
    ]  # fmt: skip


def weigh(counts: Counts, heads: HeadCounts) -> dict[str, object]:
    """The calibration as written to the file."""
    weights: list[dict[str, object]] = []

    def add(cls: str, group: str, level: int, counted: str, k: int, n: int, bits: float, basis: str, sources: int, bound: float) -> None:
        weights.append(
            {
                "class": cls, "group": group, "level": level, "bits": max(0.0, round(bits, 2)), "k": k, "n": n,
                "sources": sources, "bound": bound, "basis": basis, "counted": counted,
            }
        )  # fmt: skip

    chains = {family: chain(m) for family, m in counts.mixtures.items()}
    crlf_bits = LINE_ENDING_BITS + bits_of(counts.crlf_header, counts.crlf)

    def counted_in(cls: str, group: str, level: int) -> str:
        pool = pool_of(cls)
        # The files of one project are one observation: they do not show that the class is worse than its pool.
        alike = len(counts.hits[cls, group, level]) <= 1
        return pool if pool and counts.n[cls] < THICK and alike and counts.bound(cls, group, level) > counts.bound(pool, group, level) else cls

    for cls in (*TEXT, *BINARY):
        for group, top in LEVELS.items():
            if group == "raw" and cls not in FAMILY:
                continue
            for level in range(1, top + 1):
                counted = counted_in(cls, group, level)
                k, n, sources = counts.k[counted, group, level], counts.n[counted], len(counts.sources[counted])
                bound = counts.bound(counted, group, level)
                bits = in_bits(bound)
                if group == "http":
                    bits = min(bits, HTTP_CAP, crlf_bits) if cls in TEXT else min(bits, HTTP_CAP)
                if group == "escaped":
                    bits = min(bits, ESCAPED_CAPS[level])
                add(cls, group, level, counted, k, n, bits, "counted", sources, bound)
                if group == "raw" and level == 3:
                    add(cls, "raw", 4, counted, k, n, bits + float(chains[FAMILY[cls]]["bits"]), "chained", sources, bound)  # type: ignore[arg-type] # a float by construction
        if cls in FAMILY:
            m = counts.mixtures[FAMILY[cls]]
            n = evenly(m.unknown, m.unknown)
            for level in range(1, 7):
                k = evenly(m.unknown, collections.Counter({kind: m.http[kind, level] for kind in m.unknown}))
                add(cls, "http-given-raw", level, pool_of(cls), k, n, bits_of(k, n), "chained", len(m.packages), upper_bound(k, n) if n else 1.0)

    pairs = {cls: pair(counts, cls) for cls in (*TEXT, *BINARY)}
    for cls in (*TEXT, *BINARY):
        as_strong(counts, [w for w in weights if w["class"] == cls], float(pairs[cls]["bits"]))  # type: ignore[arg-type] # a float by construction
    weights += head_weights(heads)
    return {
        "bodies": dict(sorted({**counts.n, "head": heads.n}.items())),
        "sources": dict(sorted({**{c: len(s) for c, s in counts.sources.items()}, "head": len(heads.sources)}.items())),
        **{f"chain.{family}": c for family, c in chains.items()},
        "crlf": {"k": counts.crlf_header, "n": counts.crlf, "http_cap_bits": round(crlf_bits, 2)},
        "pair_cap": {cls: p["bits"] for cls, p in pairs.items()},
        "pair": {cls: [p["k"], p["n"]] for cls, p in pairs.items()},
        "weight": weights,
    }


def to_toml(data: dict[str, object], packages: list[str], head_packages: list[str]) -> str:
    """The calibration as TOML, one line a weight."""

    def value(v: object) -> str:
        if isinstance(v, dict):
            return "{ " + ", ".join(f'"{k}" = {value(x)}' for k, x in v.items()) + " }"
        if isinstance(v, list):
            return "[" + ", ".join(value(x) for x in v) + "]"
        if isinstance(v, float):
            return f"{v:.6g}" if v and abs(v) < 0.01 else repr(round(v, 6))
        return f'"{v}"' if isinstance(v, str) else str(v)

    lines = [
        "# Written by `make calibrate`; checked by `python -m calibration.calibrate --check`. Bits are minus log2 of `bound`,",
        "# the upper 95 % bound of k / n; see docs/evidence.md for levels and chains.",
        "",
    ]
    for name, table in data.items():
        if isinstance(table, dict) and name not in ("packages", "chain"):
            lines += [f"[{name}]"] + [f'"{k}" = {value(v)}' for k, v in table.items()] + [""]
    for row in data["weight"]:  # type: ignore[attr-defined] # a list by construction
        lines += ["[[weight]]"] + [f"{k} = {value(v)}" for k, v in row.items()] + [""]
    lines += ["[packages]"]
    for name, files in (("files", packages), ("heads", head_packages)):
        lines += [f"{name} = ["] + [f'  "{p}",' for p in sorted(files)] + ["]"]
    return "\n".join(lines) + "\n"


def check(path: Path) -> list[str]:
    """What is wrong with a calibration file: weights and caps above what their counts support."""
    data = tomllib.loads(path.read_text())
    wrong = []
    for w in data["weight"]:
        limit = -math.log2(w["bound"]) if w["n"] else 0.0
        if w["group"] == "raw" and w["level"] == 4:
            c = data["chain"][FAMILY[w["class"]]]
            limit += -math.log2(upper_bound(c["k"], c["n"])) if c["n"] else 0.0
        if w["n"] and w["bound"] < upper_bound(w["k"], w["n"]) * 0.999:
            wrong.append(f"{w['class']} {w['group']} level {w['level']}: bound {w['bound']} is below that of {w['k']} in {w['n']}")
        if w["bits"] > limit + 1e-6:
            wrong.append(f"{w['class']} {w['group']} level {w['level']}: {w['bits']} bits, {w['k']} in {w['n']} support {limit:.2f}")
        text_cap = min(HTTP_CAP, data["crlf"]["http_cap_bits"]) if w["class"] in TEXT else HTTP_CAP
        if w["group"] == "http" and w["bits"] > text_cap:
            wrong.append(f"{w['class']} http level {w['level']}: {w['bits']} bits, the cap is {text_cap}")
        if w["group"] == "escaped" and w["bits"] > ESCAPED_CAPS[w["level"]]:
            wrong.append(f"{w['class']} escaped level {w['level']}: {w['bits']} bits, the cap is {ESCAPED_CAPS[w['level']]}")
    for cls, bits in data["pair_cap"].items():
        n = max(data["bodies"].get(cls, 0), data["bodies"].get(pool_of(cls), 0) if data["bodies"].get(cls, 0) < THICK else 0)
        k, counted = data["pair"][cls]
        most = min(math.log2(max(3, n) / 3) + 3, -math.log2(upper_bound(k, counted)) if counted else 0.0)
        if bits > most:
            wrong.append(f"{cls}: two groups without a chain may add up to {bits} bits, {k} in {counted} bodies support {most:.2f}")
    return wrong


def _write(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


def main() -> int:
    """Command line; 0 when written or right, 1 when a weight exceeds its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=0, help="stop after about this many bodies")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=HERE.parent / ".cache" / "calibration")
    parser.add_argument("--out", type=Path, default=HERE / "calibration.toml")
    parser.add_argument("--check", type=Path, help="only verify this file")
    parser.add_argument("--only", choices=["heads"], help="recount these alone and keep the rest of the file")
    args = parser.parse_args()
    if args.check:
        wrong = check(args.check)
        print("\n".join(wrong) or f"{args.check.name}: every weight is within its bound")
        return bool(wrong)
    if args.only:
        heads = count_heads(package_list(HERE / "head-packages.txt"), args.cache, args.jobs, args.limit)
        print("\n".join(heads.report))
        data = tomllib.loads(args.out.read_text())
        data |= {f"chain.{family}": c for family, c in data["chain"].items()}
        data["bodies"]["head"], data["sources"]["head"] = heads.n, len(heads.sources)
        data["weight"] = [w for w in data["weight"] if w["class"] != "head"] + head_weights(heads)
        _write(args.out, to_toml(data, data["packages"]["files"], heads.files))
        return 0
    total = Counts()
    seen: set[bytes] = set()
    failed: list[str] = []
    for package in count(package_list(HERE / "packages.txt"), args.cache, True, args.jobs):
        if package.error:
            failed.append(f"{package.name} ({package.error})")
            continue
        total.files.append(package.file)
        for row in package.rows:
            if row.digest not in seen:
                seen.add(row.digest)
                total.body(row)
        for family, m in package.mixtures.items():
            total.mixtures[family].add(m)
        if args.limit and total.bodies >= args.limit:
            break
    for line in failed:
        print("left out:", line)
    print("\n".join(sorted(total.high)))
    if not total.bodies:
        print("nothing was counted; the file is left as it was", file=sys.stderr)
        return 1
    heads = count_heads(package_list(HERE / "head-packages.txt"), args.cache, args.jobs, args.limit)
    print("\n".join(heads.report))
    _write(args.out, to_toml(weigh(total, heads), total.files, heads.files))
    print(f"{args.out}: {total.bodies:,} bodies of {len(total.files)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
