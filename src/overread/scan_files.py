"""Scanning files: what ``overread scan`` does to each path."""

from __future__ import annotations

import mimetypes
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ._stream import Scanner
from .verdict import Finding, Verdict

CHUNK = 1 << 20  # bytes read at a time
CONTEXT = 24  # bytes shown on either side of a finding
_STATUS = re.compile(rb"HTTP/[0-9](?:\.[0-9])? (\d{3}) ?([^\r\n]*)\r?\n")


@dataclass(frozen=True)
class Report:
    """Verdict on one input; ``contexts`` beside its findings: printable, the suspect bytes masked."""

    path: str
    verdict: Verdict
    contexts: tuple[str, ...]


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


def split_saved_response(head: bytes) -> tuple[int, str, list[tuple[bytes, bytes]], int] | None:
    """Status, reason, fields and the body's offset when the bytes begin a saved response, as ``curl -i`` writes it."""
    m = _STATUS.match(head)
    if not m:
        return None
    end = re.compile(rb"\r?\n\r?\n").search(head, m.end() - 2)
    if not end:
        return None
    fields = [(n.strip(), v.strip()) for n, _, v in (line.partition(b":") for line in head[m.end() : end.start()].splitlines()) if n]
    return int(m[1]), m[2].strip().decode("latin-1"), fields, end.end()


def guess_type(path: str) -> str | None:
    """Content type by file name, UTF-8 assumed for text as most servers declare it."""
    kind = mimetypes.guess_type(path)[0]
    return f"{kind}; charset=utf-8" if kind in ("text/html", "text/plain") else kind


def scan_path(scanner: Scanner, path: Path, content_type: str | None) -> Report:
    """Report on one file, or on standard input when the path is ``-``; reads it in chunks.

    Raises
    ------
    OSError
        When it cannot be read.
    """
    source = sys.stdin.buffer if str(path) == "-" else path.open("rb")
    with source:
        first = source.read(CHUNK)
        saved = split_saved_response(first)
        if saved:
            status, reason, headers, at = saved
            stream = scanner.stream(content_type, status=status, reason=reason, headers=headers)
            first = first[at:]
        else:
            at = 0
            stream = scanner.stream(content_type or guess_type(str(path)))
        chunk = first
        while chunk:
            stream.feed(chunk)
            chunk = source.read(CHUNK)
    verdict = stream.finish()
    return Report(str(path), verdict, tuple(_contexts(path, at, verdict, first)))


def _contexts(path: Path, at: int, verdict: Verdict, first: bytes) -> Iterator[str]:
    for f in verdict.findings:
        if f.part != "body":
            yield f"{f.name}: {'·' * min(f.length, 8)}" if f.name else "·" * min(f.length, 8)
            continue
        start = max(0, f.offset - CONTEXT)
        if str(path) == "-":
            piece = first[start : f.offset]
            after = first[f.offset + f.length : f.offset + f.length + CONTEXT]
        else:
            with path.open("rb") as file:
                file.seek(at + start)
                piece = file.read(f.offset - start)
                file.seek(at + f.offset + f.length)
                after = file.read(CONTEXT)
        others = [g for g in verdict.findings if g.part == "body"]
        yield _mask(piece, start, others) + "·" * min(f.length, 8) + _mask(after, f.offset + f.length, others)


def _mask(data: bytes, base: int, findings: list[Finding]) -> str:
    # A neighbour's context must not show this finding's bytes, and what stands near raw memory may be memory too:
    # only letters of words are of use to a reader, digits and signs are where secrets show.
    shown = []
    for i, b in enumerate(data):
        inside = any(f.offset <= base + i < f.offset + f.length for f in findings)
        shown.append(chr(b) if not inside and ((chr(b).isalpha() and b < 128) or chr(b) in " <>/.,=\"'") else "·")
    return "".join(shown)
