"""Others' secrets that stand Huffman coded in a page, as HTTP/2 keeps them: docs/foreign-secrets.md."""

import random
import string
from collections.abc import Callable

import hpack
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given, settings
from hypothesis import strategies as st

import overread

from .test_registry import HEX, NOW, URLSAFE, Site, token

WORDS = b"some words of a plain page that tells of the weather in the city today and of nothing else at all "
UA = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def frame(fields: list[tuple[str, str]], encoder: hpack.Encoder | None = None, stream: int = 1) -> bytes:
    """A HEADERS frame (RFC 9113, section 6.2)."""
    block = (encoder or hpack.Encoder()).encode(fields)
    return len(block).to_bytes(3, "big") + b"\x01\x05" + stream.to_bytes(4, "big") + block


def request(*own: tuple[str, str]) -> list[tuple[str, str]]:
    return [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "shop.example"),
        (":path", "/orders/17?page=2"),
        ("user-agent", UA),
        ("accept", "text/html,application/xhtml+xml;q=0.9"),
        ("cookie", "theme=dark"),
        *own,
        ("sec-fetch-dest", "document"),
    ]


def html(raw: bytes) -> bytes:
    return b"<!DOCTYPE html><html><body><p>" + WORDS * 3 + raw + WORDS * 3 + b"</p></body></html>"


PAGES: dict[str, Callable[[bytes], bytes]] = {
    "text/html": html,
    "application/json": lambda raw: b'{"text": "' + WORDS * 3 + raw + WORDS * 3 + b'"}',
    "text/javascript": lambda raw: b'var text = "' + WORDS * 3 + raw + WORDS * 3 + b'";',
    "text/plain; charset=utf-8": lambda raw: WORDS * 3 + raw + WORDS * 3,
}


def foreign(verdict: overread.Verdict) -> list[overread.Finding]:
    return [f for f in verdict.findings if f.family == "foreign"]


@pytest.mark.parametrize("content_type", PAGES)
def test_a_session_in_a_header_block_is_anothers_and_not_its_owners(content_type: str) -> None:
    raw = frame(request(("cookie", f"session={token(1)}")))
    body = PAGES[content_type](raw)
    assert token(1).encode() not in body
    for owner, wanted in (("alice", []), ("bob", ["foreign.session"])):
        site = Site()  # what its owner saw is no secret any more
        site.login("alice", token(1))
        verdict = site.scanner.scan(body, content_type, owner=owner, unix_ms=NOW)
        assert [f.rule for f in foreign(verdict)] == wanted
        assert any(t.group == "foreign" for t in verdict.terms) == bool(wanted)
    (finding,) = foreign(verdict)
    at = body.index(HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(f"session={token(1)}".encode()))
    assert at < finding.offset <= at + 8
    assert finding.offset + finding.length <= at + len(raw)
    (term,) = (t for t in verdict.terms if t.group == "foreign")
    assert term.semantic == 30
    assert 70 < term.collision < 96  # every look-up counts
    assert "against an honest reason" in verdict.explain()
    assert not foreign(site.scanner.scan(PAGES[content_type](frame(request(("cookie", f"session={token(2)}")))), content_type, owner="bob", unix_ms=NOW))


def test_what_the_client_sent_itself_is_its_own() -> None:
    site = Site()
    site.login("alice", token(1))
    body = html(frame(request(("cookie", f"session={token(1)}"))))
    sent = overread.Request("GET", "/", [("Cookie", f"session={token(1)}")])
    assert not foreign(site.scanner.scan(body, "text/html", request=sent, owner="bob", unix_ms=NOW))
    assert foreign(site.scanner.scan(body, "text/html", request=overread.Request("GET", "/", []), owner="bob", unix_ms=NOW))


@pytest.mark.parametrize("alphabet", [HEX, URLSAFE, string.ascii_letters + string.digits + "+/"])
@pytest.mark.parametrize("size", [32, 43, 64, 128, 400])
@pytest.mark.parametrize("field", ["cookie", "second cookie", "bearer", "key"])
def test_whole_header_blocks_show_their_secrets(alphabet: str, size: int, field: str) -> None:
    found = tried = 0
    for seed in range(40):
        site = Site()
        value = token(seed, size, alphabet)
        site.login("alice", value, name="sid")
        fields = {
            "cookie": ("cookie", f"sid={value}"),
            "second cookie": ("cookie", f"theme=dark; sid={value}; lang=en"),
            "bearer": ("authorization", f"Bearer {value}"),
            "key": ("x-api-key", value),
        }
        draw = random.Random(seed)
        encoder = hpack.Encoder()
        for _ in range(draw.randrange(3)):  # what a connection has sent is in its table
            encoder.encode(request(("cookie", f"sid={token(seed + 1000, size, alphabet)}")))
        raw = frame(request(fields[field]), encoder)
        body = html(raw[draw.randrange(9) :])
        tried += 1
        found += [f.rule for f in foreign(site.scanner.scan(body, "text/html", owner="bob", unix_ms=NOW))] == ["foreign.session"]
    assert found >= 39, (found, tried)


def piece(value: str, at: int, size: int) -> bytes:
    """The bytes in which `size` characters of a coded value stand."""
    bits = "".join(format(REQUEST_CODES[c], f"0{REQUEST_CODES_LENGTH[c]}b") for c in value.encode())
    ends = [0]
    for c in value.encode():
        ends.append(ends[-1] + REQUEST_CODES_LENGTH[c])
    bits += "1" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(ends[at] // 8 * 8, ends[at + size], 8))


@pytest.mark.parametrize(("size", "least"), [(47, 70), (64, 92), (96, 97)])
def test_pieces_cut_anywhere_are_found_but_for_what_falling_into_step_takes(size: int, least: int) -> None:
    found = 0
    for seed in range(200):
        site = Site(memory=1 << 16)
        value = token(seed, 128)
        site.login("alice", value)
        raw = piece(value, random.Random(seed).randrange(128 - size + 1), size)
        found += bool(foreign(site.scanner.scan(html(raw), "text/html", owner="bob", unix_ms=NOW)))
    assert 100 * found >= least * 200


def split(site: Site, body: bytes, content_type: str, sizes: list[int]) -> overread.Verdict:
    stream = site.scanner.stream(content_type, owner="bob", unix_ms=NOW)
    at = i = 0
    while at < len(body):
        stream.feed(body[at : at + sizes[i % len(sizes)]])
        at += sizes[i % len(sizes)]
        i += 1
    return stream.finish()


@settings(max_examples=120, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=40), st.integers(0, 1 << 32), st.sampled_from(sorted(PAGES)))
def test_any_split_gives_the_same_verdict(sizes: list[int], seed: int, content_type: str) -> None:
    site = Site()
    draw = random.Random(seed)
    values = [token(seed + i, draw.choice((32, 43, 64, 400)), draw.choice((HEX, URLSAFE))) for i in range(3)]
    for value in values:
        site.login("alice", value)
    parts = []
    for _ in range(draw.randrange(1, 8)):
        value = draw.choice(values)
        raw = frame(request(("cookie", f"session={value}")))
        first = draw.randrange(len(raw)) if draw.random() < 0.5 else 0
        parts.append(raw[first : draw.randrange(first, len(raw)) if draw.random() < 0.3 else len(raw)])
        parts.append(draw.choice((WORDS * draw.randrange(100), draw.randbytes(draw.randrange(600)), value.encode(), b" \x00" * draw.randrange(300))))
    body = PAGES[content_type](b"".join(parts))
    whole = site.scanner.scan(body, content_type, owner="bob", unix_ms=NOW)
    assert split(site, body, content_type, sizes) == whole


def test_every_kernel_finds_the_same() -> None:
    site = Site()
    values = [token(i) for i in range(6)]
    for value in values:
        site.login("alice", value)
    body = html(b"".join(WORDS * 30 + frame(request(("cookie", f"session={v}"))) for v in values))
    verdicts = [overread.Scanner(kernel=k, key=b"k" * 16, registry=site.registry).scan(body, "text/html", owner="bob", unix_ms=NOW) for k in overread.kernels()]
    assert len(foreign(verdicts[0])) == 4  # so many of a rule are kept
    assert verdicts[0].findings_dropped >= 2
    assert all(v == verdicts[0] for v in verdicts)


@pytest.mark.parametrize("at", [0, 5, 8150, 8190, 8192, 20000])
def test_frames_at_the_edges_of_what_is_looked_at_at_once(at: int) -> None:
    site = Site()
    site.login("alice", token(1))
    raw = frame(request(("cookie", f"session={token(1)}")))
    body = (WORDS * 300)[:at] + raw
    whole = site.scanner.scan(body, "text/plain", owner="bob", unix_ms=NOW)
    assert foreign(whole)
    for size in (1, 7, 64, 4096, 8191):
        assert split(site, body, "text/plain", [size]) == whole


def test_behind_a_picture() -> None:
    site = Site()
    site.login("alice", token(1))
    picture = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0" + b"\x3a\x7e\x9b\x55" + b"\0\0\0\0IEND\xaeB`\x82"
    body = picture + frame(request(("cookie", f"session={token(1)}"))) + bytes(40)
    whole = site.scanner.scan(body, "image/png", owner="bob", unix_ms=NOW)
    assert [f.rule for f in foreign(whole)] == ["foreign.session"]
    for size in (1, 50, 64):
        assert split(site, body, "image/png", [size]) == whole


def test_redaction_masks_what_is_coded() -> None:
    site = Site()
    site.login("alice", token(1, 64))
    policy = overread.Policy("enforce", action={"certain": "redact"})
    raw = frame(request(("cookie", f"session={token(1, 64)}")))
    body = html(raw)
    f = site.scanner.filter(policy, "text/html", owner="bob", unix_ms=NOW)
    out = f.body(body) + f.end()
    coded = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(f"session={token(1, 64)}".encode())
    assert coded in body
    assert len(out) == len(body)
    assert not any(coded[i : i + 6] in out for i in range(10, len(coded) - 16))


def test_an_ignore_rule_leaves_it_out() -> None:
    site = Site()
    site.login("alice", token(1))
    body = html(frame(request(("cookie", f"session={token(1)}"))))
    found = []
    for lines in ((), ("rule=foreign.session path=/orders/* until=2999-01-01",)):
        policy = overread.Policy("monitor", ignore=overread.Ignores(list(lines)))
        f = site.scanner.filter(policy, "text/html", request=overread.Request("GET", "/orders/17"), owner="bob", unix_ms=NOW)
        f.body(body)
        f.end()
        found.append([x.rule for x in foreign(f.verdict())])
        assert f.ignored == list(range(len(lines)))
    assert found == [["foreign.session"], []]


FLOODS: dict[str, Callable[[random.Random, int], bytes]] = {
    "random": lambda draw, n: draw.randbytes(n),
    "NULs": lambda draw, n: bytes(n),
    "control bytes": lambda draw, n: b"\x01\x7f" * (n // 2),
    "controls in tokens": lambda draw, n: b"".join(b"\x01" + "".join(draw.choices(URLSAFE, k=100)).encode() for _ in range(n // 101)),
    "lengths": lambda draw, n: bytes(draw.choice((0x60, 0x8A, 0xFE, 0x01)) for _ in range(n)),
    "coded tokens": lambda draw, n: HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode("".join(draw.choices(URLSAFE, k=n)).encode()),
}


@pytest.mark.parametrize("how", FLOODS)
def test_floods_find_nothing_and_cost_no_more_than_a_bound(how: str) -> None:
    site = Site(memory=8 << 20)
    for i in range(500):
        site.login(f"owner{i}", token(i))
    draw = random.Random(how)
    looked = []
    for n in (1 << 14, 1 << 15, 1 << 16, 1 << 18):
        before = site.registry.metrics(unix_ms=NOW)["lookups"]
        assert not foreign(site.scanner.scan(FLOODS[how](draw, n), "text/html", owner="bob", unix_ms=NOW))
        looked.append(site.registry.metrics(unix_ms=NOW)["lookups"] - before)
    assert looked[0] < looked[1] <= (1 << 15) / 2 or looked[1] < 2000
    # Behind 32 KiB of raw bytes nothing is decoded; what is text as it stands is looked up as ever.
    if how != "controls in tokens":
        assert looked[3] <= looked[1] * 1.5 + 100


def test_clean_text_is_not_decoded() -> None:
    site = Site()
    site.login("alice", token(1))
    body = html(" ".join(token(i, 40) for i in range(20)).encode() + "Grüße aus Köln".encode() * 50)
    before = site.registry.metrics(unix_ms=NOW)["lookups"]
    site.scanner.scan(body, "text/html", owner="bob", unix_ms=NOW)
    clean = site.registry.metrics(unix_ms=NOW)["lookups"] - before
    site.scanner.scan(body.replace(b"Gr", b"\x01r"), "text/html", owner="bob", unix_ms=NOW)
    assert site.registry.metrics(unix_ms=NOW)["lookups"] - before - clean > clean
