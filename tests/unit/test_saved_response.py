"""Saved responses as curl writes them, through the installed command: heads, chunks, compression, and what is not scanned."""

import gzip
import json
import random
import time
import zlib
from pathlib import Path

import brotli
import pytest
import zstandard

from overread import _core
from overread.saved_response import MAX_HEAD, split_head

from .test_api import LEAK, PAGE
from .test_cli import run

TYPE = b"Content-Type: text/html; charset=utf-8\r\n"
PIECES = random.Random(7)


def scanned(data: bytes) -> tuple[int, dict[str, object], str]:
    """Exit code, the object of --json, and standard error."""
    result = run("scan", "--json", "-", stdin=data)
    return result.returncode, json.loads(result.stdout), result.stderr.decode()


def chunked(body: bytes, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    out = b""
    while body:
        n = PIECES.choice((1, 7, 500, 70000))
        out += b"%x%s\r\n%s\r\n" % (len(body[:n]), extension, body[:n])
        body = body[n:]
    return out + b"0\r\n" + trailer + b"\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n" + TYPE + b"\r\n",
        b"HTTP/1.0 200\n" + TYPE.replace(b"\r", b"") + b"\n",
        b"HTTP/2 200 \r\ncontent-type: text/html; charset=utf-8\r\n\r\n",
        b"HTTP/3 200\r\ncontent-type: text/html; charset=utf-8\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n" + TYPE + b"\r\n",
        b"HTTP/1.1 302 Found\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nLocation: /\r\n\r\nHTTP/1.1 200 OK\r\n" + TYPE + b"\r\n",
        b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/2 200\r\n" + TYPE + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX-Folded: one\r\n two\r\n" + TYPE + b"\r\n",
    ],
    ids=["1.1", "lf", "2", "3", "interim", "redirect", "tunnel", "folded"],
)
def test_the_body_starts_behind_the_final_head(head: bytes) -> None:
    code, row, err = scanned(head + LEAK)
    assert (code, row["body_bytes"], row["content_class"], err) == (1, len(LEAK), "html", "")
    assert scanned(head + PAGE)[0] == 0
    assert scanned(head)[1]["body_bytes"] == 0


def test_a_response_inside_a_page_is_body() -> None:
    shown = b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n"
    head = split_head(b"HTTP/1.1 200 OK\r\n" + TYPE + b"\r\n" + shown)
    assert head
    assert head.size == len(b"HTTP/1.1 200 OK\r\n" + TYPE + b"\r\n")


def test_a_line_that_is_no_field_never_becomes_a_name() -> None:
    head = split_head(b"HTTP/1.1 200 OK\r\nmemory of another client\r\n" + TYPE + b"\r\n")
    assert head
    assert head.fields[0] == (b"", b"memory of another client")


def test_all_heads_are_scanned() -> None:
    _, row, _ = scanned(b"HTTP/1.1 103 Early Hints\r\nAllow: GET,HEAD,,:09:44 GMT\r\n\r\nHTTP/1.1 200 OK\r\n" + TYPE + b"\r\n" + PAGE)
    assert [f["name"] for f in row["findings"]] == ["Allow"]  # type: ignore[attr-defined]  # plain JSON


def test_a_head_without_end_is_scanned_as_a_body() -> None:
    data = b"HTTP/1.1 200 OK\r\n" + b"X-Filler: an ordinary value\r\n" * (MAX_HEAD // 29 + 10)
    code, row, err = scanned(data)
    assert row["body_bytes"] == len(data)
    assert "does not end within 1 MiB" in err
    assert code in (0, 1)


@pytest.mark.parametrize("extension", [b"", b";name=value"])
def test_chunks_are_joined(extension: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + TYPE + b"Transfer-Encoding: chunked\r\n\r\n"
    body = PAGE * 900 + LEAK
    whole, raw = scanned(head + body)[1], scanned(head + chunked(body, extension))
    assert raw[0] == 1
    assert (raw[1]["bits"], raw[1]["first_offset"], raw[1]["body_bytes"]) == (whole["bits"], whole["first_offset"], len(body))
    assert scanned(head + chunked(PAGE, extension))[::2] == (0, "")


def test_chunks_that_break_off_or_go_wrong() -> None:
    head = b"HTTP/1.1 200 OK\r\n" + TYPE + b"Transfer-Encoding: chunked\r\n\r\n"
    code, row, err = scanned(head + chunked(LEAK)[:-9])
    assert (code, row["leaked"]) == (2, True)
    assert "cut off" in err
    code, row, err = scanned(head + b"a\r\n0123456789\r\nno chunk\r\n" + LEAK)
    assert (code, row["leaked"]) == (1, True)
    assert "malformed" in err


def test_trailers_are_scanned_too() -> None:
    head = b"HTTP/1.1 200 OK\r\n" + TYPE + b"Transfer-Encoding: chunked\r\n\r\n"
    code, row, err = scanned(head + chunked(PAGE, trailer=b"Server-Timing: x\r\n"))
    assert (code, row["bits"], err) == (0, 0, "")
    code, row, err = scanned(head + chunked(PAGE, trailer=b"Server-Timing: x\r\nAllow: GET,HEAD,,:09:44 GMT\r\n"))
    assert (code, err) == (0, "")
    assert [(f["part"], f["name"]) for f in row["findings"]] == [("trailer", "Allow")]  # type: ignore[attr-defined] # a list
    code, _, err = scanned(head + chunked(PAGE) + b"and more")
    assert code == 2
    assert "behind its trailer section" in err


def test_many_tiny_chunks_take_linear_time() -> None:
    head = b"HTTP/1.1 200 OK\r\n" + TYPE + b"Transfer-Encoding: chunked\r\n\r\n"
    started = time.monotonic()
    _, row, _ = scanned(head + b"1\r\na\r\n" * 300_000 + b"0\r\n\r\n")
    assert row["body_bytes"] == 300_000
    assert time.monotonic() - started < 20


def bare(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


def zstd(body: bytes) -> bytes:
    return bytes(zstandard.ZstdCompressor().compress(body))


WAYS = {
    "members": ("gzip", lambda body: gzip.compress(body[:999]) + gzip.compress(body[999:])),
    "zlib": ("deflate", zlib.compress),
    "bare": ("deflate", bare),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstd),
    "frames": ("zstd", lambda body: zstd(body[:999]) + b"\x50\x2a\x4d\x18\x03\0\0\0abc" + zstd(body[999:])),
    "skipped frame first": ("zstd", lambda body: b"\x5f\x2a\x4d\x18\x03\0\0\0abc" + zstd(body)),
    "gzip in br": ("gzip, br", lambda body: brotli.compress(gzip.compress(body))),
    "br in zstd in gzip": ("BR,identity, zstd,, gzip", lambda body: gzip.compress(zstd(brotli.compress(body)))),
}


def coded_head(coding: str, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + TYPE + b"Content-Encoding: %s\r\n%s\r\n" % (coding.encode(), more)


# Every way once, every other one in chunks.
WAYS_AND_CHUNKS = [(way, i % 2 == 1) for i, way in enumerate(WAYS)]


@pytest.mark.parametrize(("way", "chunks"), WAYS_AND_CHUNKS)
def test_compressed_bodies_are_decoded(way: str, chunks: bool) -> None:
    coding, pack = WAYS[way]
    head = coded_head(coding, b"Transfer-Encoding: chunked\r\n" if chunks else b"")
    for body, want in ((PAGE * 900 + LEAK, 1), (PAGE * 900, 0), (PAGE[:60], 0)):
        data = pack(body)
        code, row, err = scanned(head + (chunked(data) if chunks else data))
        assert (code, row["body_bytes"], row["decode"], err) == (want, len(body), "ok", "")
    # curl --compressed has decoded the body and kept the field.
    code, row, err = scanned(head + LEAK)
    assert (code, row["body_bytes"], row["decode"], err) == (1, len(LEAK), "none", "")


DECODED = [
    (coding, start)
    for i, coding in enumerate(["gzip", "deflate", "br", "zstd", "magic", "gzip, br", "identity"])
    for j, start in enumerate([b"---\na: 1\n", b"{", b"", b"<!DOCTYPE html>", b"xml", b"+OK ", b"SQ", b"\r\n", b"p"])
    if coding in ("deflate", "br") or (i + j) % 3 == 0  # these two have no magic
]


@pytest.mark.parametrize(("coding", "start"), DECODED)
def test_what_curl_decoded_is_never_decoded_again(coding: str, start: bytes) -> None:
    # As br the first is a stored block; as deflate some of the others are the start of a block.
    for body in (start, start + b"some plain text, not much of it\n", start + LEAK):
        code, row, err = scanned(coded_head(coding) + body)
        assert (code, row["body_bytes"], row["decode"], err) == (row["leaked"], len(body), "none", "")


@pytest.mark.parametrize(("way", "chunks"), WAYS_AND_CHUNKS)
def test_contexts_come_from_the_decoded_body(tmp_path: Path, way: str, chunks: bool) -> None:
    coding, pack = WAYS[way]
    body = PAGE * 90 + LEAK
    data = pack(body)
    (tmp_path / "plain").write_bytes(b"HTTP/1.1 200 OK\r\n" + TYPE + b"\r\n" + body)
    (tmp_path / "packed").write_bytes(coded_head(coding, b"Transfer-Encoding: chunked\r\n" if chunks else b"") + (chunked(data) if chunks else data))
    plain, unpacked = (run("scan", str(tmp_path / name)).stdout.splitlines()[1:-1] for name in ("plain", "packed"))
    assert plain == unpacked
    assert b"f an ordinary page.</p>" in plain[1]
    assert run("scan", "-", stdin=(tmp_path / "packed").read_bytes()).stdout.splitlines()[1:-1] == plain


def test_contexts_of_what_is_not_decoded_are_its_own_bytes() -> None:
    lines = b"<p>before the lines</p>\nGET /account HTTP/1.1\r\nHost: example.org\r\nCookie: sid=0123456789abcdef0123456789abcdef\r\n\r\n"
    for field in (b"gzip", b"zstd", b"magic"):
        excerpts = _core._Excerpts(field, [(0, 10), (3, 9), (len(lines) - 2, len(lines) + 9)])
        for at in range(0, len(lines), 7):
            excerpts.feed(lines[at : at + 7])
        assert excerpts.finish() == [lines[:10], lines[3:9], lines[-2:]]


@pytest.mark.parametrize(
    ("coding", "data", "decode", "says"),
    [
        ("gzip", gzip.compress(PAGE * 90, mtime=0)[:-20], "truncated", "its gzip data is cut off; "),
        ("gzip", gzip.compress(PAGE * 90, mtime=0)[:60] + b"\xff" * 60, "broken", "its gzip data is damaged; "),
        ("br", brotli.compress(PAGE * 90)[:-20], "truncated", "its br data is cut off; "),
        ("br", bytes(range(256)) * 4, "broken", "its br data is damaged; 0 bytes"),
        ("zstd", zstd(PAGE * 90)[:-20], "truncated", "its zstd data is cut off; "),
        ("zstd", b"\x28\xb5\x2f\xfd" + bytes(range(256)), "broken", "its zstd data is damaged; 0 bytes"),
        ("deflate", zlib.compress(PAGE * 90)[:-20], "truncated", "its deflate data is cut off; "),
        ("deflate", zlib.compress(random.Random(1).randbytes(9000))[:5000] + b"\xff" * 6000, "broken", "its deflate data is damaged; "),
        ("gzip, br", brotli.compress(gzip.compress(PAGE * 90, mtime=0)[:-20]), "truncated", "its gzip, br data is cut off; "),
        ("br, gzip", gzip.compress(PAGE, mtime=0), "broken", "its br, gzip data is damaged; 0 bytes"),
        ("magic", bytes(range(256)) * 4, "unknown", "unknown coding"),
        ("magic, gzip", gzip.compress(PAGE, mtime=0), "unknown", "unknown coding"),
        ("gzip, gzip, gzip, gzip", gzip.compress(PAGE, mtime=0), "unknown", "more than three"),
    ],
)
def test_what_is_not_decoded_is_exit_code_2(coding: str, data: bytes, decode: str, says: str) -> None:
    code, row, err = scanned(coded_head(coding) + data)
    assert (code, row["decode"], says in err) == (2, decode, True), err


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("br", brotli.compress), ("zstd", zstd)])
def test_a_leak_before_the_data_breaks_off_is_shown(coding: str, pack: object) -> None:
    assert callable(pack)
    # zstd gives out whole blocks of 128 KiB only.
    data = pack(LEAK + random.Random(2).randbytes(400_000))
    code, row, err = scanned(coded_head(coding) + data[:-1000])
    assert (code, row["leaked"], "cut off" in err) == (2, True, True)


@pytest.mark.parametrize("way", WAYS)
def test_bytes_behind_compressed_data_are_scanned(way: str) -> None:
    coding, pack = WAYS[way]
    code, row, err = scanned(coded_head(coding) + pack(PAGE * 900) + LEAK[len(PAGE) :])
    assert (code, row["body_bytes"], row["decode"]) == (1, len(PAGE) * 899 + len(LEAK), "trailing")
    named = ", ".join(m.strip().lower() for m in coding.split(",") if m.strip() not in ("", "identity"))
    assert f"bytes behind its {named} data were scanned" in err


def test_a_bomb_needs_little_memory_and_time() -> None:
    packer, zpacker = zlib.compressobj(9, wbits=31), zstandard.ZstdCompressor().compressobj()
    million = b"a" * (1 << 20)
    bombs = {"gzip": b"".join(packer.compress(million) for _ in range(300)) + packer.flush()}
    bombs["zstd"] = b"".join(zpacker.compress(million) for _ in range(300)) + zpacker.flush()
    bombs["br"] = brotli.compress(million * 100, quality=5)
    bombs["gzip, br"] = brotli.compress(bombs["gzip"], quality=5)
    for coding, data in bombs.items():
        started = time.monotonic()
        code, row, err = scanned(coded_head(coding) + data)
        # The bound is that of docs/detection.md: behind 16 MiB, 200 times the coded bytes.
        assert (code, row["decode"]) == (2, "bomb")
        assert row["body_bytes"] in range(16 << 20, (16 << 20) + 200 * len(data))  # type: ignore[operator]  # a number
        assert f"its {coding} data is a bomb" in err
        assert time.monotonic() - started < 20


@pytest.mark.parametrize("size", [3 << 20, 20 << 20])
def test_standard_input_shows_contexts_anywhere(size: int) -> None:
    body = (PAGE * (size // len(PAGE) + 1))[: size - 50] + LEAK
    lines = run("scan", "--content-type", "text/html; charset=utf-8", "-", stdin=body).stdout.decode().splitlines()
    assert "f an ordinary page.</p>·" in lines[2]
