"""Every action in Debian's nginx: what the client gets, what the caches keep, what the events say."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest

import overread

from .nginx_site import (
    CHUNKED,
    FIXED,
    FULL_GRID,
    LEAK,
    LISTEN,
    LONG,
    MEMORY,
    PAGE,
    PNG,
    PROTOCOLS,
    SECRET,
    STORABLE,
    Nginx,
    cached,
    curl,
    event_of,
    started,
    until,
)
from .test_nginx_slow_clients import asking, forget_peaks, growth

ACTIONS = ("log", "no-store", "redact", "trim", "truncate", "block")
KEPT_FROM_CACHES = ("no-store", "redact", "truncate")

PLACES = """
    location /{action}/ {{{{ {mode} proxy_pass {{origin}}; }}}}
    location /{action}/unbuffered/ {{{{ {mode} proxy_buffering off; proxy_pass {{origin}}; }}}}
    location /{action}/gz/ {{{{ {mode} gzip on; gzip_min_length 1; proxy_pass {{origin}}; }}}}
    location /{action}/strict/ {{{{ {mode} overread_on_error block; proxy_pass {{origin}}; }}}}
    location /{action}/small/ {{{{ {mode} proxy_buffer_size 1k; proxy_buffers 2 1k; proxy_busy_buffers_size 1k; proxy_pass {{origin}}; }}}}
    location /{action}/threads/ {{{{ {mode} aio threads; aio_write on; proxy_cache pages; proxy_pass {{origin}}; }}}}
    location /{action}/limited/ {{{{ {mode} overread_max_body 2500; proxy_pass {{origin}}; }}}}
    location /{action}/whole/ {{{{ {mode} max_ranges 0; alias {{folder}}/site/static/; }}}}
    location /{action}/any/ {{{{ {mode} overread_types *; proxy_pass {{origin}}; }}}}
    location /{action}/file/ {{{{ {mode} overread_types *; alias {{folder}}/site/static/; }}}}
    location /{action}/ssi/ {{{{ {mode} ssi on; alias {{folder}}/site/ssi/; }}}}
    location /{action}/cache/ {{{{ {mode} proxy_cache pages; add_header X-Cache $upstream_cache_status; proxy_pass {{origin}}; }}}}
    location /{action}/cache/hit/ {{{{ {mode} proxy_cache pages; proxy_cache_key {action}; proxy_pass {{origin}}; }}}}
    location /{action}/fill/ {{{{ overread off; proxy_cache pages; proxy_cache_key {action}; proxy_pass {{origin}}; }}}}
    location /{action}/store/ {{{{ {mode} proxy_store {{folder}}/stored/$uri; proxy_store_access user:rw; proxy_pass {{origin}}; }}}}
    location /{action}/trailers/ {{{{ {mode} add_trailer X-Checked yes; proxy_pass {{origin}}; }}}}
"""


def policy(action: str) -> str:
    return f"overread_action strong {action}; overread_action certain {action};"


SITE = (
    """
  types {{ text/html html; image/png png; }}
  proxy_cache_path {folder}/cache keys_zone=pages:1m;
  proxy_http_version 1.1;
  sendfile on;
  root {folder}/site;
  overread enforce;
  overread_events {folder}/events.jsonl;
  server {{"""
    + LISTEN
    + """
    location /part/ {{ proxy_cache pages; proxy_pass {origin}; }}
    location /outer/ {{ overread_block_from strong; proxy_pass {origin};
      location /outer/inner/ {{ overread_action certain redact; overread_action strong redact; proxy_pass {origin}; }}
      location /outer/later/ {{ overread_block_from certain; overread_action certain no-store; proxy_pass {origin}; }}
    }}
"""
    + "".join(PLACES.format(action=a, mode=policy(a)) for a in ACTIONS)
    + "".join(PLACES.format(action="monitor-" + a, mode="overread monitor; " + policy(a)) for a in ACTIONS)
    + "  }}\n}}\n"
)


@pytest.fixture(scope="module")
def nginx(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with started(tmp_path_factory.mktemp("actions"), origin, SITE) as running:
        static, parts = running.folder / "site/static", running.folder / "site/ssi"
        (static / "leak.html").write_bytes(LEAK)
        (static / "late.html").write_bytes(LONG + MEMORY + LONG)
        (static / "image.png").write_bytes(FIXED["/image"][1])
        (parts / "leak.html").write_bytes(PAGE + b'<!--# include virtual="/part/leak" -->, then the end.\n')
        yield running


def fetch(nginx: Nginx, path: str, protocol: str, folder: Path, *flags: str) -> tuple[int, int, bytes, dict[str, str]]:
    """curl's exit code, the status, the body and the fields of the head by lower-case name."""
    code, status, body = curl(nginx.url(path, protocol), protocol, "-D", str(folder / "head"), *flags)
    lines = (folder / "head").read_text().splitlines()[1:]
    return code, status, body, {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)}


def whole(path: str) -> bytes:
    name = "/" + path.rpartition("/")[2]
    return FIXED[name][1] if name in FIXED else b"".join(piece for piece in CHUNKED[name][1] if isinstance(piece, bytes))


def is_masked(body: bytes, original: bytes) -> bool:
    """As long, the clean part in front as it was, and nothing left to be found."""
    start = original.index(MEMORY)
    tier = overread.Scanner().scan(body, "text/html; charset=utf-8").tier
    return len(body) == len(original) and body[:start] == original[:start] and SECRET not in body and body[-100:] == original[-100:] and tier == "none"


# ---- pages whose leak is found before the head leaves ----

EARLY = [
    (action, place, protocol)
    for i, action in enumerate(ACTIONS)
    for j, place in enumerate(
        ("/leak", "/leak-chunked", "/unbuffered/leak", "/unbuffered/leak-chunked", "/gz/leak", "/file/leak.html", "/cache/leak", "/store/leak")
    )
    for k, protocol in enumerate(PROTOCOLS)
    if FULL_GRID or j < 2 or (i + j + k) % 2 == 0
]


@pytest.mark.parametrize(("action", "place", "protocol"), EARLY)
def test_an_action_on_a_page(nginx: Nginx, action: str, place: str, protocol: str, tmp_path: Path) -> None:
    path = f"/{action}{place}"
    coded = "/gz/" in place
    code, status, body, head = fetch(nginx, path, protocol, tmp_path, *(["--compressed"] if coded else []))
    event = event_of(nginx, path)
    done = "block" if action == "trim" else action  # a page has no tail that could be dropped
    assert (code, event["action"], event["mode"]) == (0, done, "enforce")
    assert "would" not in event
    if done == "block":
        assert (status, body, head["cache-control"]) == (502, b"", "no-store")
        assert head["overread-id"] == event["id"]
        return
    assert status == 200
    if action == "log":
        assert body == LEAK
        assert "x-robots-tag" not in head
        assert "/file/" in place or head["cache-control"] == STORABLE["Cache-Control"]
        return
    assert (head["cache-control"], head["x-robots-tag"]) == ("no-store", "noindex, noarchive")
    assert not {"etag", "last-modified", "expires"} & set(head)
    if action == "no-store":
        assert body == LEAK
    elif action == "redact":
        assert is_masked(body, LEAK)
    else:
        assert LEAK.startswith(body)
        assert 0 < len(body) <= len(PAGE) + 8  # a pointer's low byte may be a letter
        if not coded:
            assert int(head["content-length"]) == len(body)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("place", ["/any/image", "/any/image-chunked", "/file/image.png"])
def test_a_tail_behind_an_image_is_trimmed(nginx: Nginx, place: str, protocol: str, tmp_path: Path) -> None:
    code, status, body, head = fetch(nginx, "/trim" + place, protocol, tmp_path)
    assert (code, status, body, head["content-length"]) == (0, 200, PNG, str(len(PNG)))
    assert "etag" not in head


def test_the_same_over_tls(nginx: Nginx) -> None:
    for protocol in ("--http1.1", "--http2"):
        base = f"https://127.0.0.1:{nginx.tls_port}"
        code, status, body = curl(base + "/redact/leak", "-k", protocol)
        assert (code, status) == (0, 200)
        assert is_masked(body, LEAK)
        code, status, body = curl(base + "/truncate/late-leak", "-k", protocol)
        assert (code, status) == (0, 200)
        assert SECRET not in body


def test_actions_are_inherited_and_replaced_one_by_one(nginx: Nginx) -> None:
    assert curl(nginx.url("/outer/leak"))[:2] == (0, 502)
    assert is_masked(curl(nginx.url("/outer/inner/leak"))[2], LEAK)
    assert curl(nginx.url("/outer/later/leak"))[2] == LEAK
    assert event_of(nginx, "/outer/later/leak")["action"] == "no-store"


def test_every_way_to_the_client_masks_the_same_bytes(nginx: Nginx) -> None:
    ways = ("/leak", "/leak-chunked", "/split-leak", "/unbuffered/split-leak", "/small/split-leak", "/file/leak.html", "/threads/split-leak")
    bodies = {curl(nginx.url("/redact" + way, protocol), protocol)[2] for way in ways for protocol in PROTOCOLS}
    assert len(bodies) == 1
    assert is_masked(bodies.pop(), LEAK)


def test_behind_the_size_limit_bytes_flow(nginx: Nginx) -> None:
    assert is_masked(curl(nginx.url("/redact/limited/leak"))[2], LEAK)
    code, status, body = curl(nginx.url("/redact/limited/leak-and-much"))
    assert (code, status) == (0, 200)
    assert body[-len(LONG) :] == whole("/leak-and-much")[-len(LONG) :]
    assert SECRET not in body
    assert LEAK.startswith(curl(nginx.url("/truncate/limited/leak"))[2])


def test_ranges(nginx: Nginx) -> None:
    # nginx's own: the head has left before the first byte is seen.
    assert curl(nginx.url("/redact/file/leak.html"), "-r", "0-99") == (0, 206, PAGE[:100])
    code, status, body = curl(nginx.url("/redact/file/leak.html"), "-r", "100-4500")
    assert (code, status, len(body)) == (0, 206, len(LEAK[100:4501]))
    assert SECRET not in body
    code, status, body = curl(nginx.url("/truncate/file/leak.html"), "-r", "100-4500")
    assert (code, status) == (18, 206)
    assert LEAK[100:].startswith(body)
    assert SECRET not in body
    # Without nginx's own ranges the whole is scanned, and its head waits.
    assert curl(nginx.url("/block/whole/leak.html"), "-r", "1990-4500") == (0, 502, b"")
    assert is_masked(curl(nginx.url("/redact/whole/leak.html"), "-r", "1990-4500")[2], LEAK)
    # The origin's: what it says of its place would no longer be true.
    code, status, body = curl(nginx.url("/truncate/part"))
    assert (code, status) == (0, 502)
    assert SECRET not in body
    assert is_masked(curl(nginx.url("/redact/part"))[2], LEAK)


def test_a_client_of_http_1_0(nginx: Nginx) -> None:
    for path in ("/leak", "/late-leak", "/late-fixed"):
        code, status, body = curl(nginx.url("/redact" + path), "--http1.0")
        assert (code, status) == (0, 200)
        assert is_masked(body, whole(path))
        code, status, body = curl(nginx.url("/truncate" + path), "--http1.0")
        assert (code, status) == (18 if path == "/late-fixed" else 0, 200)
        assert whole(path).startswith(body)
        assert SECRET not in body


# ---- what is found late ----


LATE = [
    (action, place, protocol)
    for i, action in enumerate(("truncate", "redact", "no-store", "trim"))
    for j, place in enumerate(("/late-leak", "/late-fixed", "/unbuffered/late-leak", "/unbuffered/late-fixed", "/gz/late-leak", "/trailers/late-leak"))
    for k, protocol in enumerate(PROTOCOLS)
    if FULL_GRID or (i == 0 and j < 2) or (i < 2 and (i + j + k) % 2 == 0) or (i > 1 and j == i and k)
]


@pytest.mark.parametrize(("action", "place", "protocol"), LATE)
def test_what_is_found_late(nginx: Nginx, action: str, place: str, protocol: str, tmp_path: Path) -> None:
    path = f"/{action}{place}"
    coded = "/gz/" in place
    code, status, body, head = fetch(nginx, path, protocol, tmp_path, *(["--compressed"] if coded else []))
    original = whole(path)
    assert status == 200
    if action in ("no-store", "redact"):
        assert code == 0
        assert "no-store" not in head.get("cache-control", "")  # it had left
        assert is_masked(body, original) if action == "redact" else body == original
    else:
        # What was promised a length, or fields to follow, ends in an error; the rest cannot be told from a shorter page.
        promised = "fixed" in place or "trailers" in place or action == "trim"
        assert code in (18, 92) if promised else code == 0
        assert original.startswith(body) or (coded and code)
        assert SECRET not in body
        assert len(body) >= len(PAGE) * 25 or coded or action == "trim"
    event = event_of(nginx, path)
    assert event["action"] == ("cut" if action == "trim" else action)


@pytest.mark.parametrize("action", ["redact", "truncate"])
def test_a_long_file_for_a_slow_client(nginx: Nginx, action: str) -> None:
    code, _, body = curl(nginx.url(f"/{action}/file/late.html"), "--limit-rate", "3M")
    original = LONG + MEMORY + LONG
    if action == "redact":
        assert code == 0
        assert (len(body), body[: len(LONG)]) == (len(original), LONG)
        # The page ends where the leak begins, and another page behind it is foreign.
        assert body[-100:].strip(b"* \n") == b""
        assert SECRET not in body
    else:
        assert code == 18
        assert original.startswith(body)
        assert len(LONG) - 50_000 < len(body) <= len(LONG) + 8


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
@pytest.mark.parametrize("action", ["redact", "truncate"])
def test_a_worker_waits_in_little_memory(nginx: Nginx, action: str, protocol: str) -> None:
    before = forget_peaks(nginx)
    with asking(nginx, protocol, f"/{action}/unbuffered/leak-and-much") as client:
        time.sleep(0.5)
        client.go_on()
        body = b"".join(client.parts())
    assert SECRET not in body
    assert len(body) == len(whole("/leak-and-much")) if action == "redact" else body.startswith(PAGE)
    assert growth(before) < 4096


@pytest.mark.parametrize("place", ["", "/unbuffered"])
def test_an_early_end_does_not_wait_for_the_origin(nginx: Nginx, place: str) -> None:
    since = time.monotonic()
    connection = HTTPConnection("127.0.0.1", nginx.port, timeout=10)
    for _ in range(2):  # and the connection lives on
        connection.request("GET", f"/truncate{place}/leak-and-silence")
        body = connection.getresponse().read()
        assert whole("/leak-and-silence").startswith(body)
        assert SECRET not in body
    connection.request("GET", "/truncate/leak")
    assert connection.getresponse().read().startswith(PAGE)
    connection.close()
    assert time.monotonic() - since < 5  # the origin is silent for 8 s


def test_events_are_masked_and_flow(nginx: Nginx) -> None:
    since = time.monotonic()
    with ExitStack() as stack:
        streams = []
        for protocol in PROTOCOLS:
            url = nginx.url("/redact/unbuffered/leak-events", protocol)  # nginx's own buffers wait until they are full
            process = stack.enter_context(subprocess.Popen(["curl", "-sN", "-m", "20", protocol, url], stdout=subprocess.PIPE, start_new_session=True))
            stack.callback(process.kill)
            assert process.stdout is not None
            streams.append(process.stdout)
        got = [b""] * len(streams)
        for i, stream in enumerate(streams):
            while b"data: last\n" not in got[i]:
                got[i] += stream.readline()
        assert time.monotonic() - since < 1.3  # the end follows after 1.5 s
        got = [beginning + stream.read() for beginning, stream in zip(got, streams, strict=True)]
    for events in got:
        assert len(events) == len(whole("/leak-events"))
        assert events.endswith(b"data: end\n\n")
        assert SECRET not in events
        assert b"*" * len(SECRET) in events


# ---- coded bodies ----


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("action", ["no-store", "redact", "truncate"])
def test_coded_bodies_that_leak_are_not_altered(nginx: Nginx, action: str, protocol: str, tmp_path: Path) -> None:
    code, status, body, head = fetch(nginx, f"/{action}/gzip-leak", protocol, tmp_path, "--compressed")
    if action == "no-store":
        assert (code, status, body, head["cache-control"]) == (0, 200, LEAK, "no-store")
    else:
        assert (code, status, body) == (0, 502, b"")
    assert curl(nginx.url(f"/{action}/gzip", protocol), protocol, "--compressed") == (0, 200, PAGE)


def test_what_cannot_be_decoded_goes_as_on_error_says(nginx: Nginx) -> None:
    assert curl(nginx.url("/block/gzip-broken"))[:2] == (0, 200)
    assert curl(nginx.url("/block/strict/gzip-broken")) == (0, 502, b"")
    assert event_of(nginx, "/block/strict/gzip-broken")["action"] == "block"
    assert curl(nginx.url("/monitor-block/strict/gzip-broken"))[:2] == (0, 200)


# ---- caches ----


def empty_caches(nginx: Nginx) -> None:
    for folder in ("cache", "stored"):
        for path in (nginx.folder / folder).rglob("*"):
            if path.is_file():
                path.unlink()


NOT_STORED = [
    (action, place)
    for i, action in enumerate(KEPT_FROM_CACHES)
    for j, place in enumerate(("/cache/leak", "/store/late-leak", "/cache/late-leak", "/store/leak", "/cache/leak-chunked"))
    if FULL_GRID or (i + j) % 3 != 0
]


@pytest.mark.parametrize(("action", "place"), NOT_STORED)
def test_what_is_not_to_be_stored_is_in_no_cache(nginx: Nginx, action: str, place: str, tmp_path: Path) -> None:
    empty_caches(nginx)
    for _ in range(2):
        code, status, _, head = fetch(nginx, f"/{action}{place}", "--http1.1", tmp_path)
        assert (code, status) == (0, 200)
        assert head.get("x-cache") != "HIT"
        assert not until(lambda: SECRET in cached(nginx) + cached(nginx, "stored"), 0.1)
    # Nor is a shorter page, which would be a clean one.
    assert f"/{action}{place}".encode() not in cached(nginx)
    assert not list((nginx.folder / "stored").rglob(f"{action}/**/*leak*"))
    assert until(lambda: SECRET not in cached(nginx, "proxy"))


def test_what_is_only_logged_is_stored(nginx: Nginx, tmp_path: Path) -> None:
    for _ in range(2):
        head = fetch(nginx, "/log/cache/late-leak", "--http1.1", tmp_path)[3]
    assert head["x-cache"] == "HIT"


@pytest.mark.parametrize("action", KEPT_FROM_CACHES)
def test_a_hit_that_is_not_to_be_stored_goes(nginx: Nginx, action: str) -> None:
    empty_caches(nginx)
    assert curl(nginx.url(f"/{action}/fill/leak")) == (0, 200, LEAK)
    assert until(lambda: SECRET in cached(nginx))
    code, status, body = curl(nginx.url(f"/{action}/cache/hit/leak"))
    assert (code, status, body == LEAK) == (0, 200, action == "no-store")
    assert SECRET not in cached(nginx)


# ---- subrequests ----


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("action", KEPT_FROM_CACHES)
def test_a_part_of_a_page(nginx: Nginx, action: str, protocol: str, tmp_path: Path) -> None:
    empty_caches(nginx)
    code, status, body, head = fetch(nginx, f"/{action}/ssi/leak.html", protocol, tmp_path)
    original = PAGE + LEAK + b", then the end.\n"
    assert status == 200
    if action == "truncate":
        assert code == 0
        assert original.startswith(body)
        assert SECRET not in body
    else:
        assert code == 0
        assert is_masked(body, original) if action == "redact" else body == original
    assert head["cache-control"] == "no-store"
    assert not until(lambda: SECRET in cached(nginx), 0.1)  # the part has a cache of its own


# ---- monitor ----


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("action", ACTIONS)
def test_monitor_alters_nothing_and_says_what_it_would(nginx: Nginx, origin: str, action: str, protocol: str, tmp_path: Path) -> None:
    for place in ("/leak", "/unbuffered/leak-chunked", *(["/late-fixed", "/any/image", "/gzip-leak"] if FULL_GRID else [])):
        path = f"/monitor-{action}{place}"
        code, status, body, head = fetch(nginx, path, protocol, tmp_path)
        assert (code, status, body) == curl(origin + path)
        assert {name: head[name.lower()] for name in STORABLE} == STORABLE
        event = event_of(nginx, path)
        assert (event["mode"], event["action"], event["would"]) == ("monitor", "log", action)
