"""Whose bytes these are: docs/foreign-secrets.md. Tokens and times are chosen, so that every run is the same."""

import base64
import hashlib
import html
import json
import random
import string
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import overread

NOW = 1_700_000_000_000
URLSAFE = string.ascii_letters + string.digits + "-_"
HEX = "0123456789abcdef"
PAGE = b"<!DOCTYPE html><html><body><p>Hello, this is a page of plain words.</p>" * 4


def token(seed: int, size: int = 43, alphabet: str = URLSAFE) -> str:
    draw = random.Random(seed)
    return "".join(draw.choice(alphabet) for _ in range(size))


class Site:
    """A registry, and what its clients do."""

    def __init__(self, memory: int = 1 << 20, **options: object) -> None:
        self.registry = overread.SecretRegistry(memory=memory, **options)  # type: ignore[arg-type]
        self.scanner = overread.Scanner(registry=self.registry)

    def login(self, owner: str, session: str, attributes: str = "; Path=/; HttpOnly", name: str = "session", now: int = NOW) -> None:
        self.registry.observe_request(owner, {"Cookie": "theme=dark"}, unix_ms=now)
        self.registry.observe_response(owner, {"Set-Cookie": f"{name}={session}{attributes}"}, unix_ms=now)

    def visit(self, owner: str | None, cookies: str, now: int = NOW, **request: object) -> None:
        self.registry.observe_request(owner, {"Cookie": cookies}, unix_ms=now, **request)  # type: ignore[arg-type]

    def bits(self, body: bytes, owner: str | None, now: int = NOW, **options: object) -> float:
        return self.scanner.scan(body, "text/html", owner=owner, unix_ms=now, **options).bits  # type: ignore[arg-type]


def page_with(text: str | bytes) -> bytes:
    return PAGE + b"<p>value " + (text if isinstance(text, bytes) else text.encode()) + b" end</p></body></html>"


def test_a_session_that_the_server_issued_is_certain_for_others_and_nothing_for_its_owner() -> None:
    site = Site()
    site.login("alice", token(1))
    verdict = site.scanner.scan(page_with(token(1)), "text/html", owner="bob", unix_ms=NOW)
    assert (verdict.tier, verdict.bits) == ("certain", 30)
    (finding,) = verdict.findings
    assert (finding.rule, finding.family, finding.part, finding.offset) == ("foreign.session", "foreign", "body", len(PAGE) + 9)
    assert finding.length == len(token(1))
    (term,) = verdict.terms
    assert term.basis == "constructed"
    assert (term.semantic, term.bits) == (30, 30)
    assert 80 < term.collision < 96
    assert "30.0 against an honest reason" in verdict.explain()
    assert site.bits(page_with(token(1)), "alice") == 0
    assert site.bits(page_with(token(2)), "bob") == 0


def test_without_http_only_it_is_an_alarm_and_no_block() -> None:
    site = Site()
    site.login("alice", token(1), "; Path=/")
    assert site.bits(page_with(token(1)), "bob") == 24


def test_a_token_reply_issues_and_a_list_further_down_does_not() -> None:
    site = Site()
    site.registry.observe_response(
        "alice", {"Content-Type": "application/json"}, json.dumps({"access_token": token(1), "token_type": "Bearer"}).encode(), unix_ms=NOW
    )
    site.registry.observe_response("carol", {"Content-Type": "application/json"}, json.dumps({"items": [{"access_token": token(2)}]}).encode(), unix_ms=NOW)
    assert site.bits(page_with(token(1)), "bob") == 24
    assert site.bits(page_with(token(2)), "bob") == 0
    # Who knows no more of the request than its owner may leave the type out.
    site.registry.observe_response("dave", {"Content-Type": "application/json"}, json.dumps({"access_token": token(3)}).encode(), unix_ms=NOW)
    assert site.bits(page_with(token(3)), "bob") == 24


def test_what_only_a_client_sent_is_worth_twelve_bits_whatever_stands_beside_it() -> None:
    site = Site()
    site.visit("mallory", f"session={token(1)}")
    assert site.bits(page_with(token(1)), "bob") == 12
    # Typed control characters and the value together stay below tier strong.
    assert site.bits(PAGE * 3 + b"\0\0\0\x01" + page_with(token(1)), "bob") < 22


def test_what_balancers_and_settings_give_to_all_accuses_nobody() -> None:
    site = Site()
    affinity = token(1, 64, HEX)
    consent = token(2, 60)
    for i in range(4):
        request = overread.Request("GET", "/", {"Cookie": f"cookieconsent={consent}"})
        fields = [("Set-Cookie", f"ARRAffinity={affinity}; HttpOnly; Secure"), ("Set-Cookie", f"session_affinity={affinity[::-1]}; HttpOnly")]
        verdict = site.scanner.scan(PAGE, "text/html", headers=fields, request=request, unix_ms=NOW)
        assert verdict.bits <= 12
        fields.append(("Set-Cookie", f"sid={token(10 + i)}; HttpOnly"))
        site.registry.observe_request(None, request.headers, unix_ms=NOW)
        site.registry.observe_response(None, fields, request=request, unix_ms=NOW)
    # Nor are those one client who have it alike.
    later = overread.Request("GET", "/", {"Cookie": f"cookieconsent={consent}; sid={token(10)}"})
    assert site.bits(page_with(token(11)), None, request=later) == 30
    assert site.bits(page_with(token(10)), None, request=later) == 0


@pytest.mark.parametrize(
    "name", ["_realestate_session", "golang_session", "routerlogin_session", "connect.sid", ".AspNetCore.Cookies", "PHPSESSID", "laravel_session"]
)
def test_sessions_are_known_by_their_names(name: str) -> None:
    site = Site()
    site.login("alice", token(1), name=name)
    assert site.bits(page_with(token(1)), "bob") == 30


def test_one_password_for_a_whole_site_makes_its_clients_not_one() -> None:
    site = Site()
    shared = {"Authorization": "Basic " + base64.b64encode(f"staging:{token(9, 20)}".encode()).decode()}
    for i in range(2):
        request = overread.Request("POST", "/login", shared)
        site.registry.observe_request(None, shared, unix_ms=NOW)
        site.registry.observe_response(None, {"Set-Cookie": f"sid={token(i)}; HttpOnly"}, request=request, unix_ms=NOW)
    other = overread.Request("GET", "/", shared | {"Cookie": f"sid={token(1)}"})
    assert site.bits(page_with(token(0)), None, request=other) == 30
    assert site.bits(page_with(token(1)), None, request=other) == 0


def test_one_token_a_user_is_no_leak_in_a_second_browser() -> None:
    site = Site()
    remember, auth = f"5|{token(1, 128, HEX)}", token(2, 40, HEX)  # Flask-Login's and djoser's
    fields = [("Set-Cookie", f"remember_token={remember}; HttpOnly"), ("Content-Type", "application/json")]
    body = json.dumps({"auth_token": auth}).encode()
    login = overread.Request("POST", "/login", {"User-Agent": "a browser"})
    verdicts = []
    for owner in ("laptop", "phone", "tablet"):
        verdicts.append(site.scanner.scan(body, "application/json", headers=fields, request=login, owner=owner, unix_ms=NOW).bits)
        site.registry.observe_response(owner, fields, body, request=login, unix_ms=NOW)
    assert max(verdicts) <= 12
    # A token elsewhere in a reply is none that is issued.
    site.login("alice", token(3))
    spill = json.dumps({"auth_token": token(5), "error": f"near {token(3)}"}).encode()
    assert site.scanner.scan(spill, "application/json", request=login, owner="phone", unix_ms=NOW).bits == 30


def test_a_public_token_in_a_pages_settings_accuses_nobody() -> None:
    site = Site()
    settings = json.dumps({"accessToken": "pk." + token(1, 60), "style": "streets"}).encode()
    for owner in ("alice", "bob"):
        request = overread.Request("GET", "/config.json", {"Cookie": f"sid={owner}"})
        assert site.scanner.scan(settings, "application/json", request=request, owner=owner, unix_ms=NOW).bits <= 12
        site.registry.observe_response(owner, {"Content-Type": "application/json"}, settings, request=request, unix_ms=NOW)


@pytest.mark.parametrize("name", ["XSRF-TOKEN", "csrftoken", "__RequestVerificationToken_csrf"])
def test_tokens_against_forgery_are_no_sessions(name: str) -> None:
    site = Site()
    site.login("alice", token(1), "; HttpOnly", name=name)
    assert site.bits(page_with(token(1)), "bob") <= 12


def test_a_value_of_two_owners_tells_nothing() -> None:
    site = Site()
    for owner in ("alice", "bob"):
        site.registry.observe_request(owner, {"X-Api-Key": token(1)}, unix_ms=NOW)
    assert site.bits(page_with(token(1)), "carol") == 0


def test_a_prefix_that_recurs_is_dropped_alone() -> None:
    site = Site()
    prefix = token(9, 40)
    for i, owner in enumerate(("alice", "bob")):
        site.login(owner, prefix + token(i, 64))
    assert site.bits(page_with(prefix), "carol") <= 12  # a window that only one of them has for chosen may be left
    assert site.bits(page_with(prefix + token(0, 64)), "carol") == 30


def test_jwts_of_one_issuer_do_not_accuse_each_other() -> None:
    def jwt(user: int) -> str:
        parts = ({"alg": "HS256", "typ": "JWT"}, {"iss": "https://accounts.example.com", "aud": "shop", "sub": f"{user:06}"})
        coded = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts]
        return ".".join((*coded, token(user)))

    site = Site()
    site.login("alice", jwt(1), name="jwt")
    # Another's token in a page that is scanned before anything of it was observed.
    verdict = site.scanner.scan(page_with(jwt(2)), "text/html", owner="bob", unix_ms=NOW)
    assert verdict.bits < 22
    assert all(t.bits <= 12 for t in verdict.terms if t.group == "foreign")
    assert site.bits(page_with(jwt(1)), "bob") >= 30


def test_rotation_is_a_merge() -> None:
    site = Site()
    site.visit(None, f"session={token(1)}")
    request = overread.Request("POST", "/login", {"Cookie": f"session={token(1)}"})
    site.registry.observe_response(None, {"Set-Cookie": f"session={token(2)}; HttpOnly"}, request=request, unix_ms=NOW)
    body = page_with(token(1) + " " + token(2))
    new = overread.Request("GET", "/", {"Cookie": f"session={token(2)}"})
    assert site.bits(body, "mallory") == 30
    assert site.bits(body, None, request=new) == 0


def test_six_connections_a_crumbled_cookie_and_a_proxy_in_front_are_one_owner() -> None:
    site = Site()
    site.visit(None, f"session={token(1)}; remember={token(2)}")
    # HTTP/2 sends each pair as a field of its own (RFC 9113, section 8.2.3), in any order.
    crumbs = [("cookie", f"remember={token(2)}"), ("cookie", f"session={token(1)}"), ("x-forwarded-for", "192.0.2.1")]
    request = overread.Request("GET", "/", crumbs)
    assert site.bits(page_with(token(1) + " " + token(2)), None, request=request) == 0


def test_a_remembered_login_alone_is_the_same_client() -> None:
    site = Site()
    request = overread.Request("POST", "/login", {"Cookie": "theme=dark"})
    cookies = [("Set-Cookie", f"session={token(1)}; HttpOnly"), ("Set-Cookie", f"remember_me={token(2)}; HttpOnly")]
    site.registry.observe_response("first-visit-of-alice", cookies, request=request, unix_ms=NOW)
    later = overread.Request("GET", "/", {"Cookie": f"remember_me={token(2)}"})
    assert site.bits(page_with(token(1)), None, request=later) == 0


def test_a_value_is_forgotten_at_the_end_of_its_life_unless_it_is_seen() -> None:
    site = Site(life=60)
    site.login("alice", token(1))
    site.login("carol", token(2))
    site.visit("alice", f"session={token(1)}", NOW + 50_000)
    later = NOW + 100_000
    assert site.bits(page_with(token(1)), "bob", later) == 30
    assert site.bits(page_with(token(2)), "bob", later) == 0


def test_seen_in_its_owners_page_or_request_body_it_is_no_secret_any_more() -> None:
    site = Site()
    for seed in (1, 2, 3):
        site.login(f"owner{seed}", token(seed))
    assert site.bits(page_with(token(1)), "owner1") == 0  # the server shows it
    site.visit("owner2", "a=b", body=f"comment={token(2)}".encode())  # its owner publishes it
    site.visit("owner3", "a=b", target=f"/share?x={token(3)}")
    for seed in (1, 2, 3):
        assert site.bits(page_with(token(seed)), "bob") == 12


def test_another_that_sends_it_drops_it() -> None:
    site = Site()
    site.login("alice", token(1))
    site.visit("service", "a=b", body=f"token={token(1)}".encode())  # token introspection (RFC 7662)
    assert site.bits(page_with(token(1)), "bob") == 0


def test_a_list_of_sessions_is_no_leak_and_its_values_no_secrets_any_more() -> None:
    site = Site()
    for seed in range(20):
        site.login(f"user{seed}", token(seed))
    rows = "".join(f"<tr><td>user{i}</td><td>{token(i)}</td></tr>" for i in range(20))
    assert site.bits(page_with(rows), "admin") == 12
    assert site.bits(page_with(token(3)), "admin") == 12  # the page of one of them
    # Memory shows more than a list.
    for seed in range(20, 24):
        site.login(f"user{seed}", token(seed))
    leak = b"".join(b"Cookie: session=%s\r\nHost: example.com\r\n\0\0\xff\xfe" % token(i).encode() for i in range(20, 24))
    assert site.bits(PAGE * 4 + leak, "bob") >= 30


def test_in_a_header() -> None:
    site = Site()
    site.login("alice", token(1))
    verdict = site.scanner.scan(PAGE, "text/html", headers={"X-Debug": f"session={token(1)}"}, owner="bob", unix_ms=NOW)
    assert [(f.rule, f.part, f.name) for f in verdict.findings] == [("foreign.session", "header", "X-Debug")]
    assert verdict.bits == 30


def pieces_of(secret: str) -> list[str]:
    return [secret[i : i + 8] for i in range(len(secret) - 7)]


def test_in_a_reason_phrase() -> None:
    """JetLeak (CVE-2015-2080) spilled the buffer there, in part as \\xNN."""
    site = Site()
    site.login("alice", token(1))
    request = overread.Request("GET", "/page", [("Host", "shop.example")])
    for reason in (f"Illegal character 0x7 in >>>Cookie: session={token(1)}", "Bad \\x" + "\\x".join(f"{ord(c):02x}" for c in token(1))):
        f = site.scanner.filter(overread.Policy("enforce"), "text/html", status=400, reason=reason, request=request, owner="bob", unix_ms=NOW)
        assert (f.body(PAGE), f.verb) == (b"", "block")
        event = f.event("test", "GET", "shop.example", "/page")
        (finding,) = (row for row in json.loads(event)["findings"] if row["rule"] == "foreign.session")
        assert (finding["part"], finding.get("name"), finding["length"] >= 43) == ("status", None, True)
        assert not any(piece in event for piece in pieces_of(token(1)))
    assert site.scanner.scan(PAGE, "text/html", reason=token(1), owner="alice", unix_ms=NOW).bits == 0


def test_a_fields_name_that_is_a_secret_is_found_and_told_nowhere() -> None:
    site = Site()
    secret = token(1, 32, HEX)  # Envoy and HTTP/2 write names in small letters
    site.login("alice", secret)
    # Beside it a sign of another kind, and another secret: these findings are the field's as well.
    site.login("carol", token(2))
    request = overread.Request("GET", "/page", [("Host", "shop.example")])
    for part in ("header", "trailer"):
        field = [(f"X-{secret}", f"\x01 {token(2)}")]
        f = site.scanner.filter(overread.Policy("monitor"), "text/html", headers=field if part == "header" else [], request=request, owner="bob", unix_ms=NOW)
        f.body(PAGE)
        if part == "trailer":
            f.trailers(field)
        f.end()
        event = f.event("test", "GET", "shop.example", "/page")
        rows = [row for row in json.loads(event)["findings"] if row["part"] == part]
        assert sorted(row["rule"] for row in rows) == ["foreign.session", "foreign.session", "place.head-control"]
        assert not any("name" in row for row in rows)
        assert not any(piece in event for piece in pieces_of(secret) + pieces_of(token(2)))


def test_no_finding_tells_a_name_that_may_be_a_secret() -> None:
    """Nor one's own, one that is ignored, or one that no registry knows."""
    site = Site()
    site.login("alice", token(1, 32, HEX))
    field = {f"X-{token(1, 32, HEX)}": "\x01"}
    for verdict in (
        overread.Scanner().scan(PAGE, "text/html", headers=field),
        site.scanner.scan(PAGE, "text/html", headers=field, owner="alice", unix_ms=NOW),
    ):
        assert [(f.rule, f.name) for f in verdict.findings] == [("place.head-control", "")]
    for name in ("Content-Security-Policy-Report-Only", "x-ms-blob-content-md5", "X-Amz-Meta-S3cmd-Attrs"):
        (finding,) = overread.Scanner().scan(PAGE, "text/html", headers={name: "\x01"}).findings
        assert finding.name == name[:31]


ESCAPES: dict[str, Callable[[str], str]] = {
    "percent": lambda t: urllib.parse.quote(t, safe=""),
    "lower-case percent": lambda t: "".join(f"%{ord(c):02x}" if c in "+/=" else c for c in t),
    "HTML decimal": lambda t: "".join(f"&#{ord(c)};" if c in "+/=-_" else c for c in t),
    "HTML hexadecimal": lambda t: "".join(f"&#x{ord(c):X};" if c in "+/=" else c for c in t),
    "HTML": html.escape,
    "JSON": lambda t: json.dumps(t).replace("/", "\\/"),
    "JSON unicode": lambda t: "".join(f"\\u{ord(c):04x}" if c in "+/=-" else c for c in t),
    "JavaScript": lambda t: "".join(f"\\x{ord(c):02x}" if c in "+/=" else c for c in t),
    "parsed": lambda t: f"Cookie\0 session={t}\0",
    "all percent": lambda t: "".join(f"%{ord(c):02X}" for c in t),
}


@pytest.mark.parametrize("how", ESCAPES)
@pytest.mark.parametrize("alphabet", [string.ascii_letters + string.digits + "+/", HEX, URLSAFE])
def test_escaped_copies_are_found(how: str, alphabet: str) -> None:
    for seed in range(20):
        site = Site()
        value = token(seed, 40, alphabet) + "=="
        site.login("alice", value)
        verdict = site.scanner.scan(page_with(ESCAPES[how](value)), "text/html", owner="bob", unix_ms=NOW)
        assert verdict.bits >= 30, (seed, value)
        assert any(f.family == "foreign" for f in verdict.findings)


def test_a_cookie_that_is_sent_escaped_is_the_same() -> None:
    site = Site()
    value = token(5, 44, string.ascii_letters + string.digits + "+/")
    site.login("alice", urllib.parse.quote(value, safe=""))
    assert site.bits(page_with(value), "bob") == 30
    assert site.bits(page_with(urllib.parse.quote(value, safe="")), "bob") == 30


def test_basic_credentials_are_found_in_both_forms_and_passwords_are_not_kept() -> None:
    site = Site()
    pair = f"{token(1, 24)}:".encode()
    site.registry.observe_request("alice", {"Authorization": "Basic " + base64.b64encode(pair).decode()}, unix_ms=NOW)
    for shown in (pair, base64.b64encode(pair)):
        assert site.bits(page_with(shown), "bob") == 12
    weak = Site()
    coded = base64.b64encode(b"alice@example.com:correct horse 12")
    weak.registry.observe_request("alice", {"Authorization": "Basic " + coded.decode()}, unix_ms=NOW)
    weak.registry.observe_request("alice", {"Content-Type": "application/x-www-form-urlencoded"}, b"password=" + token(2).encode(), unix_ms=NOW)
    weak.visit("alice", "pin=4821; card=4111111111111111; id=1234567890123456789012")
    assert weak.registry.metrics(unix_ms=NOW)["stored"] == 0


@pytest.mark.parametrize("size", [48, 64, 100, 200])
def test_any_47_bytes_of_a_value_are_found(size: int) -> None:
    missed = 0
    pieces = 0
    for seed in range(30):
        site = Site()
        value = token(seed, size)
        site.login("alice", value)
        for at in range(size - 46):
            pieces += 1
            verdict = site.scanner.scan(page_with(value[at : at + 47]), "text/html", owner="bob", unix_ms=NOW)
            missed += not verdict.findings
    assert pieces
    assert missed == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(0, 5))
def test_any_split_gives_the_same_verdict(sizes: list[int], seed: int) -> None:
    site = Site()
    values = [token(seed * 10 + i, 43, string.ascii_letters + string.digits + "+/") for i in range(4)]
    for i, value in enumerate(values[:3]):  # of three owners they would be a list
        site.login(f"owner{i % 2}", value)
    body = page_with(
        "x/"
        + values[0]
        + " some words between the two "
        + ESCAPES["percent"](values[1])
        + " a few words more, and &amp; "
        + ESCAPES["HTML decimal"](values[2])
        + token(3, 400)
        + values[3]
    )
    whole = site.scanner.scan(body, "text/html", owner="bob", unix_ms=NOW)
    stream = site.scanner.stream("text/html", owner="bob", unix_ms=NOW)
    at = i = 0
    while at < len(body):
        stream.feed(body[at : at + sizes[i % len(sizes)]])
        at += sizes[i % len(sizes)]
        i += 1
    assert stream.finish() == whole
    assert len(whole.findings) == 3


def test_every_kernel_finds_the_same() -> None:
    site = Site()
    values = [token(i, 43, string.ascii_letters + string.digits + "+/") for i in range(6)]
    for value in values:
        site.login("alice", value)
    body = page_with(" ".join(ESCAPES[how](v) for how, v in zip(ESCAPES, values, strict=False)) * 30)
    verdicts = [overread.Scanner(kernel=k, key=b"k" * 16, registry=site.registry).scan(body, "text/html", owner="bob", unix_ms=NOW) for k in overread.kernels()]
    assert verdicts[0].findings
    assert all(v == verdicts[0] for v in verdicts)


def test_invented_values_cannot_push_out_issued_ones() -> None:
    site = Site()
    sessions = [token(i) for i in range(300)]
    for i, s in enumerate(sessions):
        site.login(f"user{i}", s)
    slots = site.registry.metrics(unix_ms=NOW)["slots"]
    for i in range(slots):  # each of an owner of its own, more than the table holds
        site.visit(None, f"session={token(1_000_000 + i)}")
    held = site.registry.metrics(unix_ms=NOW)["live"]
    assert held < 0.12 * slots + 5 * len(sessions)
    assert all(site.bits(page_with(s), "bob") == 30 for s in sessions)


def test_a_bot_without_cookies_pushes_out_what_nobody_uses_oldest_first() -> None:
    """Each of its requests is issued a session that never comes back: in a life three times as many as the table has slots."""
    site = Site(memory=1 << 17)
    slots, life = site.registry.metrics()["slots"], 900
    users = [token(i) for i in range(slots // 40)]  # about a tenth of the slots: windows, and the name
    fresh: list[tuple[int, str]] = []
    for i, session in enumerate(users):
        # Half of them are named by an operator, who tells owners apart by something else.
        site.login(f"user{i}" if i % 2 else "", session)
        site.visit(f"user{i}" if i % 2 else None, f"session={session}", NOW + 1000)
    before = site.registry.metrics()["full"]
    steps = 90
    for step in range(1, steps + 1):
        now = NOW + 1000 + step * life * 1000 // steps
        for i in range(3 * slots // steps):
            site.login("", token(1_000_000 + step * 10_000 + i), now=now)
        fresh.append((now, token(2_000_000 + step)))
        site.login(f"fresh{step}", fresh[-1][1], now=now)
        # A new session is known at once, and is used a moment later.
        assert site.bits(page_with(fresh[-1][1]), "bob", now) == 30
        site.visit(f"fresh{step}", f"session={fresh[-1][1]}", now + 1000)
        # Who is there comes back every few minutes.
        if step % 25 == 0:
            for i, session in enumerate(users):
                site.visit(f"user{i}" if i % 2 else None, f"session={session}", now)
    assert site.registry.metrics()["full"] == before
    end = NOW + 1000 + life * 1000
    in_use = [*users, *(session for seen, session in fresh if end - seen < life * 1000)]
    assert all(site.bits(page_with(session), "bob", end) == 30 for session in in_use)
    assert not any(site.bits(page_with(session), f"user{i}" if i % 2 else None, end, request=own(session)) for i, session in enumerate(users))


def own(session: str) -> overread.Request:
    return overread.Request("GET", "/page", [("Cookie", f"session={session}")])


def test_in_one_second_nothing_that_was_issued_is_pushed_out() -> None:
    site = Site(memory=1 << 17)
    site.login("alice", token(1))
    for i in range(site.registry.metrics()["slots"]):
        site.login("", token(1000 + i))
    assert site.registry.metrics()["full"] > 0
    assert site.bits(page_with(token(1)), "bob") == 30
    # A second later the oldest makes room.
    site.login("carol", token(2), now=NOW + 1000)
    assert site.bits(page_with(token(2)), "bob", NOW + 1000) == 30


def test_what_is_used_on_one_node_is_used_on_all() -> None:
    site, other = (Site(memory=1 << 17, key=b"0123456789abcdef") for _ in range(2))
    site.login("alice", token(1))
    other.registry.import_changed(site.registry.export_changed(unix_ms=NOW), unix_ms=NOW)
    site.visit("alice", f"session={token(1)}", NOW + 1000)
    told = site.registry.export_changed(unix_ms=NOW + 1000)
    assert told
    # Sent again it is no news.
    site.visit("alice", f"session={token(1)}", NOW + 2000)
    assert not site.registry.export_changed(unix_ms=NOW + 2000)
    other.registry.import_changed(told, unix_ms=NOW + 1000)
    for i in range(2 * other.registry.metrics()["slots"]):
        other.login("", token(1000 + i), now=NOW + 2000 + i)
    assert other.bits(page_with(token(1)), "bob", NOW + 60_000) == 30


def test_an_owner_has_a_quota_of_values_that_only_it_sent() -> None:
    site = Site(memory=32 << 20)  # so large that no two values want the same place
    for second in range(2):
        for i in range(40):
            site.visit("mallory", f"c{i}={token(i)}", NOW + second * 1000)
    found = sum(site.bits(page_with(token(i)), "bob", NOW + 2000) > 0 for i in range(40))
    assert found == 16
    assert site.registry.metrics(unix_ms=NOW)["quota"] > 0


def test_a_session_that_changes_with_every_response_is_followed_for_hours() -> None:
    site = Site(life=300)
    session = token(0)
    site.registry.observe_response(None, {"Set-Cookie": f"sid={session}; HttpOnly"}, unix_ms=NOW)
    for i in range(1, 400):
        now = NOW + i * 10_000
        request = overread.Request("GET", "/", {"Cookie": f"sid={session}"})
        site.registry.observe_request(None, request.headers, unix_ms=now)
        session = token(i)
        site.registry.observe_response(None, {"Set-Cookie": f"sid={session}; HttpOnly"}, request=request, unix_ms=now)
        if i > 100:
            assert site.bits(page_with(session), "bob", now) == 30, i


def test_who_sends_anothers_token_on_purpose_gets_nobody_blocked() -> None:
    site = Site()
    site.login("victim", token(1))
    for name in ("mallory", None):
        site.visit(name, f"session={token(1)}; other={token(2)}")
    assert site.bits(page_with(token(1)), "victim") == 0
    assert site.bits(page_with(token(2)), "victim") <= 12


def test_who_registers_a_public_string_gets_nobody_blocked() -> None:
    site = Site()
    asset = token(3, 40, HEX)
    site.visit("mallory", f"session={asset}", NOW)
    site.visit("mallory", f"session={asset}", NOW + 1000)
    everything = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nCookie: session=" + asset.encode() + b"\r\n\r\n\0\0\0\0\x01\x02" + page_with(asset)
    assert site.bits(PAGE * 4 + everything, "bob", NOW + 2000) < 22


@pytest.mark.parametrize("how", ["plain", "percent", "HTML decimal", "JSON", "upload", "JSON body"])
def test_who_publishes_its_own_session_gets_nobody_blocked(how: str) -> None:
    site = Site()
    value = token(1, 43, string.ascii_letters + string.digits + "+/")
    site.login("mallory", value)
    if how == "upload":
        part = f'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nmy notes {value}\r\n--x--\r\n'
        site.registry.observe_request("mallory", {"Content-Type": "multipart/form-data; boundary=x"}, part.encode(), unix_ms=NOW)
    elif how == "JSON body":
        site.registry.observe_request("mallory", {"Content-Type": "application/json"}, json.dumps({"text": f"see {value}"}).encode(), unix_ms=NOW)
    else:
        shown = value if how == "plain" else ESCAPES[how](value)
        site.registry.observe_request("mallory", {}, f"comment=see {shown} !".encode(), unix_ms=NOW)
    assert site.bits(page_with(value), "bob") == 12


@pytest.mark.parametrize("chunk", [16, 100, 1000, 4096, 100_000])
def test_a_list_is_one_however_it_comes(chunk: int) -> None:
    site = Site()
    for seed in range(20):
        site.login(f"user{seed}", token(seed))
    body = PAGE * 13 + b"".join(b"<tr><td>user%d</td><td>%s</td></tr>" % (i, token(i).encode()) for i in range(20)) + b"</body></html>"
    f = site.scanner.filter(overread.Policy("enforce"), "text/html", owner="admin", unix_ms=NOW)
    out = b"".join(f.body(body[i : i + chunk]) for i in range(0, len(body), chunk)) + f.end()
    assert (f.verb, f.verdict().bits, out) == ("pass", 12, body)


@pytest.mark.parametrize("chunk", [16, 100, 1000, 4096, 100_000])
@pytest.mark.parametrize("behind", [10, 50_000])
def test_nothing_of_a_secret_leaves_before_it_is_judged(chunk: int, behind: int) -> None:
    site = Site()
    site.login("alice", token(1))
    body = PAGE * 100 + token(1).encode() + b" more of the page" * (behind // 17 + 1)
    f = site.scanner.filter(overread.Policy("enforce"), "text/html", owner="bob", unix_ms=NOW)
    out = b""
    for i in range(0, len(body), chunk):
        out += f.body(body[i : i + chunk])
        if f.verb != "pass":
            break
    else:
        out += f.end()
    assert f.verb in ("block", "cut")
    assert token(1)[:8].encode() not in out
    # Nor when the delay line's time is up.
    f = site.scanner.filter(overread.Policy("enforce"), "text/html", owner="bob", unix_ms=NOW)
    out = f.body(PAGE * 2 + token(1).encode() + b" and") + f.flush()
    assert f.verb in ("block", "cut")
    assert token(1)[:8].encode() not in out


def test_what_a_head_or_a_canary_shows_is_judged_at_once() -> None:
    site = Site()
    site.login("alice", token(1))
    f = site.scanner.filter(overread.Policy("enforce"), "text/html", headers=[("X-Debug", token(1))], owner="bob", unix_ms=NOW)
    assert f.verb == "block"
    f = site.scanner.filter(overread.Policy("enforce"), "text/html", owner="bob", unix_ms=NOW)
    f.body(PAGE + site.registry.canary("alice", unix_ms=NOW).encode() + b" ")
    assert f.verb == "block"


def test_a_cache_that_shows_a_published_session_blocks_at_most_seven() -> None:
    site = Site()
    site.login("mallory", token(1))
    done = []
    for reader in range(10):
        request = overread.Request("GET", "/post/7", [("Host", "shop.example")])
        f = site.scanner.filter(overread.Policy("enforce"), "text/html", headers=[("Age", "5")], request=request, owner=f"reader{reader}", unix_ms=NOW)
        f.body(page_with(token(1)))
        f.end()
        done.append(f.verb)
    assert done == ["block"] * 7 + ["pass"] * 3


def test_published_in_one_place_it_blocks_at_most_two_there_and_nobody_elsewhere() -> None:
    site = Site()
    site.login("mallory", token(1))
    policy = overread.Policy("enforce")
    request = [("Host", "shop.example")]
    done = []
    for reader in range(6):
        f = site.scanner.filter(policy, "text/html", request=overread.Request("GET", "/post/7", request), owner=f"reader{reader}", unix_ms=NOW)
        f.body(page_with(token(1)))
        f.end()
        done.append(f.verb)
    assert done == ["block", "block", "pass", "pass", "pass", "pass"]
    assert site.bits(page_with(token(1)), "another") == 12


def test_a_filter_observes_by_itself() -> None:
    site = Site()
    policy = overread.Policy("enforce")
    login = overread.Request("POST", "/login", [("Host", "shop.example")], b"user=alice&password=x")
    f = site.scanner.filter(policy, "text/html", headers=[("Set-Cookie", f"sid={token(1)}; HttpOnly")], request=login, owner="alice", unix_ms=NOW)
    f.body(b"<p>welcome</p>")
    f.end()
    reply = overread.Request("POST", "/token", [("Host", "shop.example")])
    f = site.scanner.filter(policy, "application/json", request=reply, owner="alice", unix_ms=NOW)
    f.body(json.dumps({"access_token": token(2), "token_type": "Bearer"}).encode())
    f.end()
    for seed, verb in ((1, "block"), (2, "pass")):
        f = site.scanner.filter(policy, "text/html", request=overread.Request("GET", "/page", [("Host", "shop.example")]), owner="bob", unix_ms=NOW)
        out = f.body(page_with(token(seed)))
        out += f.end()
        assert f.verb == verb
        event = f.event("test", "GET", "shop.example", "/page")
        assert '"rule":"foreign.session"' in event
        assert not any(token(seed)[i : i + 12] in event for i in range(len(token(seed)) - 11))
        assert token(seed).encode() not in out or verb == "pass"


def test_streams_flow_whatever_they_end_with() -> None:
    site = Site()
    f = site.scanner.filter(overread.Policy("enforce"), "text/event-stream", owner="bob", unix_ms=NOW)
    # Base64 messages without a line's end, as grpc-web-text sends them: none waits for the next.
    for i in range(5):
        piece = token(i, 60, string.ascii_letters + string.digits + "+/").encode()
        assert f.body(piece) == piece
    assert f.end() == b""


def test_redaction_masks_the_whole_value() -> None:
    site = Site()
    site.login("alice", token(1))
    policy = overread.Policy("enforce", action={"certain": "redact"})
    body = page_with(token(1))
    f = site.scanner.filter(policy, "text/html", owner="bob", unix_ms=NOW)
    out = f.body(body) + f.end()
    assert len(out) == len(body)
    assert not any(token(1)[i : i + 4].encode() in out for i in range(40))


def test_canaries_are_certain_once_and_only_for_others() -> None:
    site = Site()
    canary = site.registry.canary("alice", unix_ms=NOW)
    assert site.bits(page_with(canary), "alice") == 0
    assert site.bits(page_with("x" + canary + "y"), "bob") == 40
    assert site.bits(page_with(canary), "carol") == 0  # burnt
    fresh = site.registry.canary("alice", unix_ms=NOW)
    assert site.bits(page_with(fresh), "bob", NOW + 16 * 60_000) == 0  # past its 15 minutes
    guessed = fresh[:-1] + ("0" if fresh[-1] != "0" else "1")
    assert site.bits(page_with(guessed), "bob") == 0


def test_any_16_bytes_of_poison_are_found_and_the_key_turns() -> None:
    site = Site()
    key = site.registry.poison_key(unix_ms=NOW)
    buffer = bytearray(256)
    overread.poison(buffer, key)
    assert buffer[:16] * 16 == buffer
    for at in range(16):
        assert site.bits(page_with(bytes(buffer[at : at + 16])), "bob") == 40
        assert site.bits(page_with(b"abc" + bytes(buffer[at : at + 16]) + b"xyz"), "bob") == 40
        assert site.bits(page_with(bytes(buffer[at : at + 15])), "bob") == 0
    assert site.registry.poison_key(unix_ms=NOW) != key  # after a sighting
    assert site.bits(page_with(bytes(buffer[:64])), "bob", NOW + 3 * 3_600_000) == 40
    assert site.bits(page_with(bytes(buffer[:64])), "bob", NOW + 5 * 3_600_000) == 0
    site = Site(key=b"k" * 16)
    assert site.registry.poison_key(unix_ms=NOW) != site.registry.poison_key(unix_ms=NOW + 3_600_000)
    with pytest.raises(BufferError):
        overread.poison(b"read-only", key)


def test_planted_tokens_are_found_until_they_are_retired() -> None:
    site = Site(life=1)
    site.registry.plant("AKIAQ7Z3X9K2M4N8P1R5", unix_ms=NOW)
    body = page_with("AKIAQ7Z3X9K2M4N8P1R5")
    assert site.bits(body, "bob", NOW + 86_400_000) == 40
    assert site.bits(body, None) == 40
    site.registry.retire("AKIAQ7Z3X9K2M4N8P1R5")
    assert site.bits(body, "bob") == 0
    with pytest.raises(ValueError, match="64 bits"):
        site.registry.plant("password")
    with pytest.raises(ValueError, match="no such token"):
        site.registry.retire("AKIAQ7Z3X9K2M4N8P1R5")


def test_export_and_import_carry_what_is_known() -> None:
    key = b"0123456789abcdef"
    one, other = Site(key=key), Site(key=key)
    one.login("alice", token(1))
    records = one.registry.export_changed(unix_ms=NOW)
    assert records
    assert len(records) % 24 == 0
    assert one.registry.export_changed(unix_ms=NOW) == b""
    other.registry.import_changed(records, unix_ms=NOW)
    assert other.bits(page_with(token(1)), "bob") == 30
    assert other.registry.export_changed(unix_ms=NOW) == b""  # nothing goes in circles
    assert other.bits(page_with(token(1)), "alice") == 0
    # A second owner elsewhere drops the value everywhere.
    other.visit("carol", f"session={token(1)}")
    one.registry.import_changed(other.registry.export_changed(unix_ms=NOW), unix_ms=NOW)
    assert one.bits(page_with(token(1)), "bob") == 0
    with pytest.raises(ValueError, match="24 bytes"):
        other.registry.import_changed(records[:-1])


def test_a_segment_holds_neither_values_nor_their_plain_digests(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    site = Site(segment=path, key=b"0123456789abcdef")
    values = [token(i) for i in range(50)] + [token(i, 32, HEX) for i in range(50, 100)]
    for i, value in enumerate(values):
        site.login(f"owner{i}", value)
        site.visit(f"owner{i}", f"session={value}", NOW + 1000)
    held = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert site.registry.metrics(unix_ms=NOW)["stored"] > 200
    assert b"0123456789abcdef" not in held
    for value in values:
        size = 12 if value not in values[50:] else 16
        assert not any(value[i : i + size].encode() in held for i in range(len(value) - size + 1))
        for windows in (value, value[:16], value[-16:]):
            for name in ("md5", "sha1", "sha256", "blake2b"):
                digest = hashlib.new(name, windows.encode())
                assert digest.digest()[:8] not in held
                assert digest.hexdigest()[:16].encode() not in held


def test_bad_options_say_what_is_wrong() -> None:
    with pytest.raises(overread.ConfigError, match="memory"):
        overread.SecretRegistry(memory=1000)
    with pytest.raises(ValueError, match="16 bytes"):
        overread.SecretRegistry(key=b"short")
    with pytest.raises(overread.ConfigError, match=r"needs options\.key"):
        overread.SecretRegistry(segment="/nonexistent/x")
    with pytest.raises(overread.ConfigError, match="No such file"):
        overread.SecretRegistry(segment="/nonexistent/x", key=b"k" * 16)
    with pytest.raises(TypeError, match="SecretRegistry"):
        overread.Scanner(registry="no")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["", "=", "a=b;;;=;", "x" * 10_000_000, "session=" + "\xff\0" * 500, "session=" + "%" * 300, '"' * 99])
def test_odd_cookies_do_no_harm(value: str) -> None:
    site = Site()
    site.visit("alice", value)
    site.registry.observe_response("alice", {"Set-Cookie": value}, value.encode("latin-1")[:100_000], unix_ms=NOW)
    assert site.bits(page_with(value.encode("latin-1")[:100_000]), "bob") < 22


def test_a_first_response_may_show_the_session_that_it_sets() -> None:
    for target in ("/", "/login"):
        site = Site()
        session = token(1)
        fields = [("Set-Cookie", f"sid={session}; HttpOnly"), ("Content-Type", "text/html")]
        page = site.scanner.filter(overread.Policy(), "text/html", headers=fields, request=overread.Request("POST", target, []), unix_ms=NOW)
        page.body(page_with(f"<a href='/cart;jsessionid={session}'>"))
        page.end()
        assert page.verdict().bits < 14
        # The same reply once more on its way out: a page that is made by a service which logs in through the same proxy.
        outer = site.scanner.filter(overread.Policy(), "text/html", headers=fields, request=overread.Request("POST", target, []), unix_ms=NOW)
        outer.end()
        assert outer.verdict().bits == 0
    # Whose session is known has no other one.
    site.login("alice", token(2))
    request = overread.Request("GET", "/", {"Cookie": f"sid={session}"})
    assert site.bits(page_with(token(2)), None, request=request, headers=fields) == 30


@pytest.mark.parametrize("claims", [100, 800, 2000, 5000])
def test_a_long_jwt_is_known_by_what_signs_it(claims: int) -> None:
    site = Site()

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    jwt = f"{part({'alg': 'RS256', 'kid': token(3)})}.{part({'sub': token(4), 'roles': token(5, claims)})}.{token(6, 342)}"
    site.login("alice", jwt)
    assert site.bits(page_with(jwt), "bob") >= 30
    assert site.bits(page_with(jwt[-342:]), "bob") == 30
    for at in range(342 - 47):
        assert site.bits(page_with(jwt[len(jwt) - 342 + at :][:47]), "bob") == 30


def test_a_setting_that_is_named_like_a_session_stands_for_nobody() -> None:
    site = Site()
    culture = ".AspNetCore.Culture=c%3Den-US%7Cuic%3Den-US"
    for session in (token(1), token(2)):
        fields = {"Set-Cookie": f".AspNetCore.Session={session}; HttpOnly"}
        site.registry.observe_request(None, {"Cookie": culture}, unix_ms=NOW)
        site.registry.observe_response(None, fields, request=overread.Request("GET", "/", {"Cookie": culture}), unix_ms=NOW)
        site.visit(None, f"{culture}; .AspNetCore.Session={session}")
    request = overread.Request("GET", "/", {"Cookie": f"{culture}; .AspNetCore.Session={token(2)}"})
    assert site.bits(page_with(token(1)), None, request=request) == 30
    assert site.bits(page_with(token(2)), None, request=request) == 0


@pytest.mark.parametrize("days", [1, 96, 98, 150, 193])
def test_what_is_left_of_long_ago_lives_no_more(days: int) -> None:
    site = Site(memory=64 << 10)
    later = NOW + days * 86_400_000
    for i in range(4000):
        site.login(f"client{i}", token(i))
    assert site.registry.metrics(unix_ms=NOW)["full"] > 0
    assert site.bits(page_with(token(1)), "bob", now=later) == 0
    assert site.registry.metrics(unix_ms=later)["live"] == 0
    full = site.registry.metrics(unix_ms=later)["full"]
    site.login("alice", token(5001), now=later)
    assert site.registry.metrics(unix_ms=later)["full"] == full
    assert site.bits(page_with(token(5001)), "bob", now=later) == 30


def test_what_a_response_sets_is_its_clients() -> None:
    # As cookie-session of npm does: the same signature for the same content, whoever has it.
    site = Site()
    same = ("Set-Cookie", f"session.sig={token(1, 27)}; HttpOnly")
    for i in range(3):
        site.login(f"client{i}", token(10 + i))
        reply = site.scanner.filter(overread.Policy(), "text/html", headers=[same], owner=f"client{i}", unix_ms=NOW)
        reply.body(page_with(token(1, 27)))
        reply.end()
        assert reply.verdict().bits == 0
    assert site.bits(PAGE, "client0", headers=[("X-Debug", token(11))]) == 30
    # A canary is none that a server sets.
    canary = site.registry.canary("client1", unix_ms=NOW)
    assert site.bits(PAGE, "client0", headers=[("Set-Cookie", f"a={canary}")]) == 40


@pytest.mark.parametrize("name", ["user", "user_id", "logged_in_user_id", "authUserId", "login_redirect", "session_return_to"])
def test_whose_account_it_is_and_where_a_login_goes_on_is_public(name: str) -> None:
    site = Site()
    site.login("alice", "6f0a3c1e-9d2b-41ee-b9d1-0242ac120002", name=name)
    assert site.bits(page_with("by <a href='/authors/6f0a3c1e-9d2b-41ee-b9d1-0242ac120002'>Alice</a>"), "bob") == 12


def test_a_sighted_canary_stays_content_where_values_live_shorter() -> None:
    site = Site(life=60)
    canary = site.registry.canary("mallory", unix_ms=NOW)
    assert site.bits(page_with(canary), "alice") == 40
    for seconds in (1, 61, 300, 899):
        assert site.bits(page_with(canary), "bob", now=NOW + 1000 * seconds) == 0
