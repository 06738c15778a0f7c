"""Does the law hold? ``python -m calibration.reliability`` counts held-back bodies; ``--draw`` redraws table and plot.

The law: at most 2^-t of clean responses reach t bits. It is tested on packages that no weight was counted on, for
t = 2 to floor(log2(n / 3)): beyond that n bodies can neither show nor refute it, and the curve is called extrapolated.
A share's lower 95 % bound comes from a bootstrap over sources, because the files of one project are not independent.
"""

from __future__ import annotations

import argparse
import collections
import json
import math
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import clusters, page
from .bounds import upper_bound
from .counting import Row, count, package_list

HERE = Path(__file__).parent
RESULT = HERE / "reliability.toml"
DOCS = HERE.parent / "docs"
LISTED = 14  # bits: bodies above it are listed with their causes
ALARM = 22  # bits


def tally(rows: Iterable[Row]) -> tuple[dict[str, object], list[Row]]:
    """Counts at each t, overall and per class, and the rows above ``LISTED`` bits."""
    n: collections.Counter[str] = collections.Counter()
    k: collections.Counter[tuple[str, int]] = collections.Counter()
    per_source: dict[str, dict[str, list[int]]] = collections.defaultdict(lambda: collections.defaultdict(lambda: [0] * 65))
    high = []
    for row in rows:
        top = min(63, int(row.bits))
        if row.bits >= LISTED:
            high.append(row)
        for cls in ("all", row.cls):
            n[cls] += 1
            per_source[cls][row.source][64] += 1
            for t in range(2, top + 1):
                k[cls, t] += 1
                per_source[cls][row.source][t] += 1
    result: dict[str, object] = {}
    for cls in sorted(n, key=lambda c: (c != "all", -n[c])):
        last = max(2, math.floor(math.log2(max(3, n[cls]) / 3)))
        table = []
        for t in range(2, max(last, 22) + 1):
            low = clusters.lower([(counts[t], counts[64]) for counts in per_source[cls].values() if counts[t]], len(per_source[cls]), n[cls])
            table.append([t, k[cls, t], round(low, 9), round(upper_bound(k[cls, t], n[cls]), 9)])
        result[cls] = {"n": n[cls], "sources": len(per_source[cls]), "tested_to": last, "rows": table}
    return result, high


def broken(result: dict[str, object]) -> list[str]:
    """Where the law fails: a share whose lower bound lies above 2^-t within the tested range."""
    wrong = []
    for cls, data in result.items():
        for t, k, low, _ in data["rows"]:  # type: ignore[index] # a table by construction
            if t <= data["tested_to"] and low > 2.0**-t:  # type: ignore[index]
                wrong.append(f"{cls}: {k} of {data['n']} bodies reach {t} bits; the lower bound {low:.2g} is above 2^-{t} = {2.0**-t:.2g}")  # type: ignore[index]
    return wrong


def table(result: dict[str, object]) -> str:
    """Markdown: how many clean bodies reach t bits, overall and per class."""
    shown = (2, 6, 8, 10, 12, 14, 16, 18, 22)
    lines = ["| class | bodies | sources | tested to | " + " | ".join(f"≥ {t}" for t in shown) + " |", "|" + "---|" * (4 + len(shown))]
    for cls, data in result.items():
        ks = {t: k for t, k, _, _ in data["rows"]}  # type: ignore[index]
        lines.append(f"| {cls} | {data['n']:,} | {data['sources']} | {data['tested_to']} bits | " + " | ".join(f"{ks.get(t, 0):,}" for t in shown) + " |")  # type: ignore[index]
    return "\n".join(lines) + "\n"


def plot(result: dict[str, object]) -> str:
    """SVG, both axes in bits: evidence across, surprise of the observed share upwards; on or above the diagonal the law holds."""
    size, margin, top = 520, 60, 24
    scale = (size - 2 * margin) / top

    def at(x: float, y: float) -> str:
        return f"{margin + x * scale:.1f},{size - margin - min(top, y) * scale:.1f}"

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" font-family="sans-serif" font-size="12">',
        f'<rect width="{size}" height="{size}" fill="white"/>',
        f'<polyline points="{at(0, 0)} {at(top, top)}" stroke="#888" fill="none"/>',
    ]
    for t in range(0, top + 1, 4):
        x, y = at(t, 0).split(",")
        out.append(f'<text x="{x}" y="{float(y) + 18}" text-anchor="middle">{t}</text>')
        x, y = at(0, t).split(",")
        out.append(f'<text x="{float(x) - 8}" y="{float(y) + 4}" text-anchor="end">{t}</text>')
    out.append(f'<text x="{size / 2}" y="{size - 14}" text-anchor="middle">evidence of the response, bits (t)</text>')
    out.append(f'<text transform="translate(16 {size / 2}) rotate(-90)" text-anchor="middle">minus log2 of the share of clean responses with ≥ t bits</text>')
    colours = {"all": "#000", "html": "#c33", "js": "#37c", "text": "#2a2", "json": "#a3a", "png": "#e80"}
    for row, (cls, colour) in enumerate((c, colours[c]) for c in colours if c in result):
        data = result[cls]
        solid = [(t, -math.log2(k / data["n"])) for t, k, _, _ in data["rows"] if k and t <= data["tested_to"]]  # type: ignore[index]
        last = solid[-1] if solid else (2, math.log2(data["n"]))  # type: ignore[index]
        ends = [last, (top, max(last[1], math.log2(data["n"] / 3)))]  # type: ignore[index]
        out.append(f'<polyline points="{" ".join(at(*p) for p in solid)}" stroke="{colour}" fill="none" stroke-width="2"/>')
        out.append(f'<polyline points="{" ".join(at(*p) for p in ends)}" stroke="{colour}" fill="none" stroke-dasharray="3 4"/>')
        out.append(f'<text x="{margin + 12}" y="{margin + 16 * row}" fill="{colour}">{cls} ({data["n"]:,})</text>')  # type: ignore[index]
    out.append(f'<text x="{margin + 12}" y="{margin + 16 * len(colours)}" fill="#888">dashed: extrapolated; diagonal: the law</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def write(result: dict[str, object], high: Sequence[Row], path: Path) -> None:
    """The counts as TOML, one line a row."""
    lines = ["# Written by `make reliability`: [t, clean bodies with at least t bits, lower 95 % bound of the share (bootstrap over sources), upper bound]", ""]
    for cls, data in result.items():
        lines += [f'["{cls}"]', f"n = {data['n']}", f"sources = {data['sources']}", f"tested_to = {data['tested_to']}", "rows = ["]  # type: ignore[index]
        lines += [f"  [{t}, {k}, {low}, {high}]," for t, k, low, high in data["rows"]] + ["]", ""]  # type: ignore[index]
    lines += ["[high]", "rows = ["]
    lines += [f"  [{row.bits:.1f}, {json.dumps(row.cls)}, {json.dumps(cause(row))}, {json.dumps(row.path)}]," for row in sorted(high, key=lambda r: -r.bits)]
    path.write_text("\n".join([*lines, "]"]) + "\n")


def cause(row: Row) -> str:
    """The levels a body reached, in words."""
    import overread._core
    from overread.ruleset import GROUPS

    return "; ".join(f"{group}: {overread._core.level_name(GROUPS.index(group), level)}" for group, level in sorted(row.levels.items()))


def draw(path: Path) -> None:
    """Writes the plot, and the tables between their marks in docs/detection.md."""
    result = tomllib.loads(path.read_text())
    high = result.pop("high")["rows"]
    (DOCS / "reliability.svg").write_text(plot(result))
    page.put("reliability table", table(result))
    rows = [f"| {bits} | {cls} | {why} | `{where}` |" for bits, cls, why, where in high]
    page.put("clean bodies above 14 bits", "\n".join(["| bits | class | why | body |", "|---|---|---|---|", *rows]))


def not_clean() -> dict[bytes, str]:
    """Digests of bodies that hold a real leak, and what is in them."""
    lines = [line.split(maxsplit=1) for line in (HERE / "not-clean.txt").read_text().splitlines() if not line.startswith("#")]
    return {bytes.fromhex(digest): why for digest, why in lines}


def main() -> int:
    """Command line; 1 when the law fails or a clean body reached the alarm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", action="store_true", help="only redraw table and plot from the last count")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=HERE.parent / ".cache" / "calibration")
    args = parser.parse_args()
    if args.draw:
        draw(RESULT)
        return 0
    rows: list[Row] = []
    seen: set[bytes] = set()
    leaks = not_clean()
    for package in count(package_list(HERE / "held-back.txt"), args.cache, False, args.jobs):
        if package.error:
            print("left out:", package.name, package.error)
        for row in package.rows:
            if row.digest in leaks:
                print(f"not clean, {row.bits:.1f} bits: {leaks[row.digest]}")
            elif row.digest not in seen:
                seen.add(row.digest)
                rows.append(row)
    result, high = tally(rows)
    write(result, high, RESULT)
    draw(RESULT)
    for row in sorted(high, key=lambda r: -r.bits):
        print(f"{row.bits:5.1f} bits  {row.cls:12} {row.levels}  {row.path}")
    wrong = broken(result)
    alarms = sum(row.bits >= ALARM for row in rows)
    print("\n".join(wrong) or "the law holds", f"{len(rows):,} clean bodies, {alarms} at {ALARM} bits or more", sep="\n")
    return bool(wrong or alarms)


if __name__ == "__main__":
    sys.exit(main())
