"""A coded body is judged as what it decodes to, whatever its coding and however it is cut; what goes out was decided before."""

import gzip
import random
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import overread

from .material import HTML, heap, page, stranger

SCANNER = overread.Scanner()


def _raw_deflate(body: bytes) -> bytes:
    c = zlib.compressobj(6, zlib.DEFLATED, -15)
    return c.compress(body) + c.flush()


def _zstd(body: bytes) -> bytes:
    return zstandard.ZstdCompressor(3).compress(body)


WAYS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", lambda body: gzip.compress(body, mtime=0)),
    "x-gzip": ("X-Gzip", lambda body: gzip.compress(body, 9, mtime=0)),
    "stored": ("gzip", lambda body: gzip.compress(body, 0, mtime=0)),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", _raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", _zstd),
    "gzip in br": ("gzip, br", lambda body: brotli.compress(gzip.compress(body, mtime=0))),
    "zstd in deflate in gzip": ("zstd,deflate,, identity, gzip", lambda body: gzip.compress(zlib.compress(_zstd(body)), mtime=0)),
}


def _decoded(coding: str, data: bytes) -> bytes:
    """What another decoder makes of the first bytes of a coded body."""
    if coding == "br":
        return bytes(brotli.Decompressor().process(data))
    if coding == "zstd":
        return bytes(zstandard.ZstdDecompressor().decompressobj().decompress(data)) if data else b""
    return zlib.decompressobj(31 if coding == "gzip" else 15).decompress(data)


def _plain(verdict: overread.Verdict) -> dict[str, object]:
    said = verdict.to_dict()
    del said["decode"]
    return said


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("leaks", [False, True])
def test_every_coding_gives_the_plain_verdict(way: str, leaks: bool) -> None:
    coding, encode = WAYS[way]
    for seed in range(3):
        rng = random.Random(f"{way} {seed}")
        body = page(rng, inside=heap(rng, 2000, stranger(rng).lines())) if leaks else page(rng)
        want = SCANNER.scan(body, HTML)
        assert want.leaked == leaks
        assert want.decode == "none"
        coded = encode(body)
        for most in (len(coded), 1, 50, 5000):
            stream = SCANNER.stream(HTML, headers=[("Content-Encoding", coding)])
            at = 0
            while at < len(coded):
                size = rng.randint(1, most)
                stream.feed(coded[at : at + size])
                at += size
            got = stream.finish()
            assert got.decode == "ok"
            assert _plain(got) == _plain(want)


def test_field_lines_are_joined() -> None:
    body = page(random.Random(1))
    coded = brotli.compress(gzip.compress(body))
    assert SCANNER.scan(coded, HTML, headers=[("Content-Encoding", "gzip"), ("content-encoding", b"br")]) == SCANNER.scan(
        coded, HTML, headers=[("Content-Encoding", "gzip, br")]
    )


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(["gzip", "deflate", "br", "zstd"]), st.integers(0, 2**32), st.lists(st.integers(1, 9000), min_size=1, max_size=30), st.booleans())
def test_what_may_leave_was_decided(coding: str, seed: int, sizes: list[int], flush: bool) -> None:
    rng = random.Random(seed)
    leak = heap(rng, 3000, stranger(rng).lines())
    body = page(rng) + b"<p>" + bytes(rng.choices(b"abcdefgh \n", k=rng.randrange(30000))) + leak + page(rng)
    coded = WAYS[coding][1](body)
    first = SCANNER.scan(body, HTML).first_offset
    assert first is not None
    stream = SCANNER.stream(HTML, headers=[("Content-Encoding", coding)])
    at, before, turn = 0, 0, 0
    while at < len(coded):
        size = sizes[turn % len(sizes)]
        turn += 1
        released = stream.feed(coded[at : at + size])
        at = min(len(coded), at + size)
        assert before <= released <= at
        if not stream.leaked:
            assert released == before or len(_decoded(coding, coded[:released])) <= first
            if flush and len(_decoded(coding, coded[:at])) <= first:
                released = stream.flush()
                assert released == before or len(_decoded(coding, coded[:released])) <= first
        else:
            assert released == before, "from the alarm on nothing leaves"
        before = released
    assert stream.finish().leaked


@pytest.mark.parametrize("way", ["gzip", "deflate", "raw deflate", "br", "zstd"])
def test_broken_bodies_say_so(way: str) -> None:
    coding, encode = WAYS[way]
    rng = random.Random(way)
    body = page(rng, inside=heap(rng, 2000, stranger(rng).lines())) + page(rng)
    coded = encode(body)
    headers = [("Content-Encoding", coding)]
    cut = SCANNER.scan(coded[:-1], HTML, headers=headers)
    assert cut.decode == "truncated"
    assert "not judged" in cut.explain()
    behind = SCANNER.scan(coded + b"\0tail", HTML, headers=headers)
    assert behind.decode == "trailing"
    assert _plain(behind) == _plain(SCANNER.scan(body + b"\0tail", HTML))
    seen = set()
    for _ in range(300):
        bad = bytearray(coded)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        whole = SCANNER.scan(bytes(bad), HTML, headers=headers)
        stream = SCANNER.stream(HTML, headers=headers)
        for i in range(0, len(bad), 7):
            stream.feed(bytes(bad[i : i + 7]))
        assert stream.finish() == whole
        seen.add(whole.decode)
    assert "broken" in seen


@pytest.mark.parametrize(
    ("coding", "body"), [("gzip", gzip.compress(bytes(1 << 26), mtime=0)), ("br", brotli.compress(bytes(1 << 26), quality=1)), ("zstd", _zstd(bytes(1 << 26)))]
)
def test_a_bomb_ends_at_its_bound(coding: str, body: bytes) -> None:
    verdict = SCANNER.scan(body, HTML, headers=[("Content-Encoding", coding)])
    assert verdict.decode == "bomb"
    assert verdict.body_bytes == 1 << 24


@pytest.mark.parametrize("coding", ["x-own", "compress", "gzip, x-own", "gzip, gzip, gzip, gzip"])
def test_what_is_not_decoded_is_not_judged(coding: str) -> None:
    verdict = SCANNER.scan(gzip.compress(page(random.Random(2))), HTML, headers=[("Content-Encoding", coding)])
    assert (verdict.decode, verdict.content_class, verdict.bits) == ("unknown", "encoded", 0)


def test_an_empty_body_is_no_broken_one() -> None:
    # As a response to HEAD or a 304 has it.
    assert SCANNER.scan(b"", HTML, headers=[("Content-Encoding", "gzip")]).decode == "ok"
