"""Feeds one scanner from several threads for so many seconds: results stay the same, memory does not grow.

Usage: scripts/soak.py SECONDS
"""

import gc
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import overread

THREADS = 4
MAY_GROW = 4 << 20  # bytes; allocators settle late, a leak of 64 B a scan would be above it in a second
HTML = "text/html; charset=utf-8"
PAGE = b"<html><body>" + b"<p>An ordinary paragraph of an ordinary page.</p>\n" * 60
LEAK = PAGE + b"\x10\xa0\xd2\xe1\x34\x7f\0\0\xff\xfe\x01\0\r\nCookie: session=Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\nReferer: https://a.example/\r\n\r\n" * 3 + PAGE
BIG = LEAK + PAGE * 400
OWN = overread.Request("POST", "/?q=1", [("Cookie", "session=Zk3Yx8QmZr7LwPvB2nHs5TdJ")], b"a=b")


def resident() -> int:
    """Bytes of memory of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main(seconds: float) -> int:
    """Exit code 0 when all went well."""
    scanner = overread.Scanner()

    def streamed(rng: random.Random) -> overread.Verdict:
        stream = scanner.stream(HTML)
        at = 0
        while at < len(LEAK):
            size = rng.choice((1, 13, 700, 9000))
            stream.feed(LEAK[at : at + size])
            at += size
        return stream.finish()

    def failed(_: random.Random) -> str:
        try:
            scanner.scan_many([LEAK, "text"], threads=1)  # type: ignore[list-item]  # what is being tried
        except TypeError as e:
            return str(e)
        return ""

    def left(_: random.Random) -> float:
        stream = scanner.stream(HTML, request=OWN)
        stream.feed(LEAK)
        return stream.bits

    jobs: list[Callable[[random.Random], object]] = [
        streamed,
        failed,
        left,
        lambda _: scanner.scan(LEAK, HTML),
        lambda _: scanner.scan(PAGE),
        lambda _: scanner.scan(BIG, HTML),
        lambda _: scanner.scan(LEAK, HTML, headers=[("Server", "x")], request=OWN),
        lambda _: scanner.scan_many([LEAK, PAGE] * 8, threads=1, content_type=HTML),
        lambda _: overread.Scanner(overread.Ruleset.default()).scan(PAGE, HTML),
    ]
    want = [job(random.Random(0)) for job in jobs]
    counts = [0] * THREADS
    wrong: list[str] = []
    stop = threading.Event()

    def work(number: int) -> None:
        rng = random.Random(number)
        while not stop.is_set() and not wrong:
            at = rng.randrange(len(jobs))
            try:
                if jobs[at](rng) != want[at]:
                    wrong.append(f"job {at} gave another result")
            except Exception as e:
                wrong.append(f"job {at}: {e!r}")
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    time.sleep(max(1.0, seconds / 5))
    early = resident()
    time.sleep(seconds * 4 / 5)
    late = resident()
    stop.set()
    for thread in threads:
        thread.join(60)
    print(f"{sum(counts):,} jobs on {THREADS} threads in {seconds:g} s; memory {early >> 10:,} KiB, then {late >> 10:,} KiB")
    if late - early > MAY_GROW:
        wrong.append(f"memory grew by {(late - early) >> 10:,} KiB")
    for line in wrong:
        print(line, file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(float(sys.argv[1])))
