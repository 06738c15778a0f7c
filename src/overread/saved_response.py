"""Responses saved to a file, as ``curl -i`` and ``curl -i --raw`` write them: heads, chunks, compression.

Nothing here knows the scanner. A body is an iterator of pieces of at most ``PIECE`` bytes, so memory stays bounded
whatever a file says about itself.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

PIECE = 1 << 20  # bytes of the largest piece
MAX_HEAD = 1 << 20  # no client takes a longer head; such a file is a log or a dump
MAX_DECODED = 1 << 32  # bytes decoded from one body: a bomb ends here
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


def body_pieces(head: Head, pieces: Pieces, tell: Tell, unread: Tell, trailers: list[Field]) -> Pieces:
    """The body without transfer and content coding.

    curl leaves the fields in place when it has decoded a body itself, so each coding is undone only where the bytes
    bear it. ``tell`` is called with what a reader should know, ``unread`` with what could not be scanned. The fields
    behind the last chunk are added to ``trailers`` once the last piece was taken.
    """
    if b"chunked" in head.values(b"transfer-encoding"):
        first, pieces = _peek(pieces)
        if _is_chunked(first):
            pieces = _dechunk(pieces, tell, unread, trailers)
    for coding in reversed(head.values(b"content-encoding")):
        first, pieces = _peek(pieces)
        bits = _window_bits(coding, first)
        if bits is not None:
            pieces = _inflate(pieces, coding.decode("latin-1"), bits, tell, unread)
        elif coding not in (b"identity", b"gzip", b"x-gzip", b"deflate") and _seems_packed(head, first):
            name = coding.decode() if coding in (b"br", b"zstd") else "an unknown coding"
            unread(f"its body is compressed with {name}, which is not decoded here; save it with curl --compressed")
            return iter(())
    return pieces


def _peek(pieces: Pieces) -> tuple[bytes, Pieces]:
    """The first 4 KiB or more, and all pieces."""
    first = b""
    while len(first) < 4096 and (more := next(pieces, b"")):
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


def _window_bits(coding: bytes, first: bytes) -> int | None:
    """zlib's window bits when the bytes bear this coding."""
    if coding in (b"gzip", b"x-gzip"):
        return 31 if first.startswith(b"\x1f\x8b\x08") else None
    if coding != b"deflate" or len(first) < 2:
        return None
    # Some servers send bare deflate data. Text hardly ever is: the first kilobytes must decode.
    for bits in (15, -15):
        try:
            if zlib.decompressobj(bits).decompress(first[:4096], 1 << 16):
                return bits
        except zlib.error:
            pass
    return None


def _seems_packed(head: Head, first: bytes) -> bool:
    if first.startswith(b"\x28\xb5\x2f\xfd"):
        return True
    sample = first[:4096]
    kind = (head.content_type() or b"text/").lower()
    strange = sum(b < 9 or 13 < b < 27 or b == 127 for b in sample)
    return strange > len(sample) / 32 and (kind.startswith((b"text/", b"application/")) or b"+" in kind)


def _inflate(pieces: Pieces, name: str, bits: int, tell: Tell, unread: Tell) -> Pieces:
    decoder = zlib.decompressobj(bits)
    total = 0
    for piece in pieces:
        data = piece
        while data:
            try:
                out = decoder.decompress(data, PIECE)
            except zlib.error:
                unread(f"its {name} data is damaged; {total} bytes before that were scanned")
                return
            total += len(out)
            if total > MAX_DECODED:
                unread(f"its {name} data decodes to more than {MAX_DECODED} bytes; the rest was not scanned")
                return
            if out:
                yield out
            data = decoder.unconsumed_tail
            if not decoder.eof:
                continue
            data = decoder.unused_data
            if not data:
                data = next(pieces, b"")
            if bits == 31 and data.startswith(b"\x1f\x8b"):
                decoder = zlib.decompressobj(bits)
            elif data:
                # What follows compressed data may be what a server read past its end.
                tell(f"bytes behind its {name} data were scanned as part of the body")
                yield data
                yield from pieces
                return
    while not decoder.eof and (out := _rest(decoder)):
        yield out
    if not decoder.eof:
        unread(f"its {name} data is cut off; {total} bytes before that were scanned")


def _rest(decoder: zlib._Decompress) -> bytes:
    try:
        return decoder.decompress(decoder.unconsumed_tail, PIECE)
    except zlib.error:
        return b""
