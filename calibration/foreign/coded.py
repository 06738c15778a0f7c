"""What of secrets that stand Huffman coded in a page is found: ``python -m calibration.foreign.coded [--each N] [--seed N] [--draw]``.

Whole HEADERS frames of a browser's requests, as an encoder of HPACK makes them, with what the connection sent before in its table; pieces
of one coded session, cut anywhere, between a page's words; and how many characters decoding loses that begins at a wrong bit.
"""

from __future__ import annotations

import argparse
import random
import string
import sys
from collections.abc import Iterator
from pathlib import Path

import hpack
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

import overread

from .. import page

DOCS = Path(__file__).resolve().parents[2] / "docs/foreign-secrets.md"
NOW = 1_700_000_000_000
PIECES = (16, 24, 32, 40, 47, 64, 96, 128)  # characters
HEX, URLSAFE = string.hexdigits[:16], string.ascii_letters + string.digits + "-_"
SESSIONS = (
    ("32 hexadecimal digits", HEX, 32),
    ("43 characters of base64url", URLSAFE, 43),
    ("64 hexadecimal digits", HEX, 64),
    ("128 characters of base64url", URLSAFE, 128),
)
WORDS = ("some", "words", "of", "a", "plain", "page", "that", "tells", "of", "the", "weather", "in", "the", "city", "and", "nothing", "else")


def headers_frame(value: str, rng: random.Random) -> bytes:
    """The first request with a session, behind up to two others on its connection (RFC 9113, section 6.2; RFC 7541)."""
    encoder = hpack.Encoder()
    block = b""
    for left in range(rng.randrange(3), -1, -1):
        block = encoder.encode(
            [
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "shop.example"),
                (":path", f"/orders/{rng.randrange(10**6)}"),
                ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
                ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"),
                ("accept-language", rng.choice(("en-US,en;q=0.5", "de,en;q=0.3"))),
                ("cookie", f"theme={rng.choice(('dark', 'light'))}"),
                *([] if left else [("cookie", f"sid={value}")]),  # sent again, it would be a number of the connection's table
                ("sec-fetch-dest", "document"),
            ]
        )
    return len(block).to_bytes(3, "big") + b"\x01\x05" + rng.randrange(1, 400, 2).to_bytes(4, "big") + block


def bits_of(text: str) -> tuple[str, list[int]]:
    """A text's code, and where each character begins in it."""
    out, starts = "", []
    for c in text.encode():
        starts.append(len(out))
        out += format(REQUEST_CODES[c], f"0{REQUEST_CODES_LENGTH[c]}b")
    return out, starts


def coded_piece(value: str, at: int, size: int) -> bytes:
    """The bytes in which ``size`` characters of a coded value stand."""
    bits, starts = bits_of(value)
    end = [*starts, len(bits)][at + size]
    bits += "1" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(starts[at] // 8 * 8, end, 8))


def is_found(value: str, raw: bytes, rng: random.Random) -> bool:
    """Whether another's page with these bytes shows the session."""
    registry = overread.SecretRegistry(memory=1 << 16, key=rng.randbytes(16))
    registry.observe_response("owner", [("Set-Cookie", f"sid={value}; HttpOnly")], unix_ms=NOW)
    words = [" ".join(rng.choices(WORDS, k=60)).encode() for _ in range(2)]
    body = b"<!DOCTYPE html><html><body><p>" + words[0] + raw + words[1] + b"</p></body></html>"
    verdict = overread.Scanner(registry=registry).scan(body, "text/html; charset=utf-8", owner="reader", unix_ms=NOW)
    return any(f.family == "foreign" for f in verdict.findings)


def lost(alphabet: str, rng: random.Random) -> int:
    """Characters of a value before decoding that began in words of a page is in step."""
    codes = {format(REQUEST_CODES[c], f"0{REQUEST_CODES_LENGTH[c]}b"): c for c in range(256)}
    before = "".join(format(c, "08b") for c in " ".join(rng.choices(WORDS, k=6)).encode())
    bits, starts = bits_of("".join(rng.choices(alphabet, k=160)))

    def decoded() -> Iterator[int]:
        text, at = before + bits, 0
        while size := next((n for n in range(5, 31) if text[at : at + n] in codes), 0):
            yield at - len(before)
            at += size

    reached = set(decoded())
    return next(i for i, start in enumerate(starts) if start in reached)


def measure(each: int, seed: int) -> str:
    """The table of docs/foreign-secrets.md."""
    rng = random.Random(seed)
    lines = [
        "| session, Huffman coded | whole request | " + " | ".join(map(str, PIECES)) + " | lost, half | lost, 99 of 100 |",
        "|---" * (len(PIECES) + 4) + "|",
    ]
    for name, alphabet, size in SESSIONS:
        values = ["".join(rng.choices(alphabet, k=size)) for _ in range(each)]
        cells = [f"{100 * sum(is_found(v, headers_frame(v, rng), rng) for v in values) / each:.1f} %"]
        for n in PIECES:
            found = sum(is_found(v, coded_piece(v, rng.randrange(size - n + 1), n), rng) for v in values) if n <= size else 0
            cells.append(f"{100 * found / each:.0f} %" if n <= size else "")
        gone = sorted(lost(alphabet, rng) for _ in range(each))
        cells += [str(gone[each // 2]), str(gone[each * 99 // 100])]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m calibration.foreign.coded", description=__doc__.split("\n")[0])
    parser.add_argument("--each", type=int, default=2000, help="sessions of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--draw", action="store_true", help="also put the table into docs/foreign-secrets.md")
    args = parser.parse_args()
    text = measure(args.each, args.seed)
    print(text)
    if args.draw:
        page.put("coded secrets table", text, DOCS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
