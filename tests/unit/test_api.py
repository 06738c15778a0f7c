"""The Python API: types, buffers, errors, threads, and that no scanned byte ever shows."""

import array
import copy
import dataclasses
import itertools
import json
import mmap
import pickle
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import overread

SECRET = "Zk3Yx8QmZr7LwPvB2nHs5TdJ"
POINTERS = b"".join(p.to_bytes(8, "little") for p in (0x7F34E1D2A010, 0x7F34E1D2A460, 0x561BE55C3E00, 0x21))
PAGE = b"<html><body>" + b"<p>An ordinary paragraph of an ordinary page.</p>\n" * 60
HEADERS = (
    f"Cookie\0 session={SECRET}; theme=dark\0\nAuthorization\0 Bearer {SECRET}\0\n\r\nCookie: session={SECRET}\r\nReferer: https://a.example/\r\n".encode()
)
LEAK = PAGE + POINTERS + HEADERS + b"\xff\xfe\x01\x02 and the page goes on " * 30
HTML = "text/html; charset=utf-8"


@pytest.fixture(params=overread.kernels())
def scanner(request: pytest.FixtureRequest) -> overread.Scanner:
    """A scanner on every usable kernel."""
    made = overread.Scanner(kernel=request.param)
    assert made.kernel == request.param
    return made


def test_leak_is_found_and_clean_page_is_silent(scanner: overread.Scanner) -> None:
    verdict = scanner.scan(LEAK, HTML)
    assert verdict.leaked
    assert verdict.tier in ("strong", "certain")
    assert verdict.bits >= 22
    assert verdict.first_offset is not None
    assert len(PAGE) <= verdict.first_offset <= len(PAGE) + 64
    assert {"raw.mixed", "http.cookie"} <= {f.rule for f in verdict.findings}
    clean = scanner.scan(PAGE, HTML)
    assert (clean.bits, clean.tier, clean.findings, clean.first_offset) == (0, "none", (), None)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda b: array.array("B", b)])
def test_any_contiguous_buffer(scanner: overread.Scanner, wrap: type) -> None:
    assert scanner.scan(wrap(LEAK), HTML).leaked


def test_mmap(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(LEAK)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        assert overread.Scanner().scan(view, HTML).leaked


def test_wrong_types_have_clear_errors() -> None:
    scanner = overread.Scanner()
    with pytest.raises(TypeError, match="encode"):
        scanner.scan("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        scanner.scan(None)  # type: ignore[arg-type]
    with pytest.raises(BufferError):
        scanner.scan(memoryview(b"abcdef")[::2])
    with pytest.raises(TypeError, match="Request"):
        scanner.scan(b"", request={"method": "GET"})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="header"):
        scanner.scan(b"", headers=[("a", 1)])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="Ruleset"):
        overread.Scanner("rules")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="threshold"):
        overread.Scanner(threshold=0)
    with pytest.raises(overread.KernelError, match="scalar"):
        overread.Scanner(kernel="sse9")
    with pytest.raises(overread.KernelError, match="é"):  # the message is cut, perhaps in mid-character
        overread.Scanner(kernel="é" * 200)
    with pytest.raises(overread.BlobError, match="truncated"):
        overread.Ruleset.load(b"OVRBLOB1")
    with pytest.raises(overread.ConfigError, match="mode"):
        overread.Policy(mode="on")


def test_stream_after_finish_is_an_error() -> None:
    stream = overread.Scanner().stream()
    assert stream.finish().bits == 0
    for use in (lambda: stream.feed(b"x"), stream.flush, stream.finish):
        with pytest.raises(overread.StreamFinishedError):
            use()
    with pytest.raises(TypeError):
        overread.Stream()


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, len(LEAK)), max_size=12), tail=st.binary(max_size=400))
def test_any_split_gives_the_same_verdict(cuts: list[int], tail: bytes) -> None:
    scanner = overread.Scanner()
    body = LEAK + tail
    whole = scanner.scan(body, HTML)
    stream = scanner.stream(HTML)
    edges = [0, *sorted(cuts), len(body)]
    last = 0
    for a, b in itertools.pairwise(edges):
        released = stream.feed(body[a:b])
        assert last <= released <= b
        last = released
    assert stream.finish() == whole


@pytest.mark.parametrize("end", [b"\r\nmore", b"\0more", b"\nmore"])
def test_the_longest_header_value_ends_where_it_ends_in_any_chunks(end: bytes) -> None:
    # 512 bytes of a value are read: what follows them decides the line's weight even when it comes in the next chunk.
    body = PAGE + b"\nX-Api-Key: " + b"k" * 512 + end
    scanner = overread.Scanner()
    want = scanner.scan(body, HTML)
    for cut in range(len(body) - len(end) - 1, len(body) - len(end) + 3):
        stream = scanner.stream(HTML)
        stream.feed(body[:cut])
        stream.feed(body[cut:])
        assert stream.finish() == want, cut


def test_hold_keeps_the_start_of_a_leak() -> None:
    stream = overread.Scanner().stream(HTML)
    for at in range(0, len(LEAK), 512):
        released = stream.feed(LEAK[at : at + 512])
        if stream.leaked:
            break
    assert stream.leaked
    assert released == 0
    flows = overread.Scanner().stream("text/event-stream")
    assert flows.feed(b"data: x\n\n") == 9


def test_flush_releases_what_is_not_open() -> None:
    stream = overread.Scanner().stream(HTML)
    assert stream.feed(PAGE) == 0
    assert stream.flush() == len(PAGE)
    open_match = b"\r\nCookie: session=abc"
    stream.feed(open_match)
    assert stream.flush() == len(PAGE) + 2


def test_own_request_is_exempt() -> None:
    scanner = overread.Scanner()
    own = overread.Request("GET", "/echo", [("Cookie", f"session={SECRET}")])
    echo = f"x\r\nCookie: session={SECRET}\r\n".encode()
    assert scanner.scan(echo, "text/plain", request=own).bits == 0
    assert scanner.scan(echo, "text/plain").bits > 0
    foreign = echo.replace(b"Zk3Y", b"Qq4X")
    assert scanner.scan(echo + foreign, "text/plain", request=own).bits == scanner.scan(foreign, "text/plain").bits


def test_heads_are_scanned() -> None:
    scanner = overread.Scanner()
    verdict = scanner.scan(b"", headers=[("Allow", "GET,HEAD,OPTIONS,,HEAD,:09:44 GMT")])
    assert [(f.rule, f.part, f.name) for f in verdict.findings] == [("place.head-list", "header", "Allow")]
    verdict = scanner.scan(b"", reason="Illegal character \\x00\\x00\\x00")
    assert [(f.rule, f.part) for f in verdict.findings] == [("place.head-reason", "status")]


def test_nothing_shows_a_scanned_byte() -> None:
    scanner = overread.Scanner()
    request = overread.Request("GET", f"/?q={SECRET}", [("Cookie", SECRET)], SECRET.encode())
    stream = scanner.stream(HTML, request=request)
    stream.feed(LEAK)
    verdict = stream.finish()
    shown = "".join([repr(scanner), repr(stream), repr(verdict), repr(request), verdict.explain(), json.dumps(verdict.to_dict()), repr(verdict.findings)])
    for at in range(len(SECRET) - 5):
        assert SECRET[at : at + 6] not in shown


def test_scanner_is_shared_by_threads() -> None:
    scanner = overread.Scanner()
    want = scanner.scan(LEAK, HTML)
    wrong: list[object] = []

    def work() -> None:
        wrong.extend(v for v in (scanner.scan(LEAK, HTML) for _ in range(50)) if v != want)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not wrong


def test_scan_many_keeps_the_order() -> None:
    scanner = overread.Scanner()
    bodies = [LEAK if i % 7 == 0 else PAGE for i in range(50)]
    got = scanner.scan_many(bodies, threads=2, content_type=HTML)
    assert got == [scanner.scan(b, HTML) for b in bodies]
    assert scanner.scan_many([], threads=2) == []


def test_scan_many_wants_a_thread_and_drops_nothing_on_errors() -> None:
    scanner = overread.Scanner()
    for threads in (0, -1):
        with pytest.raises(ValueError, match="threads must be at least 1"):
            scanner.scan_many([PAGE], threads=threads)
    body = bytearray(LEAK)
    with pytest.raises(TypeError, match="encode"):
        scanner.scan_many([body, "text"], threads=1)  # type: ignore[list-item]
    body.append(0)  # the buffer is free again
    assert scanner.scan_many([LEAK] * 3, threads=1, content_type=HTML) == [scanner.scan(LEAK, HTML)] * 3


def test_a_stream_used_again_remembers_nothing() -> None:
    # Scans and closed streams give their memory to the next one of the scanner: no state may go with it.
    scanner = overread.Scanner()
    own = overread.Request("GET", "/", [("Cookie", f"session={SECRET}")])
    calls = [
        lambda: scanner.scan(LEAK, HTML),
        lambda: scanner.scan(PAGE, HTML),
        lambda: scanner.scan(LEAK, HTML, request=own),
        lambda: scanner.scan(b"", headers=[("Allow", "GET,HEAD,,HEAD,:09:44 GMT")]),
        lambda: scanner.scan(LEAK),
        lambda: scanner.scan(LEAK[:-400], "text/event-stream"),
        lambda: scanner.scan(PAGE + b"\r\nCookie: ses", HTML),
        lambda: scanner.scan(b"\x89PNG\r\n\x1a\n" + LEAK, "image/png"),
    ]
    want = [call() for call in calls]
    for first, second in itertools.product(range(len(calls)), repeat=2):
        scanner.stream(HTML).feed(LEAK)  # left unfinished
        assert (calls[first](), calls[second]()) == (want[first], want[second])


def test_more_streams_than_are_kept() -> None:
    scanner = overread.Scanner()
    want = scanner.scan(LEAK, HTML)
    for _ in range(2):
        streams = [scanner.stream(HTML) for _ in range(40)]
        for stream in streams:
            stream.feed(LEAK)
        assert all(stream.finish() == want for stream in streams)
        del streams, stream
    assert scanner.scan(LEAK, HTML) == want


def test_a_failed_call_leaves_scanner_and_stream_usable() -> None:
    scanner = overread.Scanner()
    stream = scanner.stream(HTML)
    for _ in range(3):
        with pytest.raises(TypeError):
            stream.feed("text")  # type: ignore[arg-type]
        with pytest.raises(BufferError):
            stream.feed(memoryview(b"abcdef")[::2])
        with pytest.raises(BufferError):
            scanner.scan(memoryview(b"abcdef")[::2], HTML)
        with pytest.raises(TypeError, match="content_type"):
            scanner.scan(b"", 7)  # type: ignore[arg-type]
    stream.feed(LEAK)
    assert stream.finish() == scanner.scan(LEAK, HTML)


def test_a_stream_in_use_says_so() -> None:
    stream = overread.Scanner().stream(HTML)
    with mmap.mmap(-1, 1 << 26) as big:
        big[:] = (PAGE * (len(big) // len(PAGE) + 1))[: len(big)]
        feeding = threading.Thread(target=lambda: [stream.feed(big) for _ in range(10)])
        feeding.start()
        seen = set()
        while feeding.is_alive():
            assert "overread.Stream" in repr(stream)
            for use in (lambda: stream.bits, lambda: stream.leaked, lambda: stream.tier, stream.flush, lambda: stream.feed(b"x")):
                try:
                    use()
                except RuntimeError as e:
                    seen.add(str(e))
        feeding.join(60)
    assert any("another thread" in message for message in seen)
    assert stream.bits >= 0


def test_verdicts_are_plain_frozen_data() -> None:
    for body in (PAGE, LEAK):
        verdict = overread.Scanner().scan(body, HTML)
        # Made without the constructor: must still be equal to one made with it.
        assert overread.Verdict(*(getattr(verdict, f.name) for f in dataclasses.fields(verdict))) == verdict
        assert pickle.loads(pickle.dumps(verdict)) == copy.deepcopy(verdict) == verdict
        assert hash(verdict) == hash(copy.deepcopy(verdict))
        assert (type(verdict.leaked), type(verdict.bits), type(verdict.body_bytes)) == (bool, float, int)
        with pytest.raises(dataclasses.FrozenInstanceError):
            verdict.bits = 0  # type: ignore[misc]


@pytest.mark.parametrize(
    "text", ["text/html; charset=utf-8", b"text/html; charset=utf-8", "text/html; charset=utf-8; x=\xe9", "text/html; charset=utf-8; x=\u4e00"]
)
def test_a_content_type_is_text_of_any_kind(text: str | bytes) -> None:
    verdict = overread.Scanner().scan(LEAK, text)
    assert (verdict.content_class, verdict.leaked) == ("html", True)
    assert verdict.bits == overread.Scanner().scan(LEAK, headers=[("Content-Type", text)]).bits


def test_offsets_beyond_4_gib() -> None:
    size = 1 << 26
    stream = overread.Scanner().stream(HTML)
    with mmap.mmap(-1, size) as page:
        page[:] = (PAGE * (size // len(PAGE) + 1))[:size]
        for _ in range(65):
            released = stream.feed(page)
    assert released == 65 * size - 16384
    stream.feed(LEAK)
    verdict = stream.finish()
    assert verdict.leaked
    assert verdict.body_bytes == 65 * size + len(LEAK) > 1 << 32
    assert verdict.first_offset is not None
    assert 0 <= verdict.first_offset - (65 * size + len(PAGE)) <= 64
    assert all(f.offset > 1 << 32 for f in verdict.findings if f.part == "body")


def test_ruleset_and_kernels() -> None:
    rules = overread.Ruleset.default()
    assert len(rules) >= 40
    assert {r["family"] for r in rules.rules} == {"raw", "http", "secret", "place", "foreign"}
    assert overread.kernel() in overread.kernels()


def test_a_budget_sets_the_bits() -> None:
    policy = overread.Policy("enforce", budget=1, responses_per_day=100e6)
    assert round(policy.block_bits) == 35
    assert policy.block_bits == overread.block_bits(1, 100e6)
    assert overread.block_bits(1, 10) == 22  # never below tier strong
    assert overread.block_bits(2, 100e6) == pytest.approx(policy.block_bits - 1)
    assert (overread.Policy().block_bits, overread.Policy(block_from="strong").block_bits) == (30, 22)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"budget": 1}, "responses_per_day: found nothing"),
        ({"responses_per_day": 1}, "budget: found nothing"),
        ({"budget": 0, "responses_per_day": 1}, "budget: found 0, expected a number above 0"),
        ({"budget": 1, "responses_per_day": float("inf")}, "responses_per_day: found inf"),
        ({"budget": float("nan"), "responses_per_day": 1}, "budget: found nan"),
    ],
)
def test_a_bad_budget_is_a_config_error(settings: dict[str, float], says: str) -> None:
    with pytest.raises(overread.ConfigError, match=says):
        overread.Policy(**settings)  # type: ignore[arg-type]


def test_memory_behind_a_short_json_document_needs_no_text_before_it() -> None:
    memory = b"".join((0x7F1234560000 + 48 * i).to_bytes(8, "little") + b"\xff\x03\0\0\0\0\0\0" for i in range(20))
    short, inside = b'{"ok":true}' + memory, b'{"ok":"' + memory + b'"}'
    assert overread.Scanner().scan(short, "application/json").leaked
    assert not overread.Scanner().scan(inside, "application/json").leaked
    assert not overread.Scanner().scan(memory + short, "application/json").leaked


@pytest.mark.parametrize("gap", range(440, 522, 9))
def test_raw_regions_end_at_the_same_byte_however_the_body_is_cut(gap: int) -> None:
    """Units that show nothing new are passed over by their last control byte: a text between two regions must not hide in one."""
    memory = b"\x01\0\0\0\0\xff" + (0x7F12_3456_7810).to_bytes(8, "little") + (0x7F12_3456_7890).to_bytes(8, "little")
    body = b"<!DOCTYPE html>" + b"a" * 200 + memory + b"b" * gap + b"\x02" + b"c" * 58 + b"\x03\0" + b"d" * 30 + memory + b"e" * gap + b"\xff\0"
    scanner = overread.Scanner()
    whole = [(f.rule, f.offset, f.length) for f in scanner.scan(body, "text/html").findings]
    for size in (1, 7, 63, 64, 65, 200):
        stream = scanner.stream("text/html")
        for at in range(0, len(body), size):
            stream.feed(body[at : at + size])
        assert [(f.rule, f.offset, f.length) for f in stream.finish().findings] == whole
