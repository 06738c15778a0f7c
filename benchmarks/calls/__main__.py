"""Python calls beside other scanners, beside the same calls from C, on two threads, and what ``import overread`` costs.

Rounds are interleaved and medians reported, of the CPU time of the thread; of wall time where two cores are asked about.
"""

from __future__ import annotations

import ctypes
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import overread

from .. import corpora, planted, results
from ..native.__main__ import BUILD, build
from .contenders import Contender, check, contenders

KINDS = ("html", "js", "css", "json", "png")
SMALL = ("html", "js", "json", "png")
ROUNDS, CALL_ROUNDS, FEED_ROUNDS, THREAD_ROUNDS, IMPORT_ROUNDS = 5, 15, 15, 9, 25
TINY, CALLS = 64, 300
CHUNK = 16384  # bytes: what proxies hand over at a time
FEED_BYTES = 8 << 20
THREAD_BYTES = 64 << 20  # beyond what caches hold


def race(runs: Sequence[Callable[[], object]], rounds: int, clock: Callable[[], float] = time.thread_time) -> list[float]:
    """Seconds of the median of interleaved rounds, one figure a run; the first round warms up."""
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(-1, rounds):
        for run, kept in zip(runs, times, strict=True):
            started = clock()
            run()
            if turn >= 0:
                kept.append(clock() - started)
    return [statistics.median(t) for t in times]


def first(files: Sequence[bytes], most: int) -> list[bytes]:
    """The first bodies that fit into so many bytes."""
    kept: list[bytes] = []
    for body in files:
        if sum(map(len, kept)) + len(body) <= most:
            kept.append(body)
    return kept


def whole_files(files: Sequence[bytes], raced: Sequence[Contender]) -> dict[str, float]:
    """GB/s of each contender."""

    given = [first(files, c.most) for c in raced]

    def over_all(run: Callable[[bytes], object], own: Sequence[bytes]) -> Callable[[], None]:
        def all_of_them() -> None:
            for body in own:
                run(body)

        return all_of_them

    seconds = race([over_all(c.run, own) for c, own in zip(raced, given, strict=True)], ROUNDS)
    return {c.name: sum(map(len, own)) / s / 1e9 for c, own, s in zip(raced, given, seconds, strict=True)}


def small_calls(body: bytes, content_type: str, raced: Sequence[Contender]) -> dict[str, float]:
    """Nanoseconds of a call on 64 bytes; ``feed`` on a stream that is there, ``stream`` with its opening and its verdict."""
    scanner = overread.Scanner()
    tiny = body[:TINY]
    open_streams: list[overread.Stream] = []

    def feed() -> None:
        for stream in open_streams:
            stream.feed(tiny)

    def stream() -> None:
        for _ in range(CALLS):
            one = scanner.stream(content_type)
            one.feed(tiny)
            one.finish()

    def of(run: Callable[[bytes], object]) -> Callable[[], None]:
        def calls() -> None:
            for _ in range(CALLS):
                run(tiny)

        return calls

    def fresh() -> None:
        open_streams[:] = [scanner.stream(content_type) for _ in range(CALLS)]

    # `fresh` runs before each `feed`; its own time is thrown away.
    seconds = race([fresh, feed, stream, *(of(c.run) for c in raced)], CALL_ROUNDS)[1:]
    names = ["feed", "stream, feed, finish", *("scan" if c.name == "overread" else c.name for c in raced)]
    return {name: s / CALLS * 1e9 for name, s in zip(names, seconds, strict=True)}


def feed_beside_c(packs: dict[str, Path], kind: str) -> dict[str, float]:
    """GB/s of feeding chunks of 16 KiB, from Python and from C, in the rounds of one race; no stream is opened or finished in it."""
    library = ctypes.CDLL(str(BUILD / "libfeed.so"))
    library.feed_seconds.restype = ctypes.c_double
    library.feed_seconds.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t]
    whole = first([b[: len(b) // CHUNK * CHUNK] for b in corpora.unpack(packs[kind].read_bytes()) if len(b) >= CHUNK], FEED_BYTES)
    pack, content_type = corpora.pack(whole), corpora.TYPES[kind]
    chunks = [[b[at : at + CHUNK] for at in range(0, len(b), CHUNK)] for b in whole]
    scanner = overread.Scanner()

    def from_python() -> float:
        fed = [(scanner.stream(content_type), of_one) for of_one in chunks]
        started = time.thread_time()
        for stream, of_one in fed:
            for chunk in of_one:
                stream.feed(chunk)
        return time.thread_time() - started

    def from_c() -> float:
        seconds: float = library.feed_seconds(content_type.encode(), pack, len(pack), CHUNK)
        return seconds

    from_python(), from_c()
    pairs = [(from_python(), from_c()) for _ in range(FEED_ROUNDS)]
    size = sum(map(len, whole))
    return {name: size / statistics.median(t) / 1e9 for name, t in zip(("Python", "C"), zip(*pairs, strict=True), strict=True)}


def two_threads(packs: dict[str, Path], kind: str) -> dict[str, float]:
    """How many times faster ``scan_many`` is with two threads than with one; by CPU time: if both had a core of their own."""
    files = corpora.unpack(packs[kind].read_bytes())
    files *= -(-THREAD_BYTES // sum(map(len, files)))
    scanner = overread.Scanner()
    one_and_two = [lambda n=n: scanner.scan_many(files, n, corpora.TYPES[kind]) for n in (1, 2)]  # type: ignore[misc] # mypy infers no default of a lambda
    one, two = race(one_and_two, THREAD_ROUNDS, time.perf_counter)
    one_cpu, two_cpu = race(one_and_two, THREAD_ROUNDS, time.process_time)
    return {"over one": one / two, "by CPU time": 2 * one_cpu / two_cpu}


def import_milliseconds() -> dict[str, float]:
    """What ``import overread`` and a default scanner add to a bare interpreter: wall time and CPU time of the process."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}  # compiled modules are kept, as for every user
    programs = {"bare": "pass", "overread": "import overread; overread.Scanner()"}
    wall: dict[str, list[float]] = {name: [] for name in programs}
    cpu: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(-1, IMPORT_ROUNDS):
        for name, program in programs.items():
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run([sys.executable, "-c", program], env=env, timeout=60, check=True)
            took, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
            if turn >= 0:
                wall[name].append(took)
                cpu[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {what: (statistics.median(t["overread"]) - statistics.median(t["bare"])) * 1e3 for what, t in (("wall", wall), ("cpu", cpu))}


def main() -> int:
    """Runs everything, keeps the figures."""
    build()
    packs = corpora.build()
    peers: dict[str, dict[str, object]] = {}
    rates, small = {}, {}
    for kind in KINDS:
        raced, files = contenders(corpora.TYPES[kind]), corpora.unpack(packs[kind].read_bytes())
        page = next(b for b in files if len(b) > 1024)
        found = check(page + planted.memory(random.Random(1)), raced)
        for c in raced:
            of_peer = peers.setdefault(c.name, {"version": c.version, "options": c.options, "found in the planted body": {}})
            if c.name in found:
                of_peer["found in the planted body"][kind] = found[c.name]  # type: ignore[index] # a dict as it was made above
        rates[kind] = whole_files(files, raced)
        if kind in SMALL:
            small[kind] = small_calls(page, corpora.TYPES[kind], raced)
        print(kind, rates[kind], small.get(kind), file=sys.stderr)
    results.keep("calls-peers", {"peers": peers, "GB/s": rates, "ns": small})
    results.keep("calls-feed", {kind: feed_beside_c(packs, kind) for kind in SMALL})
    results.keep("calls-threads", {kind: two_threads(packs, kind) for kind in SMALL})
    results.keep("calls-import", import_milliseconds())
    return 0


if __name__ == "__main__":
    sys.exit(main())
