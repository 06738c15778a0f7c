"""Draws the speed tables of docs/performance.md and docs/foreign-secrets.md, with plots, from the last figures: ``python -m benchmarks.report``."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from calibration import page

from . import results

DOCS = Path(__file__).resolve().parents[1] / "docs"
PEERS_AIMS = (("hyperscan", 2.0), ("yara-x", 12.0), ("re2 set", 12.0))
COLOURS = ("#c33", "#37c", "#2a2", "#a3a", "#e80", "#088", "#888")


@dataclass(frozen=True)
class Plot:
    """Bars of one table: a group a row, a colour a series. ``log``: each line is ten times the one before."""

    title: str
    groups: Mapping[str, Mapping[str, float]]
    log: bool = False


@dataclass(frozen=True)
class Table:
    """One table of docs/performance.md, with what is said above it."""

    name: str
    above: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    plot: Plot

    def text(self) -> str:
        """As the page shows it, its plot behind it."""
        lines = [self.above, "", _row(self.heads), "|" + "---|" * len(self.heads), *map(_row, self.rows)]
        return "\n".join([*lines, "", f"![{self.plot.title}]({self.file()})"])

    def file(self) -> str:
        """Name of the plot."""
        return f"speed-{self.name.lower().replace(' ', '-')}.svg"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def svg(plot: Plot) -> str:
    """The plot as a picture."""
    series = list(dict.fromkeys(s for values in plot.groups.values() for s in values))
    values = [v for group in plot.groups.values() for v in group.values()]
    low = 10.0 ** math.floor(math.log10(min(values))) if plot.log else 0.0
    high = 10.0 ** math.ceil(math.log10(max(values))) if plot.log else max(values) * 1.05
    left, width, bar, gap, top = 20 + 6 * max(map(len, plot.groups)), 480, 9, 8, 44
    group = len(series) * bar + gap
    height = top + len(plot.groups) * group + 30

    def x(value: float) -> float:
        share = math.log10(value / low) / math.log10(high / low) if plot.log else value / high
        return left + share * width

    step = 10 ** math.floor(math.log10(high))
    ticks = [low * 10**i for i in range(round(math.log10(high / low)) + 1)] if plot.log else [step * i / 2 for i in range(int(2 * high / step) + 1)]
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 60} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{left + width + 60}" height="{height}" fill="white"/>',
        f'<text x="8" y="16" font-size="13">{escape(plot.title)}</text>',
    ]
    for t in ticks:
        out.append(f'<path d="M{x(t):.1f} {top - 6}V{height - 24}" stroke="#ddd"/><text x="{x(t):.1f}" y="{height - 10}" text-anchor="middle">{t:g}</text>')
    for i, name in enumerate(series):
        out.append(f'<text x="{8 + i * (left + width) / len(series):.0f}" y="32" fill="{COLOURS[i]}">{escape(name)}</text>')
    for row, (name, of_series) in enumerate(plot.groups.items()):
        y = top + row * group
        out.append(f'<text x="{left - 6}" y="{y + (group - gap) / 2 + 4:.1f}" text-anchor="end">{escape(name)}</text>')
        for i, s in enumerate(series):
            if s in of_series:
                wide = x(of_series[s]) - left
                out.append(f'<rect x="{left}" y="{y + i * bar}" width="{wide:.1f}" height="{bar - 1}" fill="{COLOURS[i]}"/>')
    return "\n".join([*out, "</svg>"]) + "\n"


def figure(value: float) -> str:
    """Two or three digits that mean something."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _on(machine: Mapping[str, str]) -> str:
    return f"{machine['cpu']}; overread {machine['overread']}, kernel {machine['kernel']}"


def native(machine: Mapping[str, str], of_kind: Any) -> list[Table]:
    """Whole bodies and small ones, from C."""
    names = ("overread", "hyperscan", "vectorscan", "memcpy", "memchr")
    rows, small, places, kernel = [], [], {}, {}
    for kind, result in of_kind.items():
        for row, rate in result["GB/s"].items():
            peers = [figure(rate[n]) for n in names]
            rows.append([kind, row, *peers[:3], *(f"{rate['overread'] / rate[n]:.2f}" for n in ("hyperscan", "vectorscan")), *peers[3:]])
        ns = result["ns"]
        places[kind] = result["candidates a KiB"]
        if "cycles for 64 B" in result:
            kernel[kind] = result["cycles for 64 B"]
        small.append([kind, *(f"{v:.0f} ns" for v in ns.values()), *(f"{places[kind][k]:.1f}" for k in ("tables", "kernel"))])
    first = next(iter(of_kind.values()))["peers"]
    versions = ", ".join(f"{n.capitalize()} {first[n]['version'].strip()} ({first[n]['database'].strip()})" for n in names[1:3])
    heads = ("bodies", "row", "overread", "Hyperscan", "Vectorscan", "÷ Hyperscan", "÷ Vectorscan", "memcpy", "memchr")
    whole = {kind: {n: r["GB/s"]["whole files"][n] for n in names[:3]} for kind, r in of_kind.items()}
    calls = {kind: r["ns"] for kind, r in of_kind.items()}
    small_heads = ("bodies", "open, 64 B, close", "reset, 64 B, finish", "Hyperscan", "Vectorscan", "past the tables", "candidates, a KiB")
    parts = list(dict.fromkeys(p for cycles in kernel.values() for p in cycles))
    return [
        Table(
            "native",
            f"{_on(machine)}; {versions}, `{first['hyperscan']['options']}`. GB/s, medians of interleaved rounds, CPU time of one thread.",
            heads,
            rows,
            Plot("From C, whole files, GB/s", whole),
        ),
        Table(
            "kernel",
            "The same run, the kernel alone on hot tiles, cycles for 64 bytes:",
            ("bodies", *parts),
            [[kind, *(f"{cycles[p]:.1f}" if p in cycles else "-" for p in parts)] for kind, cycles in kernel.items()],
            Plot("The kernel alone, cycles for 64 bytes", kernel),
        ),
        Table("small bodies", "The same run, 64 bytes of the type:", small_heads, small, Plot("From C, 64 bytes, ns", calls)),
    ]


def with_literals(machine: Mapping[str, str], result: Any) -> Table:
    """An operator's literals."""
    names = list(result["rulesets"])
    rows = []
    for kind, rates in result["GB/s"].items():
        for n in names:
            ours, theirs = rates[n]["overread"], rates[n]["hyperscan"]
            rows.append([kind, f"{int(n):,}", figure(ours), f"{ours / rates[names[0]]['overread']:.2f}", figure(theirs), f"{ours / theirs:.2f}"])
    loads = "; ".join(f"{int(n):,} added: {r['blob bytes']:,} bytes, loaded in {figure(r['load ms'])} ms" for n, r in result["rulesets"].items())
    found = ", ".join(f"{r['overread found']:,} of {r['literals']:,}" for r in result["rulesets"].values() if r["literals"])
    return Table(
        "literals",
        f"{_on(machine)}; Hyperscan {result['hyperscan']} with the same literals. GB/s, whole files. {loads}. Planted one by one and found: {found}, by both.",
        ("bodies", "literals added", "overread", "÷ none added", "Hyperscan", "÷ Hyperscan"),
        rows,
        Plot("Literals added, GB/s", {f"{k}, {int(n):,}": r[n] for k, r in result["GB/s"].items() for n in names}),
    )


def _size(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def worst(machine: Mapping[str, str], result: Any) -> Table:
    """Hostile bodies."""
    sizes = [_size(s) for s in result["sizes"]]
    rows = [[name, r["type"].partition(";")[0], *(figure(v) for v in r["ns"]), f"{r['ns'][-1] / r['ns'][0]:.2f}"] for name, r in result["ns a byte"].items()]
    plain, wide = (bytes.fromhex(a) for a in result["costliest"])
    which = f"`{plain.decode('latin-1')}`, and in UTF-16 `{wide.decode('utf-16-le')}`"
    return Table(
        "worst input",
        f"{_on(machine)}; chunks of 16 KiB, ns a byte. The costliest anchors of the shipped rules, alone, are {which}.",
        ("body", "type", *sizes, f"{sizes[-1]} ÷ {sizes[0]}"),
        rows,
        Plot("Hostile bodies, ns a byte", {n: dict(zip(sizes, r["ns"], strict=True)) for n, r in result["ns a byte"].items()}, log=True),
    )


LATENCIES = {"p50 us": "p50 µs", "p99 us": "p99 µs", "p50 us alone": "p50 µs, 1 connection", "p99 us alone": "p99 µs, 1 connection"}


def proxies(name: str, served: str, machine: Mapping[str, str], result: Any) -> Table:
    """HTML through a proxy: CPU time of its worker, and latencies as the client sees them."""
    reads = name == "nginx"  # only a scanned file is read besides
    dearest = "ModSecurity + CRS"
    beside = any(dearest in r["variants"] for r in result.values())
    rows, added = [], {}
    for size, r in result.items():
        each_byte = r["bytes"]
        added[size] = {kind: ns / each_byte for kind, ns in r["added cpu ns"].items() if kind != "plain again" and ns > 0}
        for kind, v in r["variants"].items():
            more = r["added cpu ns"].get(kind)
            cost = ["", ""] if more is None else [f"{more / 1000:.1f}", f"{more / each_byte:.3f}"]
            scans = kind in ("monitor", "enforce")
            parts = [f"{r[part] / each_byte:.3f}" if scans else "" for part in ("scan ns", "read ns")[: 1 + reads]]
            if beside:
                parts.append(figure(r["added cpu ns"][dearest] / more) if scans and more and more > 0 else "")
            rows.append([size, kind, figure(v["cpu ns"] / 1000), *cost, *parts, *(figure(v[k]) for k in LATENCIES)])
    parts = ["the scan alone", *["the read alone"] * reads, *["ModSecurity ÷ this"] * beside]
    return Table(
        name,
        f"{_on(machine)}; {served}. CPU time of the worker, medians of interleaved rounds.",
        ("body", "with", "CPU µs", "added µs", "added ns a byte", *parts, *LATENCIES.values()),
        rows,
        Plot(f"CPU time that is added inside {name}, ns a byte", added, log=True),
    )


def calls(machine: Mapping[str, str], result: Any) -> list[Table]:
    """Python calls beside the peers'."""
    peers = result["peers"]
    names = list(peers)
    scanners = [n for n in names if n not in ("memcpy", "memchr")]
    found = peers["hyperscan"]["found in the planted body"]
    said = "; ".join(f"{n}: {p['version']}, {p['options']}" for n, p in peers.items())
    rates = [[kind, *(figure(r[n]) for n in names), *(figure(r["overread"] / r[n]) for n in scanners[1:4])] for kind, r in result["GB/s"].items()]
    columns = list(next(iter(result["ns"].values())))
    return [
        Table(
            "calls",
            f"{machine['cpu']}; CPython {machine['python']}. {said}. GB/s. "
            f"In a planted body each peer finds the same {' to '.join(str(f(found.values())) for f in (min, max))} expressions.",
            ("bodies", *names, *(f"÷ {n}" for n in scanners[1:4])),
            rates,
            Plot("From Python, whole files, GB/s", {k: {n: r[n] for n in scanners} for k, r in result["GB/s"].items()}, log=True),
        ),
        Table(
            "small calls",
            "The same run, 64 bytes, ns a call; `feed` alone is on a stream that is there.",
            ("bodies", *columns),
            [[kind, *(f"{v:,.0f}" for v in r.values())] for kind, r in result["ns"].items()],
            Plot("From Python, 64 bytes, ns", {k: {n: v for n, v in r.items() if n not in ("memcpy", "memchr")} for k, r in result["ns"].items()}, log=True),
        ),
    ]


def feed(machine: Mapping[str, str], result: Any, milliseconds: Mapping[str, float]) -> Table:
    """Python beside C."""
    return Table(
        "feed",
        f"{machine['cpu']}; chunks of 16 KiB, GB/s, both in one process. `import overread` and a default `Scanner` add {milliseconds['wall']:.0f} ms to a bare "
        f"interpreter ({milliseconds['cpu']:.0f} ms of CPU time).",
        ("bodies", "Python", "C", "÷ C"),
        [[kind, figure(r["Python"]), figure(r["C"]), f"{r['Python'] / r['C']:.3f}"] for kind, r in result.items()],
        Plot("Feeding 16 KiB, GB/s", result),
    )


def threads(machine: Mapping[str, str], of_kind: Any, many: Mapping[str, Mapping[str, float]]) -> Table:
    """Two threads over one."""
    columns = ("C", "a loop", "C, by CPU time", "scan_many", "scan_many, by CPU time")
    both = {
        kind: {
            "C": r["two threads"]["over one"],
            "a loop": r["two threads"]["a loop"],
            "C, by CPU time": r["two threads"]["by CPU time"],
            **({"scan_many": many[kind]["over one"], "scan_many, by CPU time": many[kind]["by CPU time"]} if kind in many else {}),
        }
        for kind, r in of_kind.items()
    }
    return Table(
        "threads",
        f"{machine['cpu']}; at least 64 MiB a round, wall time: how many times as fast two threads are as one. They need two idle cores. "
        "*A loop* touches no memory: it says, in the rounds of C, how much of a second core there was. *By CPU time* is what two cores would give: "
        "2 less what the threads cost each other.",
        ("bodies", *columns),
        [[kind, *(f"{r[k]:.2f}" if k in r else "" for k in columns)] for kind, r in both.items()],
        Plot("Two threads over one", both),
    )


def registry(machine: Mapping[str, str], result: Any) -> list[Table]:
    """Beside live secrets, and holding them."""
    rows, scanned = [], {}
    for kernel, of_kind in result["ns a byte"].items():
        for kind, r in of_kind.items():
            ratio = r["without"] / r["with"]
            rows.append([kernel, kind, f"{r['without']:.3f}", f"{r['with']:.3f}", f"{ratio:.2f}", figure(r["look-ups a KiB"])])
            scanned[f"{kind}, {kernel}"] = {n: r[n] for n in ("without", "with")}
    live = result["live"]
    held = {f"{int(n):,}": {"new value": r["new ns"], "known value": r["known ns"], "look-up": r["look-up ns"]} for n, r in live.items()}
    per_value = [r["places"] * r["bytes a place"] / int(n) for n, r in live.items()]
    columns = [
        [f"{int(n):,}", *map(figure, held[f"{int(n):,}"].values()), f"{r['bytes a place']:.1f}", f"{v:.0f}"]
        for (n, r), v in zip(live.items(), per_value, strict=True)
    ]
    return [
        Table(
            "registry speed",
            f"{machine['cpu']}; overread {machine['overread']}. {result['beside']:,} live secrets, whole files in chunks of 64 KiB, ns a byte, medians of "
            "interleaved rounds, CPU time of one thread.",
            ("kernel", "bodies", "without a registry", "with", "speed that is left", "look-ups a KiB"),
            rows,
            Plot("Clean text beside live secrets, ns a byte", scanned),
        ),
        Table(
            "registry hostile",
            f"The same machine and secrets, {next(iter(result['ns a byte']))}; pages under text/html that are nothing but what is dear to look at, ns a byte.",
            ("page", "without a registry", "with"),
            [[name, f"{r['without']:.2f}", f"{r['with']:.1f}"] for name, r in result["hostile"].items()],
            Plot("Hostile pages beside live secrets, ns a byte", result["hostile"], log=True),
        ),
        Table(
            "registry cost",
            "The same machine; session cookies of 43 characters, issued once and sent again in an order that no cache knows; look-ups are of values nobody "
            "has. ns and bytes:",
            ("live secrets", "a new value", "a known value", "a look-up", "a window", "a live value"),
            columns,
            Plot("A registry by its live secrets, ns", held, log=True),
        ),
    ]


def targets() -> Table:
    """What was aimed at, with the figure of the last run: the least of the bodies named."""
    of_kind, added, hostile, python, fed, many, milliseconds = (
        results.read(n)[1] for n in ("native-rates", "native-literals", "native-worst", "calls-peers", "calls-feed", "calls-threads", "calls-import")
    )
    rates, html = added["GB/s"], python["GB/s"]["html"]
    ratios = [r["ns"][-1] / r["ns"][0] for r in hostile["ns a byte"].values()]
    text, binary = ("html", "js", "json"), ("png", "jpeg", "woff2")

    def beside(row: str, kinds: Sequence[str]) -> float:
        return min(float(of_kind[k]["GB/s"][row]["overread"] / of_kind[k]["GB/s"][row]["hyperscan"]) for k in kinds)

    def share(kind: str) -> float:
        return float(of_kind[kind]["GB/s"]["hot 16 KiB"]["overread"] / of_kind["html"]["GB/s"]["hot 16 KiB"]["overread"])

    def chunked(kind: str) -> float:
        return float(of_kind[kind]["GB/s"]["whole files, 4 KiB chunks"]["overread"] / of_kind[kind]["GB/s"]["whole files"]["overread"])

    def fixed(call: str) -> float:
        return max(float(of_kind[k]["ns"][call]) for k in text)

    rows: list[tuple[str, float, float]] = [
        ("hot text beside Hyperscan", 2, beside("hot 16 KiB", text)),
        ("whole text files beside Hyperscan", 1.9, beside("whole files", text)),
        ("hot binary bodies beside Hyperscan", 3, beside("hot 16 KiB", binary)),
        ("bodies that leak beside Hyperscan", 1, beside("files that leak", of_kind)),
        ("1 % of bytes above ASCII, share of HTML's speed", 0.7, share("html-1-percent")),
        ("Chinese pages, share of HTML's speed", 0.4, share("html-cjk")),
        ("whole files in chunks of 4 KiB, share of one call's speed", 0.9, min(map(chunked, of_kind))),
        ("500 ns, over opening, 64 B, closing", 1, 500 / fixed("open, 64 B, close")),
        ("120 ns, over resetting, 64 B, finishing", 1, 120 / fixed("reset, 64 B, finish")),
        ("1,000 literals added, share of the default's speed", 0.5, min(r["1000"]["overread"] / r["0"]["overread"] for r in rates.values())),
        ("Python, 64 B, `feed` beside hyperscan's call", 1 / 0.3, min(r["hyperscan"] / r["feed"] for r in python["ns"].values())),
        ("Python, 64 B, `scan` beside hyperscan's call", 1 / 0.75, min(r["hyperscan"] / r["scan"] for r in python["ns"].values())),
        ("Python, `feed` of 16 KiB, share of C", 0.95, min(r["Python"] / r["C"] for r in fed.values())),
        *((f"Python, whole HTML files, beside {p}", aim, html["overread"] / html[p]) for p, aim in PEERS_AIMS),
        ("two threads over one, C, HTML", 1.9, of_kind["html"]["two threads"]["over one"]),
        ("two threads over one, `scan_many`, HTML", 1.9, many["html"]["over one"]),
        ("30 ms, over `import overread` and a default `Scanner`", 1, 30 / milliseconds["wall"]),
        ("worst input, 2 ns a byte over its own", 1, 2 / max(max(r["ns"]) for r in hostile["ns a byte"].values())),
        ("worst input, time a byte at 16 KiB over 64 MiB", 1 / 1.15, 1 / max(ratios)),
    ]  # fmt: skip
    return Table(
        "targets",
        "Figures of the least favourable bodies, from the tables below. Time a byte counts as flat up to 1.15 times: the clock varies.",
        ("what", "aim, at least", "figure", "reached"),
        [[what, f"{aim:.2f}", f"{value:.2f}", "yes" if value >= aim else "no"] for what, aim, value in rows],
        Plot("Figure over aim: 1 is reached", {what.replace("`", ""): {"figure ÷ aim": value / aim} for what, aim, value in rows}),
    )


def tables() -> list[Table]:
    """All of them, in the order of the page."""
    machine, of_kind = results.read("native-rates")
    milliseconds = results.read("calls-import")[1]
    return [
        targets(),
        *native(machine, of_kind),
        threads(machine, of_kind, results.read("calls-threads")[1]),
        with_literals(*results.read("native-literals")),
        *calls(*results.read("calls-peers")),
        feed(*results.read("calls-feed"), milliseconds),
        worst(*results.read("native-worst")),
        proxies("nginx", "nginx of Debian, one worker, static HTML, sendfile on, 16 connections", *results.read("proxies")),
        proxies("nginx before an upstream", "the same nginx before another one, which serves the files; responses in memory", *results.read("proxied")),
        proxies("Envoy", "Envoy 1.40, one worker, before an nginx that serves the files, 16 connections", *results.read("envoy")),
    ]


def main() -> int:
    """Puts every table and plot in its place."""
    for table in tables():
        page.put(f"{table.name} table", table.text(), DOCS / "performance.md")
        (DOCS / table.file()).write_text(svg(table.plot))
    for table in registry(*results.read("registry")):
        page.put(f"{table.name} table", table.text(), DOCS / "foreign-secrets.md")
        (DOCS / table.file()).write_text(svg(table.plot))
    return 0


if __name__ == "__main__":
    sys.exit(main())
