"""Saved responses as curl writes them, through the installed command: heads, chunks, compression, and what is not scanned."""

import gzip
import json
import random
import time
import zlib
from pathlib import Path

import pytest

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


def packed(coding: str, body: bytes) -> bytes:
    if coding == "gzip":
        return gzip.compress(body[:999]) + gzip.compress(body[999:])  # members follow one another
    packer = zlib.compressobj(wbits=15 if coding == "zlib" else -15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize("coding", ["gzip", "zlib", "bare"])
@pytest.mark.parametrize("chunks", [False, True])
def test_compressed_bodies_are_decoded(coding: str, chunks: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + TYPE + b"Content-Encoding: %s\r\n" % (b"gzip" if coding == "gzip" else b"deflate")
    head += b"Transfer-Encoding: chunked\r\n\r\n" if chunks else b"\r\n"
    for body, want in ((PAGE * 900 + LEAK, 1), (PAGE * 900, 0)):
        data = packed(coding, body)
        code, row, err = scanned(head + (chunked(data) if chunks else data))
        assert (code, row["body_bytes"], err) == (want, len(body), "")
    # curl --compressed has decoded the body and kept the field.
    code, row, err = scanned(head + LEAK)
    assert (code, row["body_bytes"], err) == (1, len(LEAK), "")


def test_contexts_come_from_the_decoded_body(tmp_path: Path) -> None:
    body = PAGE * 90 + LEAK
    (tmp_path / "plain").write_bytes(b"HTTP/1.1 200 OK\r\n" + TYPE + b"\r\n" + body)
    (tmp_path / "packed").write_bytes(b"HTTP/1.1 200 OK\r\n" + TYPE + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(body))
    plain, zipped = (run("scan", str(tmp_path / name)).stdout.splitlines()[1:-1] for name in ("plain", "packed"))
    assert plain == zipped
    assert b"f an ordinary page.</p>" in plain[1]


def test_what_is_not_decoded_is_exit_code_2() -> None:
    head = b"HTTP/1.1 200 OK\r\n" + TYPE + b"Content-Encoding: %s\r\n\r\n"
    body = gzip.compress(PAGE * 90)
    for coding, data, says in (
        (b"gzip", body[:-20], "cut off"),
        (b"gzip", body[:60] + b"\xff" * 60 + body[120:], "damaged"),
        (b"zstd", b"\x28\xb5\x2f\xfd" + bytes(range(256)), "zstd, which is not decoded"),
        (b"br", bytes(range(256)) * 4, "br, which is not decoded"),
        (b"magic", bytes(range(256)) * 4, "unknown coding"),
    ):
        code, _, err = scanned(head % coding + data)
        assert (code, says in err) == (2, True), (coding, err)
    # Decoded by curl: plain text under the same field is scanned.
    assert scanned(head % b"br" + PAGE)[::2] == (0, "")


def test_bytes_behind_compressed_data_are_scanned() -> None:
    head = b"HTTP/1.1 200 OK\r\n" + TYPE + b"Content-Encoding: gzip\r\n\r\n"
    code, row, err = scanned(head + gzip.compress(PAGE) + LEAK[len(PAGE) :])
    assert (code, row["body_bytes"]) == (1, len(LEAK))
    assert "behind its gzip data" in err


def test_a_bomb_needs_little_memory() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(b"a" * (1 << 20)) for _ in range(300)) + packer.flush()
    head = b"HTTP/1.1 200 OK\r\n" + TYPE + b"Content-Encoding: gzip\r\n\r\n"
    code, row, _ = scanned(head + bomb)
    assert (code, row["body_bytes"]) == (0, 300 << 20)


@pytest.mark.parametrize("size", [3 << 20, 20 << 20])
def test_standard_input_shows_contexts_anywhere(size: int) -> None:
    body = (PAGE * (size // len(PAGE) + 1))[: size - 50] + LEAK
    lines = run("scan", "--content-type", "text/html; charset=utf-8", "-", stdin=body).stdout.decode().splitlines()
    assert "f an ordinary page.</p>·" in lines[2]
