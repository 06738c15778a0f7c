"""GB/s of ``scan`` and ``feed`` beside memcpy and PyPI hyperscan with the same literals, in one run.

``make bench`` runs it. Each benchmark checks its count: a broken, faster scanner would otherwise look like progress.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable

import hyperscan
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import overread
from overread import ruleset

SIZES = {"64 B": 64, "1 KiB": 1 << 10, "16 KiB": 1 << 14, "1 MiB": 1 << 20}
TYPES = {"html": "text/html; charset=utf-8", "js": "text/javascript", "json": "application/json", "png": "image/png"}


def body(kind: str, size: int) -> bytes:
    """A clean body of about natural statistics, cut to size; seeded."""
    rng = random.Random(7)
    words = [
        "the",
        "of",
        "and",
        "a",
        "to",
        "in",
        "is",
        "you",
        "that",
        "it",
        "he",
        "was",
        "for",
        "on",
        "are",
        "as",
        "with",
        "his",
        "they",
        "I",
        "at",
        "be",
        "this",
        "have",
        "from",
        "or",
        "one",
        "had",
        "by",
        "word",
        "but",
    ]
    out = bytearray()
    if kind == "png":
        return (b"\x89PNG\r\n\x1a\n" + size.to_bytes(4, "big") + b"IDAT" + zlib.compress(rng.randbytes(size), 1))[:size]
    while len(out) < size:
        text = " ".join(rng.choices(words, k=9))
        n = rng.randrange(1000)
        if kind == "html":
            out += f'<div class="c{n}"><p>{text}</p><a href="/page/{n}?x=1">{text[:12]}</a></div>\n'.encode()
        elif kind == "js":
            out += f'function f{n}(a,b){{if(a!=={n}){{return b+"{text}";}}var c=a*{n};return c;}}\n'.encode()
        else:
            out += f'{{"id":{n},"name":"{text}","tags":["a","b"],"ok":true}},\n'.encode()
    return (b"[" if kind == "json" else b"") + bytes(out[: size - (kind == "json")])


@pytest.fixture(scope="module")
def database() -> hyperscan.Database:
    """The shipped anchors as Hyperscan literals, in block mode."""
    anchors = [(a, r.nocase) for r in ruleset.load(ruleset.shipped_packs()) for a in r.anchor]
    db = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    flags = [hyperscan.HS_FLAG_CASELESS if nocase else 0 for _, nocase in anchors]
    db.compile(expressions=[b"".join(b"\\x%02x" % c for c in a) for a, _ in anchors], ids=list(range(len(anchors))), elements=len(anchors), flags=flags)
    return db


def report(benchmark: BenchmarkFixture, run: Callable[[], object], size: int) -> object:
    """Runs the benchmark and adds GB/s of the median."""
    result = benchmark(run)
    if benchmark.stats is not None:
        benchmark.extra_info["GB/s"] = round(size / benchmark.stats.stats.median / 1e9, 3)
    return result


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("what", ["scan", "feed", "memcpy", "hyperscan"])
def test_clean(benchmark: BenchmarkFixture, what: str, size: str, kind: str, database: hyperscan.Database) -> None:
    """One body that holds no sign."""
    benchmark.group = f"{kind} {size}"
    data = body(kind, SIZES[size])
    scanner = overread.Scanner()
    if what == "scan":
        verdict = report(benchmark, lambda: scanner.scan(data, TYPES[kind]), len(data))
        assert isinstance(verdict, overread.Verdict)
        assert verdict.bits < 14
    elif what == "feed":
        # A fresh stream a round: fed again and again, a document that has ended would no longer be followed.
        fresh = lambda: ((scanner.stream(TYPES[kind]),), {})  # noqa: E731
        released = benchmark.pedantic(lambda stream: stream.feed(data), setup=fresh, rounds=300, warmup_rounds=10)
        if benchmark.stats is not None:
            benchmark.extra_info["GB/s"] = round(len(data) / benchmark.stats.stats.median / 1e9, 3)
        assert released == max(0, len(data) - 16384)
    elif what == "memcpy":
        assert report(benchmark, lambda: bytearray(data), len(data)) == data
    else:
        hits: list[int] = []
        report(benchmark, lambda: database.scan(data, match_event_handler=lambda i, *_: hits.append(i)), len(data))


def test_planted_body_is_found_by_both(database: hyperscan.Database) -> None:
    """The comparison is fair only if both find what is there."""
    planted = body("html", 4096) + b"\r\nCookie: session=Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\nReferer: https://a.example/\r\n"
    hits: set[int] = set()
    database.scan(planted, match_event_handler=lambda i, *_: hits.add(i))
    found = overread.Scanner().scan(planted, TYPES["html"]).findings
    assert {"http.cookie", "http.referer", "secret.session-cookie"} <= {f.rule for f in found}
    assert len(hits) >= 3
