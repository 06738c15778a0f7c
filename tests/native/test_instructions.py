"""Performance guard: instructions that a fixed input costs each kernel, as valgrind counts them. Unlike time they do not vary.

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


def count(kernel: str, kind: str) -> int:
    """Instructions inside ovr_stream_feed for the input."""
    with tempfile.NamedTemporaryFile() as f:
        f.write(body(kind))
        f.flush()
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=ovr_stream_feed", str(PROGRAM), f.name, TYPES[kind]],
            env={"PATH": "/usr/bin:/bin", "OVERREAD_KERNEL": kernel},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found, f"{kernel}, {kind}: {done.stderr[-1000:]}"
    return int(found[1])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", TYPES)
def test_instructions(kernel: str, kind: str) -> None:
    baseline = tomllib.loads(BASELINE.read_text())
    want, got = baseline[kernel][kind], count(kernel, kind)
    if compiler() == baseline["compiler"]:
        assert abs(got - want) <= TOLERANCE * want, f"{got / SIZE:.2f} instructions a byte, {want / SIZE:.2f} expected"
    else:
        assert got < 2 * want


def main() -> int:
    """Writes the baseline."""
    lines = ["# Instructions inside ovr_stream_feed; written by tests/native/test_instructions.py.", f'compiler = "{compiler()}"']
    for kernel in KERNELS:
        lines += ["", f"[{kernel}]", *(f"{kind} = {count(kernel, kind)}" for kind in TYPES)]
    BASELINE.write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
