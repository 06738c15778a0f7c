"""Other clients' secrets and canaries in nginx: found in another's page, by every worker, over reloads; and never told to anybody."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import pytest

from .nginx_site import HEAD, Nginx, check, curl, started, until
from .shop import CANARY, Shop, documented_metrics, held_canaries, new_session, pieces_of, the_canary_of, writable_memory
from .test_nginx_operation import counters

SITE = """
  proxy_http_version 1.1;
  overread enforce;
  overread_events {folder}/events.jsonl;
  overread_owner $cookie_session;
  overread_registry memory=4m;
  server {{
    listen 127.0.0.1:{port} reuseport;
    listen 127.0.0.1:{port2} http2;
    add_header X-Worker $pid always;
    location / {{ proxy_pass {origin}; }}
    location /canary/ {{ overread_canary on; proxy_pass {origin}/; }}
    location /off/ {{ overread off; overread_canary on; proxy_pass {origin}/; }}
    location = /metrics {{ overread_status; }}
  }}
}}
"""
ANONYMOUS = SITE.replace("  overread_owner $cookie_session;\n", "")


def login(nginx: Nginx, shop: Shop, name: str, protocol: str = "--http1.1") -> str:
    """The worker that handled it."""
    _, status, body = curl(nginx.url(f"/login?as={quote(name)}", protocol), "-i", protocol)
    assert status == 200
    assert f"session={shop.sessions[name]}".encode() in body
    found = re.search(rb"(?i)x-worker: (\d+)", body)
    assert found
    return found[1].decode()


def show(nginx: Nginx, shop: Shop, text: str, *, to: str, path: str = "/shown", protocol: str = "--http1.1") -> int:
    """The status of a page with that text."""
    shop.shown = text
    return curl(nginx.url(path, protocol), protocol, "-H", f"Cookie: {to}")[1]


def last_event(nginx: Nginx, count: int) -> dict[str, object]:
    assert until(lambda: len(nginx.events) >= count)
    assert len(nginx.events) == count
    event: dict[str, object] = json.loads(nginx.events[-1])
    return event


def rules(event: dict[str, object]) -> set[object]:
    findings = event["findings"]
    assert isinstance(findings, list)
    return {finding["rule"] for finding in findings}


@pytest.mark.parametrize("site", [SITE, ANONYMOUS], ids=["owner", "strongest secret"])
@pytest.mark.parametrize("protocol", ["--http1.1", "--http2-prior-knowledge"])
def test_a_session_of_another_is_blocked_and_told_to_nobody(shop: Shop, tmp_path: Path, site: str, protocol: str) -> None:
    with started(tmp_path, shop.url, site) as nginx:
        for name in "ab":
            login(nginx, shop, name, protocol)
        assert show(nginx, shop, "nothing", to=shop.cookie("b"), protocol=protocol) == 200
        assert show(nginx, shop, shop.sessions["a"], to=shop.cookie("b"), protocol=protocol) == 502
        event = last_event(nginx, 1)
        assert (event["tier"], event["action"], rules(event)) == ("certain", "block", {"foreign.session"})
        # What no visitor has is anybody's text.
        assert show(nginx, shop, new_session(), to=shop.cookie("b"), protocol=protocol) == 200
        # The owner's own page may show it; from then on it is content.
        assert show(nginx, shop, shop.sessions["a"], to=shop.cookie("a"), protocol=protocol) == 200
        assert show(nginx, shop, shop.sessions["a"], to=shop.cookie("b"), protocol=protocol) == 200
        _, _, metrics = curl(nginx.url("/metrics"))
        told = metrics + nginx.log.encode() + (tmp_path / "events.jsonl").read_bytes()
        assert [piece for session in shop.sessions.values() for piece in pieces_of(session) if piece in told] == []


def test_a_token_reply_and_an_api_key(shop: Shop, tmp_path: Path) -> None:
    with started(tmp_path, shop.url, ANONYMOUS) as nginx:
        assert curl(nginx.url("/token?as=a"))[1] == 200
        login(nginx, shop, "b")
        assert show(nginx, shop, shop.sessions["a"], to=shop.cookie("b")) == 200  # 24 bits: an alarm, and not stored
        event = last_event(nginx, 1)
        assert (event["tier"], rules(event)) == ("strong", {"foreign.session"})
        # What only a client sent is worth no alarm.
        key = new_session()
        assert curl(nginx.url("/"), "-H", f"X-Api-Key: {key}")[1] == 200
        assert show(nginx, shop, key, to=shop.cookie("b")) == 200
        assert len(nginx.events) == 1


def test_a_form_in_the_request_is_its_own(shop: Shop, tmp_path: Path) -> None:
    with started(tmp_path, shop.url, SITE) as nginx:
        login(nginx, shop, "a")
        login(nginx, shop, "b")
        shop.shown = shop.sessions["a"]
        status = curl(nginx.url("/shown"), "-H", f"Cookie: {shop.cookie('b')}", "--data", f"token={shop.sessions['a']}")[1]
        assert status == 200  # whoever sends it knows it


def test_without_a_registry_it_is_plain_text(shop: Shop, tmp_path: Path) -> None:
    site = SITE.replace("overread_registry memory=4m", "overread_registry off").replace("overread_canary on; ", "")
    with started(tmp_path, shop.url, site) as nginx:
        login(nginx, shop, "a")
        login(nginx, shop, "b")
        assert show(nginx, shop, shop.sessions["a"], to=shop.cookie("b")) == 200
        assert nginx.events == []
        assert not any(name.startswith("registry") for name in counters(nginx))


def by_worker(nginx: Nginx, shop: Shop, names: list[str]) -> dict[str, str]:
    """A visitor whose login each worker handled."""
    found: dict[str, str] = {}

    def all_found() -> bool:
        name = names[len(found)]
        found.setdefault(login(nginx, shop, name), name)
        return len(found) == len(nginx.workers())

    assert until(all_found)
    return found


def test_workers_share_it(shop: Shop, tmp_path: Path) -> None:
    site = SITE.replace("  overread enforce;", "  log_format worker '$pid $status $uri';\n  access_log {folder}/access.log worker;\n  overread enforce;")
    with started(tmp_path, shop.url, site) as nginx:
        login(nginx, shop, "reader")
        visitors = by_worker(nginx, shop, [f"visitor {i}" for i in range(2)])

        def shown() -> list[str]:
            return [line for line in (tmp_path / "access.log").read_text().splitlines() if line.endswith("/shown")]

        for name in visitors.values():
            before = len(shown())

            def by_both(name: str = name, before: int = before) -> bool:
                show(nginx, shop, shop.sessions[name], to=shop.cookie("reader"))
                return len({line.split()[0] for line in shown()[before:]}) == 2

            assert until(by_both)
        assert {line.split()[1] for line in shown()} == {"502"}


def reload(nginx: Nginx) -> None:
    before = nginx.workers()
    nginx.process.send_signal(signal.SIGHUP)
    assert until(lambda: len(nginx.workers()) == 2 and not set(before) & set(nginx.workers()))


def test_a_reload_loses_no_secret_and_other_options_begin_anew(shop: Shop, tmp_path: Path) -> None:
    with started(tmp_path, shop.url, SITE, expected="overread_registry: expected") as nginx:
        login(nginx, shop, "a")
        login(nginx, shop, "b")
        for _ in range(2):
            reload(nginx)
            assert show(nginx, shop, shop.sessions["a"], to=shop.cookie("b")) == 502
        # A reload that fails, and the one after it.
        text = (tmp_path / "nginx.conf").read_text()
        (tmp_path / "nginx.conf").write_text(text.replace("memory=4m", "memory=4m life=never"))
        nginx.process.send_signal(signal.SIGHUP)
        assert until(lambda: "overread_registry: expected" in nginx.log)
        (tmp_path / "nginx.conf").write_text(text)
        reload(nginx)
        assert show(nginx, shop, shop.sessions["a"], to=shop.cookie("b")) == 502
        (tmp_path / "nginx.conf").write_text(text.replace("memory=4m", "memory=5m"))
        reload(nginx)
        assert show(nginx, shop, shop.sessions["a"], to=shop.cookie("b")) == 200
        assert counters(nginx)["registry_live"] > 0
        assert show(nginx, shop, shop.sessions["b"], to=shop.cookie("a")) == 200  # a client said it, no server
        login(nginx, shop, "c")
        assert show(nginx, shop, shop.sessions["c"], to=shop.cookie("b")) == 502


def test_a_worker_that_is_killed_takes_nothing_with_it(shop: Shop, tmp_path: Path) -> None:
    with started(tmp_path, shop.url, SITE, expected="exited on signal 9") as nginx:
        login(nginx, shop, "b")
        stop = threading.Event()

        def sign_in(i: int) -> None:
            while not stop.is_set():
                curl(nginx.url(f"/login?as=crowd{i}"))

        crowd = [threading.Thread(target=sign_in, args=(i,)) for i in range(2)]
        for thread in crowd:
            thread.start()
        try:
            for round_number in range(3):
                login(nginx, shop, f"a{round_number}")
                before = nginx.workers()
                for worker in before:
                    os.kill(int(worker), signal.SIGKILL)
                assert until(lambda old=before: len(nginx.workers()) == 2 and not set(old) & set(nginx.workers()))  # type: ignore[misc]
        finally:
            stop.set()
            for thread in crowd:
                thread.join(30)
        for round_number in range(3):
            assert show(nginx, shop, shop.sessions[f"a{round_number}"], to=shop.cookie("b")) == 502
        login(nginx, shop, "after")
        assert show(nginx, shop, shop.sessions["after"], to=shop.cookie("b")) == 502


def key_file(folder: Path, name: str = "registry.key", mode: int = 0o600) -> Path:
    path = folder / name
    path.write_text(os.urandom(16).hex() + "\n")
    path.chmod(mode)
    return path


def test_a_segment_outlives_nginx(shop: Shop, tmp_path: Path) -> None:
    key = key_file(tmp_path)
    site = SITE.replace("memory=4m", "memory=4m life=10m segment={folder}/segment key=" + str(key) + " name=visitor")
    with started(tmp_path, shop.url, site) as nginx:
        login(nginx, shop, "a")
        reload(nginx)
    segment = tmp_path / "segment"
    assert segment.stat().st_mode & 0o777 == 0o600
    with started(tmp_path, shop.url, site) as nginx:
        login(nginx, shop, "b")
        assert show(nginx, shop, shop.sessions["a"], to=shop.cookie("b")) == 502
    text = segment.read_bytes()
    assert [piece for session in shop.sessions.values() for piece in pieces_of(session) if piece in text] == []
    assert bytes.fromhex(key.read_text()) not in text


def test_workers_of_another_user_need_no_right_to_segment_and_key(shop: Shop, tmp_path: Path) -> None:
    key = key_file(tmp_path)
    site = SITE.replace("memory=4m", f"memory=4m segment={{folder}}/segment key={key}")
    with started(tmp_path, shop.url, site, HEAD.replace("user root;", "user nobody nogroup;")) as nginx:
        assert until(lambda: all(Path(f"/proc/{worker}").stat().st_uid for worker in nginx.workers()))
        login(nginx, shop, "a")
        login(nginx, shop, "b")
        reload(nginx)
        assert show(nginx, shop, shop.sessions["a"], to=shop.cookie("b")) == 502


def test_another_key_of_the_same_name_is_another_registry(shop: Shop, tmp_path: Path) -> None:
    key_file(tmp_path)
    with started(tmp_path, shop.url, SITE.replace("memory=4m", "key={folder}/registry.key memory=4m")) as nginx:
        login(nginx, shop, "a")
        login(nginx, shop, "b")
        reload(nginx)
        assert show(nginx, shop, shop.sessions["a"], to=shop.cookie("b")) == 502
        key_file(tmp_path)
        reload(nginx)
        assert show(nginx, shop, shop.sessions["a"], to=shop.cookie("b")) == 200


# ---- configuration ----

EXPECTED = "overread_registry: expected off, on, or memory=SIZE (64k to 64g), life=TIME (1s to 1d)"
BAD = [
    ("overread_registry;", 'invalid number of arguments in "overread_registry" directive'),
    ("overread_registry yes;", EXPECTED),
    ("overread_registry on memory=4m;", EXPECTED),
    ("overread_registry off off;", EXPECTED),
    ("overread_registry memory=63k;", 'found "memory=63k"'),
    ("overread_registry memory=65g;", 'found "memory=65g"'),
    ("overread_registry memory=much;", 'found "memory=much"'),
    ("overread_registry memory=4m memory=4m;", EXPECTED),
    ("overread_registry life=0;", 'found "life=0"'),
    ("overread_registry life=25h;", 'found "life=25h"'),
    ("overread_registry name=;", 'found "name="'),
    ("overread_registry segment=;", 'found "segment="'),
    ("overread_registry segment=segment;", "overread_registry: ovr_registry_open: a segment needs options.key"),
    ("overread_registry key=/absent/key;", 'overread_registry: cannot read "/absent/key"'),
    ("overread_registry key=short.key;", "does not hold 32 hexadecimal digits"),
    ("overread_registry key=open.key;", "chmod 600 it"),
    ("overread_registry segment=/absent/segment key=good.key;", "overread_registry: /absent/segment: No such file or directory"),
    ("overread_registry segment=other-version key=good.key memory=64k;", "another version of overread made it: remove it"),
    ("overread_registry segment=other-size key=good.key memory=64k;", "give all that share it the same"),
    ("overread_registry segment=other-mode key=good.key memory=64k;", "its mode must be 0600"),
    ("overread_registry segment=other-key key=good.key memory=64k;", "it is under another key"),
    ("overread_registry segment=link key=good.key memory=64k;", "overread_registry: "),
    ("overread_registry on; overread_registry on;", '"overread_registry" directive is duplicate'),
    ("overread_registry off; overread_registry on;", '"overread_registry" directive is duplicate'),
    ("server { overread_registry on; }", '"overread_registry" directive is not allowed here'),
    ("overread_canary maybe;", "overread_canary"),
    ("overread_canary on; overread_canary on;", '"overread_canary" directive is duplicate'),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_bad_values_name_their_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "short.key").write_text("abc")
    (tmp_path / "short.key").chmod(0o600)
    key_file(tmp_path, "open.key", 0o644)
    key_file(tmp_path, "good.key")
    key_file(tmp_path, "foreign.key")
    if "other-" in line:
        assert check(tmp_path, "overread_registry segment=right key=foreign.key memory=64k;\n}\n")[0] == 0
        right = (tmp_path / "right").read_bytes()
        for name, data, mode in (
            ("other-version", b"x" * 8 + right[8:], 0o600),
            ("other-size", right + right, 0o600),
            ("other-mode", right, 0o640),
            ("other-key", right, 0o600),
        ):
            (tmp_path / name).write_bytes(data)
            (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    status, said = check(tmp_path, line + "\n}\n")
    assert status == 1
    assert message in said
    assert f"nginx.conf:{HEAD.count(chr(10)) + 1}" in said
    assert said.count("[emerg]") == 1


def test_canaries_need_a_registry(tmp_path: Path) -> None:
    status, said = check(tmp_path, "server { location / { overread_canary on; } }\n}\n")
    assert status == 1
    assert "overread_canary: needs overread_registry" in said


@pytest.mark.parametrize(
    "line", ["overread_registry on;", "overread_registry off;", "overread_registry memory=64k life=1d name=visitor name=cart;", "overread_registry life=90;"]
)
def test_good_values_pass(tmp_path: Path, line: str) -> None:
    status, said = check(tmp_path, line + "\n}\n")
    assert status == 0, said


# ---- canaries ----


def held(nginx: Nginx, shop: Shop, cookie: str, path: str = "/canary/hold", *flags: str) -> tuple[set[bytes], bytes]:
    """Of a request with that cookie, in all workers."""
    return held_canaries(shop, lambda: curl(nginx.url(path), "-H", f"Cookie: {cookie}", *flags), nginx.workers())


@pytest.mark.parametrize("site", [SITE, ANONYMOUS], ids=["owner", "strongest secret"])
def test_a_canary_is_in_memory_only_and_certain_once(shop: Shop, tmp_path: Path, site: str) -> None:
    with started(tmp_path, shop.url, site) as nginx:
        login(nginx, shop, "b")
        mine = f"session={new_session()}; theme=dark"
        canary = the_canary_of(shop, mine, held(nginx, shop, mine))
        assert nginx.events == []
        assert show(nginx, shop, canary, to=shop.cookie("b")) == 502
        event = last_event(nginx, 1)
        assert (event["tier"], rules(event)) == ("certain", {"foreign.canary"})
        assert canary not in json.dumps(event)
        assert canary not in nginx.log
        # Burnt: seen again it is content.
        assert show(nginx, shop, canary, to=shop.cookie("b")) == 200
        assert len(nginx.events) == 1


@pytest.mark.parametrize("site", [SITE, ANONYMOUS], ids=["owner", "strongest secret"])
def test_a_canary_in_the_answer_to_its_own_request_is_silent(shop: Shop, tmp_path: Path, site: str) -> None:
    """The origin gets the canary out of the worker's memory while the request waits for it."""
    with started(tmp_path, shop.url, site) as nginx:
        mine = f"session={new_session()}"

        def put() -> None:
            assert shop.held.wait(10)
            for worker in nginx.workers():
                for piece in writable_memory(worker):
                    if match := CANARY.search(piece):
                        shop.shown = match[0].decode()
            shop.release.set()

        putter = threading.Thread(target=put)
        putter.start()
        shop.release.clear()
        code, status, body = curl(nginx.url("/canary/hold-and-show"), "-H", f"Cookie: {mine}")
        putter.join(20)
        assert (code, status) == (0, 200)
        assert CANARY.search(body)
        assert nginx.events == []


def test_requests_without_a_cookie_and_requests_that_are_not_scanned(shop: Shop, tmp_path: Path) -> None:
    with started(tmp_path, shop.url, SITE) as nginx:
        # No Cookie: the field alone.
        canaries, around = held(nginx, shop, "", "/canary/hold", "-H", "Cookie:")
        assert len(canaries) == 1
        assert b"overread-canary: " + canaries.pop() in around
        assert b"overread" not in shop.seen.lower()
    with started(tmp_path, shop.url, SITE) as nginx:
        assert held(nginx, shop, "session=x", "/off/hold")[0] == set()
        assert held(nginx, shop, "session=x", "/hold")[0] == set()


def test_who_asks_early_whose_a_request_is_changes_no_variable(shop: Shop, tmp_path: Path) -> None:
    """What stands for a client may be known only once it is let in, and a map has captures of its own."""
    site = SITE.replace("  overread_owner $cookie_session;", "  map $user $tenant {{ default nobody; ~^(.)(.+) t-$2; }}\n  overread_owner $tenant;").replace(
        "    location /off/",
        """    location = /auth {{ internal; proxy_pass {origin}/page; }}
    location /let/ {{
      overread_canary on;
      auth_request /auth;
      auth_request_set $user u$upstream_status;
      proxy_set_header X-Tenant $tenant;
      proxy_pass {origin}/page;
    }}
    location ~ ^/one/(.*)$ {{ set $user known; overread_canary on; proxy_set_header X-Rest $1; proxy_pass {origin}; }}
    location /off/""",
    )
    with started(tmp_path, shop.url, site) as nginx:
        assert curl(nginx.url("/let/rest"), "-H", "Cookie: session=x")[1] == 200
        assert b"X-Tenant: t-200\r\n" in shop.seen
        assert curl(nginx.url("/one/cart"), "-H", "Cookie: session=x")[1] == 200
        assert b"X-Rest: cart\r\n" in shop.seen


def test_the_value_is_the_clients_own_byte_for_byte(shop: Shop, tmp_path: Path) -> None:
    with started(tmp_path, shop.url, SITE) as nginx:
        for value in ("a=1", "", "x" * 3000, 'q="1; 2"; b=%20+', "a=1; a=2"):
            shop.seen.clear()
            assert curl(nginx.url("/canary/page"), "-H", f"Cookie;{value}" if not value else f"Cookie: {value}")[1] == 200
            assert re.findall(rb"(?im)^cookie: ?(.*)\r$", shop.seen) == [value.encode()]
        shop.seen.clear()
        curl(nginx.url("/canary/page"), "-H", "Cookie: first=1", "-H", "Cookie: second=2")
        assert b"first=1" in shop.seen
        assert b"second=2" in shop.seen
        # HTTP/2: crumbs are one value before they are planted.
        shop.seen.clear()
        curl(nginx.url("/canary/page", "--http2-prior-knowledge"), "--http2-prior-knowledge", "-H", "cookie: a=1; b=2")
        assert re.findall(rb"(?im)^cookie: ?(.*)\r$", shop.seen) == [b"a=1; b=2"]


# ---- metrics ----


def test_metrics_are_those_of_the_documentation(shop: Shop, tmp_path: Path) -> None:
    with started(tmp_path, shop.url, SITE) as nginx:
        before = counters(nginx)
        names = {name for name in before if name.startswith("registry_")}
        assert names == documented_metrics()
        assert {name for name in names if before[name]} == {"registry_slots"}
        login(nginx, shop, "a")
        login(nginx, shop, "b")
        assert show(nginx, shop, shop.sessions["a"], to=shop.cookie("b")) == 502
        after = counters(nginx)
        assert after["registry_live"] > 0
        assert after["registry_stored_total"] > 0
        assert after["registry_observed_total"] >= 2
        assert after["registry_lookups_total"] > 0
        assert after["registry_foreign_total"] > 0
        _, _, text = curl(nginx.url("/metrics"))
        assert b"# TYPE overread_registry_live gauge\n" in text
        assert b"# TYPE overread_registry_foreign_total counter\n" in text


def test_a_full_table_is_counted_and_harmless(shop: Shop, tmp_path: Path) -> None:
    with started(tmp_path, shop.url, SITE.replace("memory=4m", "memory=64k")) as nginx:
        connection = HTTPConnection("127.0.0.1", nginx.port, timeout=10)
        for i in range(1500):
            if i % 250 == 0:  # of nginx's keepalive_requests
                connection.close()
            connection.request("GET", f"/login?as={i}")
            assert connection.getresponse().read()
            # What nobody sends back would make room for what is issued.
            connection.request("GET", "/", headers={"Cookie": shop.cookie(str(i))})
            assert connection.getresponse().read()
        connection.close()
        assert counters(nginx)["registry_full_total"] > 0
        assert nginx.events == []
