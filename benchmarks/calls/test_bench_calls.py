"""Each call under pytest-benchmark, one after the other: to compare two commits (``--benchmark-save``, ``--benchmark-compare``)."""

from __future__ import annotations

import random

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import overread
from benchmarks import corpora, planted
from benchmarks.calls.contenders import Contender, check, contenders

SIZES = {"64 B": 64, "1 KiB": 1 << 10, "16 KiB": 1 << 14, "1 MiB": 1 << 20}
KINDS = ("html", "js", "json", "png")
NAMES = ("overread", "hyperscan", "yara-x", "re2 set", "re", "memcpy", "memchr")
SLOW = ("re",)  # seconds a call on a mebibyte


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def bodies(kind: str) -> dict[str, bytes]:
    """Bodies of the sizes, from packages: a large one cut; what is not large enough repeated."""
    largest = max(corpora.unpack(corpora.build()[kind].read_bytes()), key=len)
    return {name: (largest * -(-size // len(largest)))[:size] for name, size in SIZES.items()}


@pytest.fixture(scope="module")
def raced(kind: str, bodies: dict[str, bytes]) -> dict[str, Contender]:
    """The contenders, once each has found what is planted: a broken, faster scanner would otherwise look like progress."""
    all_of_them = contenders(corpora.TYPES[kind])
    check(bodies["16 KiB"] + planted.memory(random.Random(1)), all_of_them)
    return {c.name: c for c in all_of_them}


def note(benchmark: BenchmarkFixture, size: int, options: str, version: str) -> None:
    """What the JSON says beside the times."""
    if benchmark.stats is not None:
        benchmark.extra_info |= {"GB/s": round(size / benchmark.stats.stats.median / 1e9, 4), "options": options, "version": version}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_call(benchmark: BenchmarkFixture, raced: dict[str, Contender], bodies: dict[str, bytes], kind: str, name: str, size: str) -> None:
    """One call on a clean body."""
    if name in SLOW and SIZES[size] > 1 << 10:
        pytest.skip("takes seconds a call")
    benchmark.group = f"{kind} {size}"
    benchmark(raced[name].run, bodies[size])
    note(benchmark, SIZES[size], raced[name].options, raced[name].version)


@pytest.mark.parametrize("size", SIZES)
def test_feed(benchmark: BenchmarkFixture, bodies: dict[str, bytes], kind: str, size: str) -> None:
    """``feed`` on a fresh stream a round: fed again and again, a document that has ended would no longer be followed."""
    benchmark.group = f"{kind} {size}"
    scanner = overread.Scanner()
    fresh = lambda: ((scanner.stream(corpora.TYPES[kind]),), {})  # noqa: E731 - what pedantic() takes as its set-up
    released = benchmark.pedantic(lambda stream: stream.feed(bodies[size]), setup=fresh, rounds=100, warmup_rounds=5)
    note(benchmark, SIZES[size], f"default rules, kernel {scanner.kernel}", overread.__version__)
    assert released <= SIZES[size]
