"""What the generators of this folder are made of: people, pages, pieces of memory. Everything comes from a seeded random source."""

from __future__ import annotations

import base64
import json
import random
import string
import struct
import zlib
from dataclasses import dataclass

import overread

HTML, TEXT, JSON, XML = "text/html; charset=utf-8", "text/plain; charset=utf-8", "application/json", "application/xml"
_WORDS = """
account address always another article basket because before between careful change colour comment contact cookie country delivery different example
every family favourite garden general history however important kitchen language learn letter library market message minute mountain nothing number
offer order other people picture please position question reading remember result river school search second session shoulder simple something station
story street summer system table teacher thing through today together travel under value village water weather winter without wonder yellow yesterday
"""
WORDS = _WORDS.split()


@dataclass(frozen=True)
class Response:
    """One response as a client would get it; ``secrets`` are values that no verdict may show."""

    body: bytes = b""
    content_type: str | None = None
    status: int = 200
    reason: str = "OK"
    headers: tuple[tuple[str, str], ...] = ()
    request: overread.Request | None = None
    secrets: tuple[str, ...] = ()


def scan(scanner: overread.Scanner, r: Response) -> overread.Verdict:
    """The verdict on one response."""
    return scanner.scan(r.body, r.content_type, status=r.status, reason=r.reason, headers=r.headers, request=r.request)


def token(rng: random.Random, size: int = 32) -> str:
    """Letters and digits, both present."""
    return "x7" + "".join(rng.choice(string.ascii_letters + string.digits) for _ in range(size - 2))


def sentence(rng: random.Random) -> str:
    """A sentence of plain words."""
    return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(5, 14))).capitalize() + "."


def text(rng: random.Random, size: int) -> bytes:
    """Lines of sentences, about ``size`` bytes."""
    lines: list[str] = []
    while sum(len(x) + 1 for x in lines) < size:
        lines.append(sentence(rng))
    return ("\n".join(lines) + "\n").encode()


def page(rng: random.Random, size: int = 3000, inside: bytes = b"", tail: bytes = b"</body></html>\n") -> bytes:
    """An HTML page with ``inside`` between its paragraphs."""
    half = b"".join(b"<p>" + sentence(rng).encode() + b"</p>\n" for _ in range(size // 140))
    return b'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>A page</title></head><body>\n' + half + inside + half + tail


def document(rng: random.Random, size: int = 1200) -> bytes:
    """A complete JSON document."""
    rows = [
        {"id": rng.randrange(1 << 30), "name": sentence(rng), "price": rng.randrange(10000) / 100, "tags": rng.sample(WORDS, 3)} for _ in range(size // 120)
    ]
    return json.dumps({"items": rows, "next": None}, indent=1).encode()


def jwt(rng: random.Random) -> str:
    """A token whose head decodes (RFC 7519)."""
    parts = (b'{"alg":"HS256","typ":"JWT"}', json.dumps({"sub": str(rng.randrange(1 << 40))}).encode(), rng.randbytes(32))
    return ".".join(base64.urlsafe_b64encode(p).rstrip(b"=").decode() for p in parts)


def github(rng: random.Random) -> str:
    """A GitHub token with the right checksum in its last six characters."""
    digits = string.digits + string.ascii_uppercase + string.ascii_lowercase
    body = "".join(rng.choice(digits) for _ in range(30))
    crc, end = zlib.crc32(body.encode()), ""
    for _ in range(6):
        crc, d = divmod(crc, 62)
        end = digits[d] + end
    return "ghp_" + body + end


@dataclass(frozen=True)
class Stranger:
    """Another client, whose bytes must not be seen."""

    session: str
    bearer: str
    password: str
    mail: str
    address: str

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no verdict may show."""
        return self.session, self.bearer, self.password, self.mail

    def lines(self, newline: str = "\r\n") -> bytes:
        """The fields of one request, from the middle of the first: leaks seldom start at a request line."""
        fields = (
            "text/html,application/xhtml+xml;q=0.9",
            f"Referer: https://shop.example/basket/{self.session[:6]}",
            f"X-Forwarded-For: {self.address}",
            f"Cookie: theme=dark; session={self.session}",
            f"Authorization: Bearer {self.bearer}",
            "Accept-Encoding: gzip, deflate, br",
        )
        return (newline.join(fields) + newline * 2).encode()

    def parsed(self) -> bytes:
        """The same fields as nginx and Apache leave them after parsing: NUL for colon and line end."""
        rows = (("Referer", "https://shop.example/"), ("Cookie", f"session={self.session}"), ("Authorization", f"Bearer {self.bearer}"))
        return b"".join(f"{name}\0 {value}\0\n".encode() for name, value in rows)

    def form(self) -> bytes:
        """The body of a log-in."""
        return f"csrf={self.session[::-1]}&user={self.mail}&password={self.password}".encode()


def stranger(rng: random.Random) -> Stranger:
    """Somebody with random credentials."""
    name = "".join(rng.choice(string.ascii_lowercase) for _ in range(9))
    return Stranger(token(rng, 32), token(rng, 40), token(rng, 14), f"{name}@mail.example", ".".join(str(rng.randrange(1, 255)) for _ in range(4)))


def pointers(rng: random.Random, count: int) -> list[int]:
    """User-space pointers into one arena of an x86-64 process; their bytes are no UTF-8, nearly always."""
    base = rng.choice((0x7F, 0x55)) << 40 | rng.getrandbits(16) << 24
    return [base | rng.getrandbits(20) << 4 | 0x80 for _ in range(count)]


def heap(rng: random.Random, size: int, content: bytes = b"") -> bytes:
    """A piece of a glibc heap: chunk heads, list pointers, small numbers, freed bytes; ``content`` stands behind the first chunk."""
    made = b""
    while len(made) < size:
        data = rng.randbytes(rng.randrange(16, 160))
        forward, back, other = pointers(rng, 3)
        made += struct.pack("<6Q", 0, len(data) | 1, forward, back, rng.randrange(1 << 12), other) + data + bytes(-len(data) % 16) + content
        content = b""
    return made
