"""The enriched sample: clean bodies in which text turns into raw bytes, to measure what the second factor is worth.

Natural ones are taken as found; to them come formats that mix text and bytes by design, built here from the packages' own
files: every binary file behind text and inside text, mail with binary attachments, batch replies with HTTP parts,
self-extracting scripts, serialized PHP, logs with NUL gaps, PLY, NRRD, FITS and git packs.
"""

from __future__ import annotations

import gzip
import random
import struct
import zlib
from collections.abc import Iterator, Sequence


def made(texts: Sequence[bytes], binaries: Sequence[bytes], seed: int) -> Iterator[tuple[str, str, bytes]]:
    """Kind, content type and body of every mixture that one package's files allow."""
    rng = random.Random(seed)
    html = "text/html; charset=utf-8"
    for b in binaries:
        if not texts:
            return
        t = rng.choice(texts)[:6000]
        yield "binary behind text", html, t + b"\n" + b
        cut = rng.randrange(max(1, len(t) // 2), len(t))
        yield "binary inside text", html, t[:cut] + b + t[cut:]
        lines = t.replace(b"\n", b"\r\n")[:3000]
        mail = (
            b"From: a@example.org\r\nTo: b@example.org\r\nDate: Sun, 06 Nov 1994 08:49:37 +0000\r\nMIME-Version: 1.0\r\n"
            b"Content-Type: multipart/mixed; boundary=part\r\n\r\n--part\r\nContent-Type: text/plain\r\n\r\n"
        )
        part = b"\r\n--part\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        yield "mail with attachment", "text/plain; charset=utf-8", mail + lines + part + b + b"\r\n--part--\r\n"
        yield "self-extracting script", "text/plain; charset=utf-8", b"#!/bin/sh\n" + t[:2000] + b"\nexit 0\n" + gzip.compress(b[:20000], mtime=0)
        if rng.random() < 0.2:
            http = b"--b\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n"
            yield "batch reply", "text/plain; charset=utf-8", lines + b"\r\n" + http + b + b"\r\n--b--"
        kind = rng.randrange(7)
        floats = struct.pack("<300f", *(rng.uniform(-100, 100) for _ in range(300)))
        if kind == 0:
            yield "PLY", "text/plain; charset=utf-8", b"ply\nformat binary_little_endian 1.0\n" + b"comment made\n" * 50 + b"end_header\n" + floats
        elif kind == 1:
            yield "NRRD", "text/plain; charset=utf-8", b"NRRD0004\n" + b"# comment line of the header\n" * 30 + b"\n" + floats
        elif kind == 2:
            yield (
                "FITS",
                "text/plain; charset=utf-8",
                (b"SIMPLE  =                    T" + b" " * 50) * 36 + struct.pack(">300f", *struct.unpack("<300f", floats)),
            )
        elif kind == 3:
            yield "serialized PHP", "text/plain; charset=utf-8", t[:900] + b'O:4:"User":1:{s:7:"\0*\0name";s:5:"alice";}' * 3
        elif kind == 4:
            yield "log with NUL gap", "text/plain; charset=utf-8", t + b"\0" * rng.randrange(8, 4096) + t[:500]
        elif kind == 5:
            yield "git reply", "text/plain; charset=utf-8", t[:700] + b"0032want\0 side-band-64k\n" + b"PACK\0\0\0\2\0\0\0\7" + zlib.compress(t)
        else:
            yield "VTK", "text/plain; charset=utf-8", b"# vtk DataFile Version 3.0\n" + b"title\nBINARY\nDATASET POLYDATA\n" * 20 + floats
