"""Cuts windows from memory the way over-reads do, and says what each holds."""

from __future__ import annotations

import bisect
import random
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

SHORTEST, LONGEST = 16, 64 << 10  # bytes
# A C string begins near a place where a head ends, with CRLF CRLF; c-string-line: near one where a server put NUL behind a line it had parsed.
STRATA = ("uniform", "after-body", "secret", "c-string", "c-string-line")
_BODY_END = re.compile(rb"</html>\n|\]\}(?=[\0\r\n])")
_HEAD_END = re.compile(rb"\r\n\r\n")
_LINE_END = re.compile(rb"(?<!\r\n)\r\n\0")
_HEADER = re.compile(rb"(?:^|[\r\n\0])[A-Za-z][A-Za-z-]{2,30}(?:: |\0 ?)[\x20-\x7e]{3,}")
_CONTROL = re.compile(rb"[\x01-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")


@dataclass(frozen=True)
class Window:
    """One stretch of a server's memory. Kinds: raw signs and header lines that a reader could recognise."""

    server: str
    stratum: str
    data: bytes
    nul: bool
    control: bool
    utf8: bool
    pointers: int
    header: bool
    all_zero: bool
    secrets: tuple[tuple[int, int], ...]  # offset and length of whole planted values

    @property
    def raw_kinds(self) -> int:
        """How many kinds of raw sign it holds: NUL, control bytes, broken UTF-8, related pointers."""
        return self.nul + self.control + self.utf8 + (self.pointers >= 2)

    def to_dict(self) -> dict[str, object]:
        """All but the bytes."""
        return {k: v for k, v in asdict(self).items() if k != "data"}


def describe(server: str, stratum: str, data: bytes, ranges: Sequence[tuple[int, int]], secrets: Sequence[bytes]) -> Window:
    """A window with its labels; ``ranges`` are the process's mappings, sorted."""
    broken = False
    rest = data
    while True:
        try:
            rest.decode("utf-8")
            break
        except UnicodeDecodeError as e:
            # A character cut by the window's own edge says nothing.
            if (rest is data and e.start < 3 and 0x80 <= rest[e.start] < 0xC0) or e.start > len(rest) - 4:
                if e.start > len(rest) - 4:
                    break
                rest = rest[e.start + 1 :]
                continue
            broken = True
            break
    pointers = 0
    for at in range(0, min(len(data) - 7, 16384), 8):
        (value,) = struct.unpack_from("<Q", data, at)
        i = bisect.bisect_right(ranges, (value, 1 << 64)) - 1
        pointers += value > 0x10000 and i >= 0 and value < ranges[i][1]
    found = []
    for s in secrets:
        at = data.find(s)
        if at >= 0:
            found.append((at, len(s)))
    return Window(
        server, stratum, data, b"\0" in data, bool(_CONTROL.search(data)), broken, pointers, bool(_HEADER.search(data)), not data.strip(b"\0"), tuple(found)
    )  # fmt: skip


def _length(rng: random.Random) -> int:
    return int(SHORTEST * (LONGEST / SHORTEST) ** rng.random())


def cut(
    server: str, pieces: Sequence[tuple[int, bytes]], ranges: Sequence[tuple[int, int]], secrets: Sequence[bytes], each: int, rng: random.Random
) -> Iterator[Window]:
    """``each`` windows of every stratum, as far as the memory holds places for them."""
    pages = [(i, at) for i, (_, data) in enumerate(pieces) for at in range(0, len(data), 4096) if 4096 - data.count(0, at, at + 4096) > 64]
    ends = [(i, m.end()) for i, (_, data) in enumerate(pieces) for m in _BODY_END.finditer(data)]
    heads, lines = ([(i, m.start()) for i, (_, data) in enumerate(pieces) for m in end.finditer(data)] for end in (_HEAD_END, _LINE_END))
    planted = []
    for i, (_, data) in enumerate(pieces):
        for s in secrets:
            at = data.find(s)
            while at >= 0:
                planted.append((i, at))
                at = data.find(s, at + 1)
    for stratum, places in zip(STRATA, (pages, ends, planted, heads, lines), strict=True):
        made = tries = 0
        while places and made < each and tries < each * 20:
            tries += 1
            i, at = rng.choice(places)
            data = pieces[i][1]
            length = _length(rng)
            if stratum == "uniform":
                start = at + rng.randrange(4096)
            elif stratum == "after-body":
                start = at
            elif stratum == "secret":
                start = max(0, at - rng.randrange(length))
            else:
                start = max(0, at - rng.randrange(1500))
                end = data.find(b"\0", start)
                length = min(LONGEST, (end if end >= 0 else len(data)) - start)
                if length < 64:
                    continue
            window = data[start : start + length]
            if len(window) < SHORTEST:
                continue
            made += 1
            yield describe(server, stratum, window, ranges, secrets)
