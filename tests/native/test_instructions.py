"""Performance guard: instructions that a fixed input costs each kernel, as valgrind counts them. Unlike time they do not vary.

Among the inputs are the worst ones known: floods whose every few bytes send a verifier as far as it goes. What they cost a
byte is bounded here, and that it is the same however long they are.

They do depend on the compiler, so the baseline names its version and another one is only held to twice the figure.
``python tests/native/test_instructions.py`` counts anew and writes tests/data/instructions.toml; say in the commit why.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import overread

ROOT = Path(__file__).resolve().parents[2]
BASELINE = ROOT / "tests/data/instructions.toml"
PROGRAM = ROOT / "build/native/tests/scan_file"
KERNELS = [k for k in ("avx2", "sse42", "scalar") if k in overread.kernels()]  # what valgrind and this CPU can run
SIZE = 192 << 10  # bytes
TOLERANCE = 0.05
TYPES = {
    "html": "text/html; charset=utf-8",
    "script": "text/javascript",
    "json": "application/json",
    "chinese": "text/html; charset=utf-8",
    "memory": "text/html",
}
# Units that are repeated, under the type that makes them dearest.
FLOODS = {
    # Tokens that begin every three bytes and end 37 bytes on: each is accepted.
    "overlapping": (b"8Q~", "text/html"),
    # Two rules each, one of which accepts.
    "variables": (b"\0PWD=/", "text/html"),
    # Refused by the last thing looked at: a placeholder, too few kinds of characters.
    "refused": (b"/connect.sid=example0123456789~sid=aaaaaaaaaaaaaaaaaaaa~", "text/html"),
    # A hundred names begin so.
    "names": (b"\nx-forwarded-foe:\nx-amzn-oid\nx-", "text/html"),
    "lines": (b"\ncookie:b\0via\0 1.1 ab\rhost:a.b", "text/plain"),
    "wide": (b"e\0y\0J\0a\0.\0 \0x\0-\0v\0i\0a\0", "text/html"),
    "escaped": (b"%0d%0acontent-type%3amultipart/form-data; x&#13;host:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\\x00\\x00\\x01", "application/json"),
    # What a search by mutation found worst, before and after verifiers shared what they read.
    "mixed": (
        b"/connect.sid=cf-connecting-ip:DD%0d%0adisguised-host%3awR/connect.sid=~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/connect.sid=-ci_session=n0VE+-n4HBwa8nHysjS="
        b"\0\0PWD==/<__Host-session=%0d%0acontent-type%3amultipart/form-data; b\0\0PWD==/sessionid=",
        "text/html",
    ),
}
SHORT, LONG = 16 << 10, 1 << 20


def numbers(seed: int) -> Iterator[int]:
    """A linear congruential generator (Knuth's MMIX), the same in every Python."""
    while True:
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        yield seed >> 33


def body(kind: str) -> bytes:
    """A page, a script, a JSON text, a page in Chinese, a page with memory in it."""
    n = numbers(7)
    words = "the of and session a to header in is you value that cookie it const was for content on are as with return function".split()  # noqa: SIM905 - a list of words
    out = bytearray(b"[" if kind == "json" else b"<!DOCTYPE html>\n<html>")
    while len(out) < SIZE:
        text = " ".join(words[next(n) % len(words)] for _ in range(9))
        number = next(n) % 1000
        if kind == "script":
            out += f"function f{number}(a,b){{if(a!=={number}){{return b+'{text}';}}var c=a*{number};return c;}}\n".encode()
        elif kind == "json":
            out += f'{{"id":{number},"name":"{text}","tags":["a\\n","b"],"ok":true}},\n'.encode()
        elif kind == "chinese":
            out += ("<p>" + "".join(chr(0x4E00 + next(n) % 0x5000) for _ in range(60)) + "</p>\n").encode()
        else:
            out += f'<div class="c{number}"><p>{text}</p><a href="/page/{number}?x=1">{text[:12]}</a></div>\n'.encode()
        if kind == "memory" and next(n) % 16 == 0:
            out += b"".join((0x7F3A_0000_0000 + next(n) % 2**20).to_bytes(8, "little") + (next(n) % 256).to_bytes(4, "little") for _ in range(20))
    return bytes(out[:SIZE])


def compiler() -> str:
    """Name and version, as the native build's cache knows it."""
    cache = (ROOT / "build/native/CMakeCache.txt").read_text()
    path = re.search(r"^CMAKE_CXX_COMPILER:\w+=(.*)$", cache, re.M)
    assert path
    return subprocess.run([path[1], "--version"], capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()[0]


def flood(kind: str, size: int) -> bytes:
    """The unit again and again."""
    unit, _ = FLOODS[kind]
    return (unit * (size // len(unit) + 1))[:size]


def count(kernel: str, data: bytes, content_type: str) -> int:
    """Instructions inside ovr_stream_feed for the input."""
    with tempfile.NamedTemporaryFile() as f:
        f.write(data)
        f.flush()
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=ovr_stream_feed", str(PROGRAM), f.name, content_type],
            env={"PATH": "/usr/bin:/bin", "OVERREAD_KERNEL": kernel},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found, f"{kernel}: {done.stderr[-1000:]}"
    return int(found[1])


def hold_to(want: int, got: int, size: int, baseline: dict[str, Any]) -> None:
    """What an input may cost by now."""
    if compiler() == baseline["compiler"]:
        assert abs(got - want) <= TOLERANCE * want, f"{got / size:.2f} instructions a byte, {want / size:.2f} expected"
    else:
        assert got < 2 * want


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", TYPES)
def test_instructions(kernel: str, kind: str) -> None:
    baseline = tomllib.loads(BASELINE.read_text())
    hold_to(baseline[kernel][kind], count(kernel, body(kind), TYPES[kind]), SIZE, baseline)


@pytest.mark.parametrize("kind", FLOODS)
def test_the_worst_inputs(kind: str) -> None:
    baseline = tomllib.loads(BASELINE.read_text())
    kernel, content_type = KERNELS[0], FLOODS[kind][1]
    long = count(kernel, flood(kind, LONG), content_type)
    hold_to(baseline[f"{kernel}-floods"][kind], long, LONG, baseline)
    # Linear: what a byte costs does not grow with the body.
    short = count(kernel, flood(kind, SHORT), content_type)
    assert long / LONG <= 1.1 * short / SHORT, f"{short / SHORT:.1f} instructions a byte of {SHORT}, {long / LONG:.1f} of {LONG}"


def main() -> int:
    """Writes the baseline."""
    lines = ["# Instructions inside ovr_stream_feed; written by tests/native/test_instructions.py.", f'compiler = "{compiler()}"']
    for kernel in KERNELS:
        lines += ["", f"[{kernel}]", *(f"{kind} = {count(kernel, body(kind), TYPES[kind])}" for kind in TYPES)]
    lines += ["", f"[{KERNELS[0]}-floods]", *(f"{kind} = {count(KERNELS[0], flood(kind, LONG), FLOODS[kind][1])}" for kind in FLOODS)]
    BASELINE.write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
