"""Responses saved to a file, as ``curl -i`` and ``curl -i --raw`` write them: heads, chunks, and whether the body is coded.

Nothing here knows the scanner, and nothing decodes: the core does. A body is an iterator of pieces of at most ``PIECE`` bytes, so memory stays bounded
whatever a file says about itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import _core

PIECE = 1 << 20  # bytes of the largest piece
MAX_HEAD = 1 << 20  # no client takes a longer head; such a file is a log or a dump
SAMPLE = 4096  # bytes that show whether a body is coded
_STATUS = re.compile(rb"HTTP/[0-9](?:\.[0-9])? (\d{3}) ?([^\r\n]*)\r?\n")
_BLANK = re.compile(rb"\r?\n\r?\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]{0,4096})?\r?\n")

Field = tuple[bytes, bytes]
Pieces = Iterator[bytes]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Head:
    """The final head; ``fields`` also hold those of the heads before it, ``own`` only its own. The body starts at ``size``."""

    status: int
    reason: bytes
    fields: list[Field]
    own: list[Field]
    size: int

    def values(self, name: bytes) -> list[bytes]:
        """Lower-case list members of the final head's fields of this lower-case name, in order."""
        joined = b",".join(v for n, v in self.own if n.lower() == name)
        return [m.strip().lower() for m in joined.split(b",") if m.strip()]

    def content_type(self) -> bytes | None:
        """The final head's content type."""
        return next((v for n, v in self.own if n.lower() == b"content-type"), None)


def looks_saved(data: bytes) -> bool:
    """Whether the bytes begin with a status line."""
    return _STATUS.match(data) is not None


def split_head(data: bytes) -> Head | None:
    """The heads that begin a saved response; None when there is none or it does not end in ``data``.

    Heads of interim responses, of redirects and challenges curl followed, and of a proxy's tunnel come before the final
    one. After any other status a status line is body: a page that shows, or leaks, a response.
    """
    fields: list[Field] = []
    at = 0
    while m := _STATUS.match(data, at):
        end = _BLANK.search(data, m.end() - 2)
        if not end:
            return None
        own = _fields(data[m.end() : max(m.end(), end.start())])
        fields += own
        at = end.end()
        status, reason = int(m[1]), m[2].strip(b" \t")
        followed = status < 200 or 300 <= status < 400 or status in (401, 407) or (status == 200 and reason.lower() == b"connection established")
        if not (followed and _STATUS.match(data, at)):
            return Head(status, reason, fields, own, at)
    return None


def _fields(text: bytes) -> list[Field]:
    fields: list[Field] = []
    for line in text.split(b"\n"):
        line = line.removesuffix(b"\r")
        name, colon, value = line.partition(b":")
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1] = (fields[-1][0], fields[-1][1] + b" " + line.strip(b" \t"))
        elif colon:
            fields.append((name.strip(b" \t"), value.strip(b" \t")))
        elif line:
            fields.append((b"", line))  # no field: it must not pass for a name, names are printed
    return fields


def body_pieces(head: Head, pieces: Pieces, tell: Tell, unread: Tell, trailers: list[Field]) -> tuple[bytes, Pieces]:
    """The Content-Encoding that the body bears, empty for none, and the body without transfer coding.

    curl leaves the fields in place when it has decoded a body itself, so each counts only where the bytes bear it. ``tell``
    is called with what a reader should know, ``unread`` with what could not be scanned. The fields behind the last chunk
    are added to ``trailers`` once the last piece was taken.
    """
    if b"chunked" in head.values(b"transfer-encoding"):
        first, pieces = _peek(pieces)
        if _is_chunked(first):
            pieces = _dechunk(pieces, tell, unread, trailers)
    codings = [coding for coding in head.values(b"content-encoding") if coding != b"identity"]
    if codings:
        first, pieces = _peek(pieces)
        while codings and not _bears(head, codings[-1], first[:SAMPLE]):
            codings.pop()
    return b", ".join(codings), pieces


def undecoded(decode: str, coding: bytes, decoded: int) -> str | None:
    """What a reader must know of a body under ``coding`` of which ``decoded`` bytes were scanned, by ``Verdict.decode``."""
    data = f"its {coding.decode('latin-1')} data"
    before = f"{decoded} bytes before that were scanned"
    return {
        "truncated": f"{data} is cut off; {before}",
        "broken": f"{data} is damaged; {before}",
        "bomb": f"{data} is a bomb: it decodes to far more than any page; {before}",
        "unknown": "its body is compressed with an unknown coding, or with more than three, which is not decoded; save it with curl --compressed",
    }.get(decode)


def _peek(pieces: Pieces) -> tuple[bytes, Pieces]:
    """The first bytes, SAMPLE of them or more, and all pieces."""
    first = b""
    while len(first) < SAMPLE and (more := next(pieces, b"")):
        first += more

    def again() -> Pieces:
        if first:
            yield first
        yield from pieces

    return first, again()


def _is_chunked(first: bytes) -> bool:
    m = _CHUNK.match(first)
    if not m:
        return False
    end = m.end() + int(m[1], 16)
    return end >= len(first) or first[end : end + 1] in (b"\r", b"\n")


def _dechunk(pieces: Pieces, tell: Tell, unread: Tell, trailers: list[Field]) -> Pieces:
    data, at = b"", 0
    cut = "its last chunk is missing: the body was cut off"
    while True:
        # Ends of lines may lie in the next piece; no chunk has a line of 8 KiB.
        while not (m := _CHUNK.match(data, at)) and len(data) - at < 8192:
            more = next(pieces, b"")
            if not more:
                break
            data, at = data[at:] + more, 0
        if not m:
            if at == len(data):
                unread(cut)
                return
            tell("its chunks are malformed; from there on it was scanned as it stands")
            yield data[at:]
            yield from pieces
            return
        left, at = int(m[1], 16), m.end()
        if left == 0:
            break
        while left:
            if at == len(data):
                data, at = next(pieces, b""), 0
                if not data:
                    unread(cut)
                    return
            piece = data[at : at + left]
            yield piece
            left -= len(piece)
            at += len(piece)
        if len(data) - at < 2:
            data, at = data[at:] + next(pieces, b""), 0
        # Where no line end stands, the next look for a chunk fails and tells.
        at += data.startswith(b"\r", at)
        at += data.startswith(b"\n", at)
    data = data[at:]
    while len(data) < MAX_HEAD and (more := next(pieces, b"")):
        data += more
    section, _, behind = data.replace(b"\r\n", b"\n").partition(b"\n\n") if not data.startswith((b"\r\n", b"\n")) else (b"", b"", data)
    trailers += _fields(section.strip(b"\n"))
    if behind.strip(b"\r\n"):
        unread("bytes behind its trailer section were not scanned")


def _bears(head: Head, coding: bytes, first: bytes) -> bool:
    """Whether the body's first bytes are data of this coding, whole or damaged."""
    if coding in (b"gzip", b"x-gzip"):
        return first.startswith(b"\x1f\x8b\x08")
    if coding == b"zstd":  # a frame, or one that is skipped
        return first.startswith(b"\x28\xb5\x2f\xfd") or (first[1:4] == b"\x2a\x4d\x18" and first[0] & 0xF0 == 0x50)
    # The others have no mark of their own: the first kilobytes must decode, or look packed. Some text decodes too, until it
    # breaks off or for want of more, but no packed data begins as text does.
    if _is_text(first[:32]):
        return False
    state, size = _core._probe(coding, first)
    decodes = size > 0 and state in ("ok", "trailing")
    return decodes or (coding != b"deflate" and _seems_packed(head, first))


def _is_text(start: bytes) -> bool:
    text = start.decode("utf-8", "replace")
    return not _strange(start) and "\ufffd" not in text[:-1]  # the last character may be cut


def _strange(sample: bytes) -> int:
    return sum(b < 9 or 13 < b < 27 or b == 127 for b in sample)


def _seems_packed(head: Head, sample: bytes) -> bool:
    kind = (head.content_type() or b"text/").lower()
    return _strange(sample) > len(sample) / 32 and (kind.startswith((b"text/", b"application/")) or b"+" in kind)
