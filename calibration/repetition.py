"""False alarms of what compares responses, on clean traffic that repeats: ``python -m calibration.repetition CORPUS``.

The corpus' clean bodies are a site's objects: each has a path of its package's and a popularity of Zipf's law, and in two runs of
four all but its first fetch come out of a cache. Counted are folders that alarm in a day though nothing leaked, how many leaking
responses it takes, and the same for traffic with as many new signs as the law allows and for a folder in a wrong charset. Sameness:
how often leaks begin alike. Twins: alarms under ETags that hold, and of origins whose ETags do not. Last, what it costs.

CORPUS is a folder whose ``load.py`` gives ``clean()`` and ``leaks()``, as ``make evaluate`` takes it. Seeded.
"""

from __future__ import annotations

import collections
import importlib.util
import json
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import overread

REQUESTS = 60_000  # of one run
OBJECT_BYTES = 40_000  # larger bodies are left out: what repeats is counted by responses


@dataclass(frozen=True, slots=True)
class Object:
    """A body and where it is asked for."""

    path: str
    content_type: str
    body: bytes


def load(folder: str) -> ModuleType:
    """The corpus' module."""
    spec = importlib.util.spec_from_file_location("load", Path(folder) / "load.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def respond(scanner: overread.Scanner, policy: overread.Policy, o: Object, headers: Sequence[tuple[str, str]] = ()) -> overread._stream.Filter:
    """One response, whole."""
    request = overread.Request("GET", o.path, [("Host", "shop.example")])
    f = scanner.filter(policy, o.content_type, headers=headers, request=request)
    f.body(o.body)
    f.end()
    return f


def zipf(rng: random.Random, n: int, requests: int) -> Iterator[int]:
    """Numbers of objects, the first asked for most."""
    order = list(range(n))
    rng.shuffle(order)
    weights = [1 / rank for rank in range(1, n + 1)]
    return iter(rng.choices(order, weights, k=requests))


def repetition(objects: list[Object], leaks: list[Object], seed: int, cached: bool) -> None:
    """A day of clean traffic, then leaks among it."""
    rng = random.Random(seed)
    scanner, policy = overread.Scanner(), overread.Policy("monitor", watch=("repetition",))
    seen: set[int] = set()
    alarms: list[dict[str, object]] = []
    events: collections.Counter[int] = collections.Counter()
    fresh = 0
    for i in zipf(rng, len(objects), REQUESTS):
        hit = cached and i in seen
        seen.add(i)
        fresh += not hit
        f = respond(scanner, policy, objects[i], [("X-Cache", "HIT")] if hit else ())
        for t in (8, 10, 12, 14):
            events[t] += f.verdict().bits >= t and not hit
        if f.repeated:
            alarms.append(json.loads(f.event("x", target=objects[i].path)))
    folders = {o.path.rsplit("/", 1)[0] for o in objects}
    what = "cache in front" if cached else "no cache"
    print(f"repetition, seed {seed}, {what}: {REQUESTS} responses, {fresh} fresh, of {len(seen)} objects in {len(folders)} folders;", end=" ")
    print(f"responses of 8, 10, 12, 14 bits: {[events[t] for t in (8, 10, 12, 14)]}; {len(alarms)} alarms")
    for a in alarms:
        print("  ", a["path"], a["repetition"], a["content_class"])
    print("  leaks until the alarm, on a path of the same traffic:", end=" ")
    rng.shuffle(leaks)
    until: list[int] = []
    for trial in range(20):
        o = objects[rng.randrange(len(objects))]
        for n, leak in enumerate(leaks[trial * 40 : trial * 40 + 40], 1):
            if respond(scanner, policy, Object(f"/leaking{trial}/{o.path.rsplit('/', 1)[1]}", leak.content_type, leak.body)).repeated:
                until.append(n)
                break
    print(f"{len(until)} of 20 trials alarm, after {sorted(until)} leaking responses")


def as_the_law_allows(seed: int) -> None:
    """Traffic with as many new signs as their weight says, and not one more."""
    rng = random.Random(seed)
    scanner, policy = overread.Scanner(), overread.Policy("monitor", watch=("repetition",))
    page = b"<!DOCTYPE html>\n" + b"<p>A line of an ordinary page of text.</p>\n" * 20

    def body(number: int) -> bytes:
        return page + b"\xff\xfe" + str(number).encode() + page

    bits = overread.Scanner().scan(body(0), "text/html; charset=utf-8").bits
    folders, each = 200, 2000
    alarms = signs = 0
    for folder in range(folders):
        for i in range(each):
            shows = rng.random() < 2**-bits
            signs += shows
            o = Object(f"/folder{folder}/page", "text/html; charset=utf-8", body(folder * each + i) if shows else page)
            alarms += respond(scanner, policy, o).repeated
    print(f"repetition, as the law allows: {signs} new signs of {bits:.2f} bits in {folders * each} responses of {folders} folders; {alarms} alarms")


def wrong_charset(objects: list[Object], legacy: list[Object], seed: int) -> None:
    """The known cause of false alarms: a folder whose many pages all break the law for one reason."""
    rng = random.Random(seed)
    scanner, policy = overread.Scanner(), overread.Policy("monitor", watch=("repetition",))
    until = 0
    for n, o in enumerate(legacy, 1):
        for i in rng.choices(range(len(objects)), k=50):
            respond(scanner, policy, objects[i])
        if respond(scanner, policy, Object(f"/legacy/{n}", "text/html; charset=utf-8", o.body)).repeated:
            until = n
            break
    print(f"repetition, pages of one folder in Latin-1 called UTF-8: {f'alarm at page {until}' if until else 'no alarm'} of {len(legacy)}")


def sameness(objects: list[Object], leaks: Iterable[tuple[dict[str, Any], bytes]]) -> None:
    """How often windows of memory begin alike: what a leak must do eight times in a row, over an hour, to be taken for published text."""
    scanner = overread.Scanner(hold=0)
    begins: collections.Counter[bytes] = collections.Counter()
    shown = 0
    for row, body in leaks:
        v = scanner.scan(body, row["content_type"])
        shown += v.tier != "none"
        if v.tier != "none" and [t.group for t in v.terms] == ["raw"]:
            first = next(f.offset for f in v.findings if f.family == "raw")
            begins[body[first : first + 48]] += 1
    print(f"sameness: {begins.total()} of {shown} leaks from tier weak on show raw bytes alone")
    for varied in (1, 8):
        some = [k for begin, k in begins.items() if len(set(begin)) >= varied]
        alike, n = sum(k * (k - 1) // 2 for k in some), sum(some)
        print(f"  of {n} whose first 48 bytes are of {varied} values or more, {alike} of {n * (n - 1) // 2} pairs begin alike")
    tiers = collections.Counter(scanner.scan(o.body, o.content_type).tier for o in objects)
    print(f"  clean objects by tier: {dict(tiers)}")


def twins(objects: list[Object], seed: int) -> None:
    """Origins with ETags that hold, and with such that do not."""
    rng = random.Random(seed)
    objects = [o for o in objects if len(o.body) >= 1024]

    def edit(body: bytes, n: int) -> bytes:
        at = rng.randrange(len(body))
        return body[:at] + rng.randbytes(n).hex()[:n].encode() + body[at + n :]

    def insert(body: bytes, n: int) -> bytes:
        at = rng.randrange(len(body))
        return body[:at] + rng.randbytes(n).hex()[:n].encode() + body[at:]

    origins: dict[str, Callable[[bytes], bytes]] = {
        "ETag holds": lambda b: b,
        "size and time, edited within the second": lambda b: edit(b, 12),
        "of a row, while the page around it changes (a counter, a token)": lambda b: insert(edit(edit(b, 40), 6), 1),
        "of a row, rewritten": lambda b: rng.randbytes(len(b) + rng.randrange(-200, 200)),
        "kept while lines are put in": lambda b: insert(b, rng.randrange(16, 200)),
        "kept while a log grows": lambda b: b + rng.randbytes(rng.randrange(8, 100)).hex().encode(),
    }
    for name, change in origins.items():
        scanner, policy = overread.Scanner(), overread.Policy("monitor", watch=("twins",))
        alarms: collections.Counter[str] = collections.Counter()
        bits: list[float] = []
        n = 0
        # A site whose other objects are in order, and of whose last hundred the ETag is what the name says.
        for part, changed in ((objects[100:1100], False), (objects[:100], True)):
            for _ in range(2):
                for o in part:
                    body = change(o.body) if changed and _ else o.body
                    n += bool(changed and _)
                    f = respond(scanner, policy, Object(o.path, "application/octet-stream", body), [("ETag", '"1"'), ("Content-Length", str(len(body)))])
                    if f.wants_event and "twin" in (event := json.loads(f.event("x"))):
                        alarms[event["twin"]["is"]] += 1
                        bits += [t.bits for t in f.verdict().terms if t.group == "framing"]
        most = f"; bits {bits[0]:.1f} at first, {bits[-1]:.1f} at last" if bits else ""
        print(f"twins, {name}: {dict(alarms)} of {n} changed{most}")


def cost() -> None:
    """Nanoseconds a byte that twins add, interleaved, best of rounds."""
    body = b"<p>An ordinary line of an ordinary page of text.</p>\n" * 20_000
    o = Object("/page", "text/html; charset=utf-8", body)
    headers = [("ETag", '"1"'), ("Content-Length", str(len(body)))]
    scanner = overread.Scanner()
    best: dict[tuple[str, ...], float] = {}
    for _ in range(40):
        for watch in ((), ("repetition", "sameness"), ("twins",)):
            policy = overread.Policy("monitor", watch=watch)
            begin = time.perf_counter()
            respond(scanner, policy, o, headers)
            best[watch] = min(best.get(watch, 1e9), time.perf_counter() - begin)
    plain = best[()]
    added = [f"{'+'.join(w)} {(s - plain) / len(body) * 1e9:+.3f} ns a byte" for w, s in best.items() if w]
    print(f"cost: scanning {plain / len(body) * 1e9:.3f} ns a byte;", "; ".join(added))


def main() -> int:
    """Command line; 2 when no corpus is named."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    corpus = load(sys.argv[1])
    objects, legacy = [], []
    for i, (row, body) in enumerate(corpus.clean()):
        if len(body) <= OBJECT_BYTES:
            package = row["source"].replace("/", "-")
            objects.append(Object(f"/{package}/{row['content_class']}/{i}", row["content_type"], body))
        if row["content_class"] == "latin1":
            legacy.append(Object("", "", body))
    leaks = []
    for row, body in corpus.leaks():
        if row["window_len"] >= 256 and row["content_type"].startswith("text/html") and len(body) <= 4 * OBJECT_BYTES:
            leaks.append(Object("", row["content_type"], body))
    for cached in (False, True):
        for seed in (1, 2):
            repetition(objects, leaks, seed, cached)
    as_the_law_allows(1)
    wrong_charset(objects, legacy, 1)
    sameness(objects, corpus.leaks())
    twins(objects, 1)
    cost()
    return 0


if __name__ == "__main__":
    sys.exit(main())
