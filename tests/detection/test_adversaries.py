"""Two kinds of enemy: visitors who plant text to raise alarms (and so switch us off), and thieves who hide a leak they cause.

docs/detection.md, section Adversaries, says in words what is asserted here.
"""

import html
import json
import random
import re
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, target
from hypothesis import strategies as st

import overread
from overread.cli import main

from .material import HTML, JSON, TEXT, XML, document, github, heap, jwt, page, stranger, text, token

SCANNER = overread.Scanner()
RNG = random.Random(7)
WHO = stranger(RNG)

# Everything that is worth bits, as characters that a visitor can type or paste. Pointers among them have all bytes below 0x80.
LOW_POINTERS = b"".join(struct.pack("<Q", 0x7F34_2105_0000 | low) for low in (0x1008, 0x1048, 0x2018)).decode("ascii")
SNIPPETS = (
    WHO.lines().decode(),
    WHO.lines("\n").decode(),
    WHO.parsed().decode(),
    WHO.form().decode(),
    "\r\nHTTP/1.1 200 OK\r\nSet-Cookie: session=" + WHO.session + "; HttpOnly\r\n\r\n",
    "\r\nGET /inbox HTTP/1.1\r\nHost: mail.example\r\n",
    "\nCookie\0 session=" + WHO.session + "\0\nAuthorization\0 Bearer " + jwt(RNG) + "\0\n",
    " " + jwt(RNG) + " ",
    " " + github(RNG) + " ",
    "-----BEGIN PRIVATE KEY-----\n" + token(RNG, 64) + "\n" + token(RNG, 64) + "\n",
    "\\x00" * 40 + "%00" * 40 + "\\u0000" * 40 + "&#0;" * 40,
    "\ufffd" * 60,
    "\0" * 16,
    "\0" * 600,
    "\x01\x02\x03\x7f",
    "\0\x01\0\0\0\x02\0\0\0\0\0\0\0!",
    LOW_POINTERS,
    LOW_POINTERS * 4 + WHO.lines().decode(),
    "\u0080\u009f\u00ff\u0100\u0800\uffff\U0010ffff",
    "</html>",
    "</html>\n" + WHO.lines().decode() + "\0" * 16,
    "kkkkkkkkkkkkkkkkZZZZZZZZZZZZZZZZ\u07fe",
    "PK\x03\x04",
    "x" * 600 + "\n",
)
PIECES = st.one_of(st.sampled_from(SNIPPETS), st.text(max_size=40))
PLANTED = st.lists(PIECES, min_size=1, max_size=14).map("".join)


def comment(planted: str) -> bytes:
    """A page that escapes what visitors write and keeps their line ends."""
    return page(random.Random(1), inside=b"<blockquote>" + html.escape(planted).encode("utf-8", "surrogatepass") + b"</blockquote>\n")


def textarea(planted: str) -> bytes:
    """An editor's page: line ends are CRLF, as forms send them."""
    return comment(re.sub("\r?\n", "\r\n", planted))


def api(planted: str) -> bytes:
    """A JSON encoder escapes control characters (RFC 8259, section 7)."""
    return json.dumps({"items": [{"id": 1, "text": planted}], "next": None}, ensure_ascii=False).encode("utf-8", "surrogatepass")


def feed(planted: str) -> bytes:
    """An XML writer that escapes markup and lets control characters through."""
    return b'<?xml version="1.0"?>\n<feed>' + b"<entry>one of many</entry>\n" * 40 + html.escape(planted).encode("utf-8", "surrogatepass") + b"</feed>\n"


def upload(planted: str) -> bytes:
    """A text file somebody stored, served as it is."""
    return text(random.Random(2), 700) + planted.encode("utf-8", "surrogatepass") + text(random.Random(3), 200)


def events(planted: str) -> bytes:
    """Chat messages as an event stream, unescaped."""
    return b"data: hello\n\n" * 60 + b"data: " + planted.encode("utf-8", "surrogatepass") + b"\n\n"


def shortened(planted: str) -> bytes:
    """Excerpts cut by bytes, as sites do that know no characters: every one may end in half a character."""
    raw = html.escape(planted + "東京東京").encode("utf-8", "surrogatepass")
    return page(random.Random(4), inside=b"".join(b"<p>" + raw[:n] + b"...</p>\n" for n in (len(raw) - 1, len(raw) - 2, len(raw) // 2)))


PLACES = {
    "comment": (comment, HTML),
    "textarea": (textarea, HTML),
    "comment, no charset": (comment, "text/html"),
    "comment, legacy charset": (comment, "text/html; charset=iso-8859-1"),
    "API": (api, JSON),
    "feed": (feed, XML),
    "drawing": (feed, "image/svg+xml"),
    "paste": (upload, TEXT),
    "paste, no charset": (upload, "text/plain"),
    "stored script": (upload, "text/javascript"),
    "stored style": (upload, "text/css"),
    "stored table": (upload, "text/csv; charset=utf-8"),
    "chat": (events, "text/event-stream"),
    "stored file": (upload, "application/octet-stream"),
}


def highest(body: bytes, content_type: str, step: int = 0) -> float:
    """Bits at the end, and on the way when ``step`` is given: a filter acts as soon as they are reached."""
    stream = SCANNER.stream(content_type)
    most = 0.0
    for at in range(0, len(body), step or len(body)):
        stream.feed(body[at : at + (step or len(body))])
        most = max(most, stream.bits)
    return max(most, stream.finish().bits)


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(planted=PLANTED)
def test_no_planted_text_alarms(place: str, planted: str) -> None:
    write, content_type = PLACES[place]
    bits = highest(write(planted), content_type, step=211)
    target(bits)
    assert bits < 22


@pytest.mark.parametrize("place", PLACES)
def test_everything_planted_at_once_does_not_alarm(place: str) -> None:
    write, content_type = PLACES[place]
    for seed in range(20):
        pieces = list(SNIPPETS)
        random.Random(seed).shuffle(pieces)
        assert highest(write("".join(pieces)), content_type, step=97) < 22
        assert highest(write("".join(pieces * 3)), content_type) < 22


@pytest.mark.parametrize("place", PLACES)
def test_clean_text_around_headers_and_credentials_stays_below_17(place: str) -> None:
    write, content_type = PLACES[place]
    clean = [s for s in SNIPPETS if s.isprintable() or not any(c < " " and c not in "\r\n\t" for c in s)]
    planted = "".join(clean).replace("</html>", "")
    assert highest(write(planted), content_type) < 22
    without_escapes = "".join(s for s in clean if "\\x00" not in s and "\ufffd" not in s).replace("</html>", "")
    assert highest(write(without_escapes), content_type) < 17.01


@settings(max_examples=60, deadline=None, derandomize=True)
@given(planted=PLANTED)
def test_no_shortened_text_alarms(planted: str) -> None:
    bits = highest(shortened(planted), HTML, step=211)
    target(bits)
    assert bits < 22


def test_an_echoed_parameter_does_not_alarm_and_exempts_nobody_else() -> None:
    query = WHO.lines().decode() + WHO.form().decode()
    own = overread.Request("GET", "/search?q=" + query, [("X-Note", query), ("Cookie", "session=" + token(RNG))], query.encode())
    assert SCANNER.scan(comment(query), HTML, request=own).bits < 22
    # A thief repeats header names, prefixes and guesses in the own request. What is not wholly a value of it keeps its weight.
    guesses = [("X-A", "Cookie: session="), ("X-B", "Authorization: Bearer "), ("X-C", WHO.session[:-1]), ("X-D", WHO.bearer[1:]), ("X-E", "\r\nCookie: ")]
    thief = overread.Request("GET", "/?q=" + "Cookie%3A%20session%3D" + "A" * 400, guesses, b"session=" * 200)
    leak = page(RNG, inside=heap(RNG, 900, WHO.lines()))
    assert SCANNER.scan(leak, HTML, request=thief).bits == SCANNER.scan(leak, HTML).bits >= 22


@pytest.mark.parametrize("magic", ["PK\x03\x04", "BZh\x01", "GIF89a\0", "\0asm", "ID3\x01", "OggS\0", "\x7fELF", "%PDF-1\x01", "wOF2\0"])
def test_a_planted_magic_does_not_hide_a_leak(magic: str) -> None:
    # It takes the credit for memory shapes away (a format may begin there), never the alarm for memory with headers in it.
    for gap in (24, 80, 700):
        body = page(RNG, inside=html.escape(magic).encode() + b"y" * gap + heap(RNG, 900, WHO.lines()) + b"</p>\n")
        assert SCANNER.scan(body, HTML).leaked, gap


TYPED = ("\0" * 16 + LOW_POINTERS).encode() + WHO.lines()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(page(RNG) + TYPED, HTML, id="uploaded HTML"),
        pytest.param(page(RNG, inside="Größe, naïve ".encode("latin-1") + TYPED), HTML, id="Latin-1 called UTF-8"),
        pytest.param(page(RNG, inside="東".encode()[1:] + TYPED), HTML, id="excerpt that begins in mid-character"),
    ],
)
def test_the_stated_limits(body: bytes, content_type: str) -> None:
    # Written down as not bounded; whoever bounds one of them takes it out there and here.
    assert SCANNER.scan(body, content_type).leaked


def test_half_a_character_among_control_bytes_was_not_typed() -> None:
    # Sizes and addresses hold such bytes. Before what a cut leaves stands the text that was cut, or behind it what the site adds.
    half = "é".encode()[:1]
    assert SCANNER.scan(page(RNG, inside=b"\0" * 9 + half + b"\1" + b"\0" * 8 + TYPED), HTML).leaked
    assert SCANNER.scan(page(RNG, inside=b"x" + half + b"\0" * 8 + TYPED), HTML).bits < 22
    assert SCANNER.scan(page(RNG, inside=TYPED + b"\0" + half + b"..."), HTML).bits < 22


def test_control_characters_in_json_count_as_typed() -> None:
    # An encoder escapes them; a program that pastes JSON together does not.
    inside = b'{"note": "' + b"x" * 200 + TYPED + b'"}'
    assert SCANNER.scan(inside, JSON).bits < 22


@pytest.mark.parametrize("typed", ["\x01", "\0", "\0\0\0\0\x02"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_an_echoed_control_character_in_the_title_hides_nothing(typed: str, bom: bytes) -> None:
    title = bom + b"<!DOCTYPE html><html><head><title>" + typed.encode() + b" - search</title></head><body>"
    leak = b"<p>An ordinary paragraph.</p>\n" * 100 + heap(RNG, 900, WHO.lines()) + b"</body></html>"
    assert SCANNER.scan(title + leak, HTML).bits == SCANNER.scan(title.replace(typed.encode(), b"q") + leak, HTML).bits >= 22


def test_an_echoed_control_character_at_the_start_of_a_script_hides_the_alarm() -> None:
    """Described in docs/detection.md: text that does not begin as markup passes for a binary file under a wrong type."""
    leak = b"callback({});\n" * 100 + heap(RNG, 900, WHO.lines())
    assert SCANNER.scan(b"/**/" + leak, "text/javascript").bits >= 22
    assert SCANNER.scan(b"/**/\x01" + leak, "text/javascript").tier == "weak"


def test_a_magic_right_before_the_leak_costs_the_alarm() -> None:
    assert SCANNER.scan(page(RNG, inside=b"PK\x03\x04" + heap(RNG, 900, WHO.lines()) + b"</p>\n"), HTML).tier == "weak"


LEAK = page(random.Random(5), 6000, inside=heap(random.Random(6), 3000, WHO.lines()) + b"</p>\n")
START = next(i for i, b in enumerate(LEAK) if b == 0)


@pytest.mark.parametrize("start", [0, 1000, START - 600, START - 100])
def test_a_range_that_begins_before_the_leak_shows_it(start: int) -> None:
    verdict = SCANNER.scan(LEAK[start:], HTML, status=206, headers=[("Content-Range", f"bytes {start}-{len(LEAK) - 1}/{len(LEAK)}")])
    assert verdict.leaked
    assert verdict.first_offset is not None
    assert abs(verdict.first_offset + start - START) <= 64


@pytest.mark.parametrize("start", [START - 20, START, START + 16])
def test_a_range_that_begins_inside_the_leak_is_weak_at_best(start: int) -> None:
    # Without text before it nothing tells the body from a binary file under a wrong type: the signs are reported, no alarm.
    verdict = SCANNER.scan(LEAK[start : start + 2000], HTML, status=206, headers=[("Content-Range", f"bytes {start}-{start + 1999}/{len(LEAK)}")])
    assert {"raw", "http"} <= {f.family for f in verdict.findings}
    assert verdict.tier == "weak"


def test_many_ranges_in_one_reply_show_header_lines_only() -> None:
    parts = b"".join(
        b"--b\r\nContent-Type: text/html\r\nContent-Range: bytes %d-%d/9\r\n\r\n" % (i, i + 999) + LEAK[i : i + 1000] + b"\r\n"
        for i in range(0, len(LEAK), 1000)
    )
    verdict = SCANNER.scan(parts + b"--b--\r\n", "multipart/byteranges; boundary=b", status=206)
    assert {f.family for f in verdict.findings} <= {"http", "secret"}
    assert 0 < verdict.bits < 14


# Names of codings the bytes do not have, and one that is not decoded.
@pytest.mark.parametrize("coding", ["gzip", "zstd", "x-own", "gzip, identity", "IDENTITY , zstd"])
def test_coded_bytes_are_not_judged_as_text(coding: str) -> None:
    rng = random.Random(coding)
    for content_type in (HTML, TEXT, JSON, XML, None):
        verdict = SCANNER.scan(text(rng, 300) + rng.randbytes(5000) + bytes(64), content_type, headers=[("Content-Encoding", coding)])
        assert (verdict.bits, verdict.content_class) == (0, "encoded")
    # Header lines are seen even there, at what they are worth among unknown bytes. The verdict says that no text was judged.
    verdict = SCANNER.scan(LEAK, HTML, headers=[("content-encoding", coding)])
    assert verdict.content_class == "encoded"
    assert {f.family for f in verdict.findings} <= {"http", "secret"}
    assert 0 < verdict.bits < 14


@pytest.mark.parametrize("coding", ["identity", "", " Identity ", "identity, identity"])
def test_no_coding_changes_nothing(coding: str) -> None:
    assert SCANNER.scan(LEAK, HTML, headers=[("Content-Encoding", coding)]) == SCANNER.scan(LEAK, HTML)


def test_framing_does_not_matter() -> None:
    # HTTP/1.0 without a length, chunked or with a length, even a false one: the bytes fed are what is judged.
    want = SCANNER.scan(LEAK, HTML)
    for head in ([], [("Connection", "close")], [("Transfer-Encoding", "chunked")], [("Content-Length", "17")], [("Content-Length", str(len(LEAK)))]):
        assert SCANNER.scan(LEAK, headers=[("Content-Type", HTML), *head]) == want
    untyped = SCANNER.scan(LEAK)
    assert untyped.leaked
    assert untyped.content_class == "html"


def test_trailers_are_judged_as_heads_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = document(RNG)
    memory = b"Allow: GET,,:09:44 GMT, " + WHO.session.encode()
    path = tmp_path / "saved"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    path.write_bytes(head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n" + memory + b"\r\n\r\n")
    assert main(["scan", str(path)]) == 0
    shown = "".join(capsys.readouterr())
    assert "trailer" in shown
    assert "place.head-list" in shown
    assert WHO.session not in shown
