"""The enriched sample: clean bodies in which text turns into raw bytes, or something stands behind a complete container,
to measure what the second factor of a chain is worth.

Natural ones are taken as found; to them come formats that mix text and bytes by design, built here from the packages' own
files: every binary file behind text and inside text, mail with binary attachments, batch replies with HTTP parts,
self-extracting scripts, serialized PHP, logs with NUL gaps, PLY, NRRD, FITS, VTK, PostScript and git references.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence

# Files that hold text and bytes, or bytes behind a text head; a server that does not know them says text/plain.
_NATURAL = """
.elc .ps .eps .ai .ply .vtk .fits .fit .nrrd .pack .idx .mbox .mht .msg .run .bin .dat .swf .mo .gmo .pyc .class .tar
.cpio .a .lib .o .so .rlib .mp3 .ogg .wav .mp4 .bmp .ppm .pgm .tif .tiff .psd .xcf .pak .ser .bson .sav .mat .npy .pkl
.pickle .hdr .exr .dds .stl .dcm .pfb .pfm .tfm .vf .dvi .fasl .beam .hi .cmi .cmo .cmx .db .sqlite .rdb .dump .log
.pcap .cap .cache .torrent .plist .strings .wad .blend .mid .mod .xm .it .au .aiff .snd .ogv .webm .avi .flac .opus .rpm
.deb .xz .bz2 .zst .lz4 .7z .rar .cab .iso .img .rom .hex .elf .exe .dll .com .lnk .chm .hlp .doc .xls .ppt .rtf .pcd
.raw .vti .vtu .vtp .mtx .las .pnm .pbm .pam .xpm
"""
NATURAL = frozenset(_NATURAL.split())
CONTAINERS = ("image/png", "image/jpeg", "image/gif", "image/webp", "font/woff")  # types whose end is known
HTML, PLAIN = "text/html; charset=utf-8", "text/plain; charset=utf-8"
_WARNING = b"<br />\n<b>Warning</b>:  Undefined array key &quot;width&quot; in <b>/srv/www/thumbnail.php</b> on line <b>42</b><br />\n"
_MAIL = (
    b"From: a@example.org\r\nTo: b@example.org\r\nDate: Sun, 06 Nov 1994 08:49:37 +0000\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=part\r\n\r\n--part\r\nContent-Type: text/plain\r\n\r\n"
)
_PART = b"\r\n--part\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"


def whole(text: bytes, size: int) -> bytes:
    """The first ``size`` bytes, less a character that would be cut: broken UTF-8 is a sign of its own."""
    return text[:size].decode("utf-8", "ignore").encode()


def made(texts: Sequence[bytes], binaries: Sequence[bytes], seed: int) -> Iterator[tuple[str, str, bytes]]:
    """Kind, content type and body of every mixture of text and bytes that one package's files allow.

    What a page or document may hold comes as HTML. What is served as plain text, because a server knows no better type,
    comes as such: there lines of HTTP and raw bytes have causes in common.
    """
    rng = random.Random(seed)
    for b in binaries[:12]:
        if not texts:
            return
        t = whole(rng.choice(texts), int(2 ** rng.uniform(6.2, 12.6)))  # text heads of 74 to 6,000 bytes
        head = whole(t, rng.randrange(max(1, len(t) // 2), len(t)))
        # Compressed and encrypted bytes have no magic when their length and method are agreed upon elsewhere.
        deflate = zlib.compressobj(wbits=-15)
        unmarked = deflate.compress(rng.choice(texts)[:60000]) + deflate.flush() if rng.random() < 0.5 else rng.randbytes(rng.randrange(300, 20000))
        yield "binary behind text", HTML, t + b"\n" + b
        yield "binary inside text", HTML, head + b + t[len(head) :]
        yield "compressed or encrypted bytes behind text", HTML, t + b"\n" + unmarked
        yield "compressed or encrypted bytes inside text", HTML, head + unmarked + t[len(head) :]
        yield "file behind a warning", HTML, _WARNING + b
        lines = whole(t.replace(b"\n", b"\r\n"), 3000)
        yield "mail with attachment", PLAIN, _MAIL + lines + _PART + b + b"\r\n--part--\r\n"
        yield "self-extracting script", PLAIN, b"#!/bin/sh\n" + whole(t, 2000) + b"\nexit 0\n" + gzip.compress(b[:20000], mtime=0)
        if rng.random() < 0.2:
            yield "batch reply", PLAIN, lines + b"\r\n--b\r\nContent-Type: application/http\r\n\r\n" + _reply(rng) + b + b"\r\n--b--"
            yield "log of exchanges", PLAIN, lines + b"\r\n" + _request(rng) + _reply(rng) + unmarked + b"\r\n" + _request(rng)
            yield "dump of blobs and logged heads", PLAIN, t + b"\nINSERT INTO log VALUES (1, '" + _request(rng) + b"', '" + b[:4000] + b"');\n"
        yield from _formats(t, rng, PLAIN, b"")
        yield from _page_formats(t, rng)


def _request(rng: random.Random) -> bytes:
    cookie = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=32)).encode()
    return (
        b"GET /item/%d HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept-Language: en\r\n"
        b"Referer: https://www.example.org/\r\nCookie: session=%b\r\n\r\n" % (rng.randrange(10**6), cookie)
    )


def _reply(rng: random.Random) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: application/octet-stream\r\n"
        b"Via: 1.1 cache\r\nX-Request-Id: %032x\r\nSet-Cookie: visit=%032x; Path=/; HttpOnly\r\n\r\n" % (rng.getrandbits(128), rng.getrandbits(128))
    )


def _page_formats(t: bytes, rng: random.Random) -> Iterator[tuple[str, str, bytes]]:
    if rng.random() < 0.5:
        yield "page with serialized PHP", HTML, whole(t, 900) + b"<pre>" + b'O:4:"User":1:{s:7:"\0*\0name";s:5:"alice";}' * 3 + b"</pre>"
    else:
        yield "page with a NUL gap", HTML, t + b"\0" * rng.randrange(8, 4096) + whole(t, 500)


def _formats(t: bytes, rng: random.Random, content_type: str, before: bytes) -> Iterator[tuple[str, str, bytes]]:
    kind = rng.randrange(8)
    floats = struct.pack("<300f", *(rng.uniform(-100, 100) for _ in range(300)))
    if kind == 0:
        yield "PLY", content_type, before + b"ply\nformat binary_little_endian 1.0\n" + b"comment made\n" * 50 + b"end_header\n" + floats
    elif kind == 1:
        yield "NRRD", content_type, before + b"NRRD0004\n" + b"# comment line of the header\n" * 30 + b"\n" + floats
    elif kind == 2:
        big = struct.pack(">300f", *struct.unpack("<300f", floats))
        yield "FITS", content_type, before + (b"SIMPLE  =                    T" + b" " * 50) * 36 + big
    elif kind == 3:
        yield "serialized PHP", content_type, before + whole(t, 900) + b'O:4:"User":1:{s:7:"\0*\0name";s:5:"alice";}' * 3
    elif kind == 4:
        yield "log with NUL gap", content_type, before + t + b"\0" * rng.randrange(8, 4096) + whole(t, 500)
    elif kind == 5:
        name, refs = hashlib.sha1(t).hexdigest().encode(), [b"refs/heads/" + w for w in t.split()[:40]]
        first = name + b" HEAD\0multi_ack thin-pack side-band side-band-64k ofs-delta shallow no-progress agent=git/2.39.5\n"
        lines = [b"%04x" % (len(x) + 4) + x for x in (first, *(name + b" " + r + b"\n" for r in refs))]
        yield "git references", content_type, before + b"001e# service=git-upload-pack\n0000" + b"".join(lines) + b"0000"
    elif kind == 6:
        yield "VTK", content_type, before + b"# vtk DataFile Version 3.0\n" + b"title\nBINARY\nDATASET POLYDATA\n" * 20 + floats
    else:
        image = bytes(rng.randrange(256) for _ in range(900))
        yield (
            "PostScript image",
            content_type,
            before + b"%!PS-Adobe-3.0 EPSF-3.0\n" + whole(t, 600) + b"\n300 1 8 [300 0 0 1 0 0]\ncurrentfile image\n" + image,
        )


def made_tails(texts: Sequence[bytes], files: Sequence[tuple[str, bytes]], seed: int) -> Iterator[tuple[str, str, bytes]]:
    """Kind, content type and body of containers (PNG, JPEG, GIF, WebP, WOFF, WOFF2) with something clean behind them.

    Every binary file of the package, its text, a ZIP archive (a polyglot), metadata blocks, padding, and the mixed formats.
    """
    rng = random.Random(seed + 1)
    containers = [(t, b) for t, b in files if t.startswith(CONTAINERS)]
    others = [b for _, b in files]
    for content_type, image in containers[:8]:
        yield "binary behind container", content_type, image + rng.choice(others)
        yield "encrypted bytes behind container", content_type, image + rng.randbytes(rng.randrange(64, 5000))
        piece = rng.choice(others)
        yield "two files behind container", content_type, image + piece[: len(piece) // 2] + rng.choice(others)
        if texts:
            t = rng.choice(texts)
            archive = io.BytesIO()
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as z:
                z.writestr("a.txt", t)
            yield "ZIP behind container", content_type, image + archive.getvalue()
            yield "text behind container", content_type, image + whole(t, 4000)
            yield from _formats(t, rng, content_type, image)
        if content_type != "image/jpeg":
            continue
        # Samsung's phones append key and value blocks (ExifTool's Samsung module): a tag, the name's length, name, value.
        names = (b"Image_UTC_Data", b"MCC_Data", b"Camera_Capture_Mode_Info")
        block = b"".join(struct.pack("<HHI", 0, rng.randrange(0xA00, 0xD00), len(n)) + n + b"%d" % rng.randrange(10**12) for n in names)
        yield "vendor blocks behind container", content_type, image + block + b"SEFH" + struct.pack("<4I", 105, 4, 12, 48) + b"SEFT"
