"""Scanning files: what ``overread scan`` does to each path."""

from __future__ import annotations

import contextlib
import itertools
import mimetypes
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from . import _core
from ._stream import Scanner
from .saved_response import PIECE, Field, body_pieces, looks_saved, split_head, undecoded
from .verdict import Finding, Verdict

SPOOL = 8 << 20  # bytes kept in memory for contexts; more goes to an unnamed temporary file
CONTEXT = 24  # bytes shown on either side of a finding


@dataclass(frozen=True)
class Report:
    """Verdict on one input; ``contexts`` beside its findings: printable, the suspect bytes masked.

    ``notes`` say how it was read where that is not plain, ``unread`` what of it was not scanned.
    """

    path: str
    verdict: Verdict
    contexts: tuple[str, ...]
    notes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    head: bool = False  # it held a response head, which was scanned


def files_of(path: Path) -> Iterator[Path]:
    """The files of a path, folders walked in order of names.

    Folders and links that cannot be followed are yielded too: opening them gives the error to report.
    """
    if not path.is_dir():
        yield path
        return
    failed: list[Path] = []
    for folder, folders, names in os.walk(path, onerror=lambda e: failed.append(Path(e.filename))):
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names))
    yield from failed


def guess_type(path: str) -> str | None:
    """Content type by file name, UTF-8 assumed for text as most servers declare it."""
    kind = mimetypes.guess_type(path)[0]
    return f"{kind}; charset=utf-8" if kind in ("text/html", "text/plain") else kind


def scan_path(scanner: Scanner, path: Path, content_type: str | None, on_bytes: Callable[[int], None] | None = None) -> Report:
    """Report on one file, or on standard input when the path is ``-``; reads it in pieces.

    ``on_bytes`` is called with the size of each piece of the body. The bytes of a pipe and of a chunked body are kept in
    an unnamed temporary file until the report is made, because contexts need them again; a coded body is decoded again.

    Raises
    ------
    OSError
        When it cannot be read.
    """
    notes: list[str] = []
    unread: list[str] = []
    trailers: list[Field] = []
    with contextlib.ExitStack() as stack:
        # Standard input stays open: it is not ours.
        source = sys.stdin.buffer if str(path) == "-" else stack.enter_context(path.open("rb"))
        first = source.read(PIECE)
        head = split_head(first)
        plain = source.seekable() and str(path) != "-"
        rest = itertools.chain([first[head.size :] if head else first], iter(lambda: source.read(PIECE), b""))
        pieces: Iterator[bytes] = (piece for piece in rest if piece)
        coding = b""
        if head:
            coding, pieces = body_pieces(head, pieces, notes.append, unread.append, trailers)
            # curl keeps the field of what it has decoded.
            fields = [(name, value) for name, value in head.fields if name.lower() != b"content-encoding"]
            if coding:
                fields.append((b"Content-Encoding", coding))
            stream = scanner.stream(content_type or head.content_type(), status=head.status, reason=head.reason, headers=fields)
            plain = plain and not head.values(b"transfer-encoding")
        else:
            if looks_saved(first) and len(first) == PIECE:
                notes.append("its head does not end within 1 MiB; all of it was scanned as a body")
            stream = scanner.stream(content_type or guess_type(str(path)))
        kept = _Kept(source, head.size if head else 0) if plain else _Kept(stack.enter_context(tempfile.SpooledTemporaryFile(SPOOL)), 0)
        for piece in pieces:
            stream.feed(piece)
            if not plain:
                kept.add(piece)
            if on_bytes:
                on_bytes(len(piece))
        if trailers:
            stream.trailers(trailers)
        verdict = stream.finish()
        if verdict.decode == "trailing":  # it may be what a server read past its end
            notes.append(f"bytes behind its {coding.decode('latin-1')} data were scanned as part of the body")
        if lost := undecoded(verdict.decode, coding, 0 if verdict.content_class == "encoded" else verdict.body_bytes):
            unread.append(lost)
        return Report(str(path), verdict, tuple(_contexts(kept, coding, verdict)), tuple(notes), tuple(unread), head is not None)


class _Kept:
    """The body's bytes, to look at again: the file itself, or a copy."""

    def __init__(self, file: IO[bytes], base: int) -> None:
        self.file = file
        self.base = base
        self.whole = True

    def add(self, piece: bytes) -> None:
        if not self.whole:
            return
        try:
            self.file.write(piece)
        except OSError:
            self.whole = False  # a full disk costs contexts, not the verdict

    def read(self, coding: bytes, spans: list[tuple[int, int]]) -> list[bytes]:
        """Spans of what the bytes decode to, from one offset up to another."""
        if not self.whole or not spans:
            return [b""] * len(spans)
        if not coding:
            return [self._at(start, end - start) for start, end in spans]
        self.file.seek(self.base)
        excerpts = _core._Excerpts(coding, spans)
        while (piece := self.file.read(PIECE)) and excerpts.feed(piece):
            pass
        return excerpts.finish()

    def _at(self, start: int, size: int) -> bytes:
        self.file.seek(self.base + start)
        return self.file.read(size)


def _contexts(kept: _Kept, coding: bytes, verdict: Verdict) -> Iterator[str]:
    inside = [f for f in verdict.findings if f.part == "body"]
    spans = [span for f in inside for span in ((max(0, f.offset - CONTEXT), f.offset), (f.offset + f.length, f.offset + f.length + CONTEXT))]
    around = iter(kept.read(coding, spans))
    for f in verdict.findings:
        if f.part != "body":
            yield f"{f.name}: {'·' * min(f.length, 8)}" if f.name else "·" * min(f.length, 8)
            continue
        before, after = next(around), next(around)
        yield _mask(before, f.offset - len(before), inside) + "·" * min(f.length, 8) + _mask(after, f.offset + f.length, inside)


def _mask(data: bytes, base: int, findings: list[Finding]) -> str:
    # A neighbour's context must not show this finding's bytes, and what stands near raw memory may be memory too:
    # only letters of words are of use to a reader, digits and signs are where secrets show.
    shown = []
    for i, b in enumerate(data):
        inside = any(f.offset <= base + i < f.offset + f.length for f in findings)
        shown.append(chr(b) if not inside and ((chr(b).isalpha() and b < 128) or chr(b) in " <>/.,=\"'") else "·")
    return "".join(shown)
