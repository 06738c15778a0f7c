"""Builds benchmarks/native, runs it over bodies of each type and prints the table: ``make bench``.

Hyperscan gets the same rules as expressions: each anchor with what its rule asks for before and behind it. It does not look
for raw bytes, broken UTF-8 or document ends, nor check what it finds, so its figure is that of the smaller task.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import struct
import subprocess
import sys
from pathlib import Path

from calibration import page

from overread import ruleset

from .. import corpora

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "bench"
CASELESS, SINGLE_MATCH = 1, 8  # hs_compile.h
ROWS = ("hot 16 KiB", "whole files", "whole files, 4 KiB chunks", "files that leak")


def _class(e: ruleset.Element) -> str:
    return "[" + "".join(f"\\x{b:02x}" for b in sorted(e.members)) + "]" + (f"{{{e.min}}}" if e.min > 1 else "")


def expressions() -> list[str]:
    """Flags and expression of each anchor of the shipped rules."""
    rows = []
    for r in ruleset.load(ruleset.shipped_packs()):
        for a in r.anchor:
            text = "".join(f"\\x{b:02x}" for b in a)
            before = "".join(f"(?:^|{_class(e)})" if e.edge else _class(e) for e in r.before if e.min)
            after = "".join(_class(e) for e in r.after if e.min and not e.edge)
            if r.check == "header-line":
                before, after = "[\\r\\n\\x00]", "[:\\x00]"
            rows.append(f"{SINGLE_MATCH | (CASELESS if r.nocase else 0)} {before}{text}{after}")
    return rows


def memory(rng: random.Random) -> bytes:
    """A piece of a server's heap as an over-read sends it: a parsed request of somebody else, structs with pointers, NULs."""
    token = "".join(rng.choices("ABCDEFGHabcdefgh0123456789", k=40))
    head = f"GET /inbox HTTP/1.1\r\nHost: mail.example\r\nCookie: session={token}\r\nReferer: https://mail.example/\r\n\r\n".encode()
    base = 0x7F3A_0000_0000 | rng.randrange(1 << 24) << 8
    structs = b"".join(struct.pack("<QQIIQ", base + rng.randrange(1 << 16), rng.randrange(256), rng.randrange(1 << 31), 0, base) for _ in range(24))
    return structs + head + bytes(64) + rng.randbytes(200) + structs


def build() -> Path:
    """The program; CMake and a compiler say themselves what they lack."""
    for command in (["cmake", "-S", str(Path(__file__).parent), "-B", str(BUILD), "-G", "Ninja"], ["cmake", "--build", str(BUILD)]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return BUILD / "bench"


def table(results: dict[str, dict[str, object]], cpu: str) -> str:
    """The table as docs/performance.md shows it."""
    first = next(iter(results.values()))
    lines = [
        f"{cpu}; kernel {first['kernel']}; Hyperscan {first['hyperscan']}, block mode. GB/s, medians of interleaved rounds, CPU time of one thread.",
        "",
        "| bodies | row | overread | Hyperscan | ratio | memcpy | memchr |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, result in results.items():
        rates = result["GB/s"]
        assert isinstance(rates, dict)
        for name in ROWS:
            if name in rates:
                ours, theirs, copy, search = (rates[name][k] for k in ("overread", "hyperscan", "memcpy", "memchr"))
                lines.append(f"| {kind} | {name} | {ours:.1f} | {theirs:.1f} | {ours / theirs:.2f} | {copy:.0f} | {search:.0f} |")
    heads = ("bodies", "open, 64 B, close", "reset, 64 B, finish", "Hyperscan, 64 B", "two threads over one", "past the tables", "candidates, a KiB")
    lines += ["", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for kind, result in results.items():
        ns = result["ns"]
        assert isinstance(ns, dict)
        places = result["candidates a KiB"]
        assert isinstance(places, dict)
        cells = (f"{ns['open, 64 B, close']} ns", f"{ns['reset, 64 B, finish']} ns", f"{ns['hyperscan, 64 B']} ns", f"{result['two threads over one']:.2f}")
        lines.append(f"| {kind} | {' | '.join(cells)} | {places['tables']:.1f} | {places['kernel']:.1f} |")
    return "\n".join(lines)


def main() -> int:
    """Builds, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default="html,js,css,json,html-1-percent,html-cjk,png,jpeg,woff2")
    parser.add_argument("--draw", action="store_true", help="also put the table into docs/performance.md")
    args = parser.parse_args()
    packs = corpora.build()
    program = build()
    patterns, leak = corpora.CACHE / "expressions.txt", corpora.CACHE / "leak"
    patterns.write_text("\n".join(expressions()) + "\n")
    leak.write_bytes(memory(random.Random(1)))
    results: dict[str, dict[str, object]] = {}
    for kind in args.kinds.split(","):
        content_type = corpora.TYPES[kind.split("-")[0]]
        done = subprocess.run([str(program), content_type, str(packs[kind]), str(patterns), str(leak)], capture_output=True, text=True, timeout=600, check=True)
        result = results[kind] = json.loads(done.stdout)
        leaks = result["leaks"]
        if kind in ("html", "js", "css", "json"):
            # A comparison is worth something only between scanners that find what is there.
            assert leaks["overread at 14 bits"] == leaks["planted"] == leaks["hyperscan, any hit"], leaks
        print(kind, result, file=sys.stderr)
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    text = table(results, cpu[1] if cpu else "unknown CPU")
    (corpora.CACHE / "native.json").write_text(json.dumps(results, indent=1))
    print(text)
    if args.draw:
        page.put("native table", text, ROOT / "docs" / "performance.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
