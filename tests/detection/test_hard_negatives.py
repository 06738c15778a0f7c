"""No clean response alarms, however much it looks like a leak."""

import os
import random
from collections.abc import Callable

import pytest

import overread

from .hard_negatives import DOCUMENT, NEGATIVES, Negative, instances, redrawn
from .material import HTML, WORDS, scan

CLEAN_MIB = int(os.environ.get("OVERREAD_CLEAN_MIB", "256"))  # make test-full feeds more than 4 GiB


@pytest.fixture(scope="module")
def scanner() -> overread.Scanner:
    """The shipped rules."""
    return overread.Scanner()


@pytest.mark.parametrize("negative", NEGATIVES, ids=lambda n: n.id)
def test_no_clean_response_alarms(scanner: overread.Scanner, negative: Negative, record_property: Callable[[str, object], None]) -> None:
    verdicts = [scan(scanner, r) for r in instances(negative)]
    record_property("bits", max(v.bits for v in verdicts))
    for r, v in zip(instances(negative), verdicts, strict=True):
        assert v.bits < (14 if negative.silent else 22), (r.content_type, v.explain())


@pytest.mark.parametrize("negative", NEGATIVES, ids=lambda n: n.id)
def test_no_stream_of_one_is_frozen_on_the_way(scanner: overread.Scanner, negative: Negative) -> None:
    # A filter acts on what it has seen so far: bits that only a later byte takes back would already have stopped the body.
    for r in list(instances(negative))[:4]:
        stream = scanner.stream(r.content_type, status=r.status, reason=r.reason, headers=r.headers, request=r.request)
        for at in range(0, len(r.body), 19):
            stream.feed(r.body[at : at + 19])
            assert stream.bits < 22
        assert stream.finish() == scan(scanner, r)


def test_a_second_head_is_worth_what_its_lines_are(scanner: overread.Scanner) -> None:
    # Documentation and saved exchanges show both: a level of its own would count one cause twice.
    page = "<!DOCTYPE html><p>A page of text that goes on for a while.</p>\r\n%s<p>More of it.</p>"
    lines = "Server: nginx\r\nContent-Type: text/html\r\nSet-Cookie: theme=dark\r\n"
    with_lines = scanner.scan((page % lines).encode(), HTML)
    with_head = scanner.scan((page % f"HTTP/1.1 200 OK\r\n{lines}\r\n<html>").encode(), HTML)
    assert with_lines.bits == with_head.bits
    assert with_head.tier == "weak"


def test_kinds_are_named_once_and_differ_from_seed_to_seed() -> None:
    assert len({n.id for n in NEGATIVES}) == len(NEGATIVES) > 60
    for n in NEGATIVES:
        assert len({r.body for r in instances(n)}) >= 2, n.id


def test_bits_do_not_grow_with_clean_text(scanner: overread.Scanner) -> None:
    rng = random.Random(1)
    words = [w.encode() for w in WORDS] + [
        "Größe".encode(),
        "東京".encode(),
        b"session",
        b"Cookie",
        b"HTTP/1.1",
        b"Bearer",
        b"<p>",
        b"&amp;",
        b"{",
        b'"',
        b"\r\n",
    ]
    block = b" ".join(rng.choices(words, k=1 << 21))[: 1 << 23]
    while block[-1] >= 0x80:
        block = block[:-1]
    stream = scanner.stream(HTML)
    size, fed = CLEAN_MIB << 20, 0
    while fed < size:
        # Another order of pieces each time round.
        cut = rng.randrange(1, len(block))
        while block[cut] & 0xC0 == 0x80:
            cut -= 1
        stream.feed(block[cut:])
        stream.feed(block[:cut])
        fed += len(block)
    verdict = stream.finish()
    assert verdict.body_bytes >= size
    assert (verdict.bits, verdict.tier, verdict.findings) == (0, "none", ())


def test_the_committed_table_is_what_the_scanner_says() -> None:
    assert DOCUMENT.read_text() == redrawn(), "redraw it: python -m tests.detection.hard_negatives"
