"""The module in Debian's own nginx, before an origin that spills memory, asked by curl."""

from __future__ import annotations

import random
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest

from overread import ruleset

from .nginx_site import (
    CHUNKED,
    FIXED,
    FULL_GRID,
    HEAD,
    LEAK,
    LONG,
    MEMORY,
    MODULE,
    OWN,
    PAGE,
    PROTOCOLS,
    ROOT,
    SECRET,
    SITE,
    Nginx,
    cached,
    check,
    curl,
    event_of,
    started,
    until,
)


@pytest.fixture(scope="module")
def nginx(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with started(tmp_path_factory.mktemp("nginx"), origin) as running:
        static = running.folder / "site/static"
        (static / "page.html").write_bytes(PAGE + b"</body></html>\n")
        (static / "long.html").write_bytes(LONG)
        (static / "leak.html").write_bytes(LEAK)
        (static / "photo.jpg").write_bytes(random.Random(2).randbytes(300_000))
        parts = running.folder / "site/ssi"
        (parts / "clean.html").write_bytes(b'<h1>Parts</h1><!--# include virtual="/page" -->, then <!--# include virtual="/static/page.html" -->.\n')
        (parts / "leak.html").write_bytes(b'<h1>Parts</h1><!--# include virtual="/page" -->, then <!--# include virtual="/leak" -->.\n')
        yield running


# ---- clean bodies ----


CLEAN_MODES = ("", "/monitor", "/off", "/certain", "/unbuffered", "/small-buffers", "/all", "/first-bytes", "/cache")
CLEAN_PAGES = ("/page", "/long", "/json", "/nothing", "/chunked", "/long-chunked", "/slow", "/gzip", "/echo")
CLEAN = [
    (page, mode, protocol)
    for i, page in enumerate(CLEAN_PAGES)
    for j, mode in enumerate(CLEAN_MODES)
    for k, protocol in enumerate(PROTOCOLS)
    if FULL_GRID or (i + j + k) % (2 if mode in ("", "/unbuffered") else 4) == 0
]


@pytest.mark.parametrize(("page", "mode", "protocol"), CLEAN)
def test_clean_bodies_are_unchanged(nginx: Nginx, origin: str, mode: str, page: str, protocol: str) -> None:
    if page == "/echo":  # the proxy's own request differs from curl's, so only the client's part can be compared
        code, status, body = curl(nginx.url(mode + page, protocol), protocol, "-H", "Cookie: session=" + OWN)
        assert (code, status) == (0, 200)
        assert OWN.encode() in body or mode == "/cache"
        return
    assert curl(nginx.url(mode + page, protocol), protocol) == curl(origin + page)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ["page.html", "long.html", "photo.jpg"])
def test_static_files_are_unchanged(nginx: Nginx, name: str, protocol: str) -> None:
    code, status, body = curl(nginx.url("/static/" + name, protocol), protocol)
    assert (code, status) == (0, 200)
    assert body == (nginx.folder / "site/static" / name).read_bytes()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_gzip_to_the_client_and_from_the_origin(nginx: Nginx, protocol: str) -> None:
    for path, whole in (("/gz/long", LONG), ("/gz/long-chunked", LONG), ("/gunzip/gzip", PAGE)):
        code, status, body = curl(nginx.url(path, protocol), protocol, *(["--compressed"] if path.startswith("/gz/") else []))
        assert (code, status, body) == (0, 200, whole), path


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_parts_of_ssi_are_unchanged(nginx: Nginx, protocol: str) -> None:
    page = PAGE + b"</body></html>\n"
    assert curl(nginx.url("/ssi/clean.html", protocol), protocol) == (0, 200, b"<h1>Parts</h1>" + page + b", then " + page + b".\n")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_other_filters_and_subrequests(nginx: Nginx, protocol: str) -> None:
    page = PAGE + b"</body></html>\n"
    for path, whole in (
        ("/slice/long.html", LONG),
        ("/sub/long", LONG.replace(b"long page", b"long PAGE")),
        ("/added/clean/page", page + page + LONG),
        ("/asked/long", LONG),
    ):
        assert curl(nginx.url(path, protocol), protocol) == (0, 200, whole), path
    assert curl(nginx.url("/slice/long.html", protocol), protocol, "-r", "1000-40999") == (0, 206, LONG[1000:41000])
    for path in ("/slice/leak.html", "/sub/leak", "/added/page", "/asked/leak"):
        code, status, body = curl(nginx.url(path, protocol), protocol)
        assert SECRET not in body, path
        assert code != 0 or status == 502, path
        event_of(nginx, path)


def test_a_slow_client_gets_the_whole(nginx: Nginx) -> None:
    for path in ("/long", "/small-buffers/long-chunked", "/unbuffered/long"):
        code, _, body = curl(nginx.url(path), "--limit-rate", "3M")
        assert (code, body) == (0, LONG)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_head_empty_not_modified_and_ranges(nginx: Nginx, protocol: str) -> None:
    def ask(path: str, *flags: str) -> tuple[int, int, bytes]:
        return curl(nginx.url(path, protocol), protocol, *flags)

    for path in ("/page", "/static/long.html"):
        code, status, head = ask(path, "-I")
        assert (code, status) == (0, 200)
        assert b"content-length: " in head.lower()
    assert ask("/empty") == (0, 204, b"")
    _, _, head = ask("/static/page.html", "-I")
    found = re.search(rb"(?i)etag: (\S+)", head)
    assert found
    assert ask("/static/page.html", "-H", "If-None-Match: " + found[1].decode()) == (0, 304, b"")
    assert ask("/static/long.html", "-r", "1000-40999") == (0, 206, LONG[1000:41000])
    code, status, body = ask("/static/long.html", "-r", "0-9,100000-100009")
    assert (code, status) == (0, 206)
    assert LONG[100000:100010] in body
    assert ask("/static/photo.jpg", "-r", "10-19")[1] == 206
    for _ in range(2):  # from the origin, then from the cache
        assert ask("/cache/long", "-r", "1000-40999") == (0, 206, LONG[1000:41000])


@pytest.mark.parametrize("path", ["/stream", "/unbuffered/stream", "/events", "/unbuffered/events", "/monitor/unbuffered/stream"])
def test_the_first_bytes_of_a_stream_arrive_at_once(nginx: Nginx, path: str) -> None:
    started_at = time.monotonic()
    with ExitStack() as stack:
        streams = []
        for protocol in PROTOCOLS:
            argv = ["curl", "-sN", "-m", "20", protocol, nginx.url(path, protocol)]
            process = stack.enter_context(subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True))
            stack.callback(process.kill)
            assert process.stdout is not None
            streams.append(process.stdout)
        assert all(b"first" in stream.readline() for stream in streams)
        assert time.monotonic() - started_at < 1.2  # the second line follows after 1.5 s
        assert all(b"second" in stream.read() for stream in streams)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_trailers_arrive(nginx: Nginx, tmp_path: Path, protocol: str) -> None:
    code, _, body = curl(nginx.url("/trailers/chunked", protocol), protocol, "-H", "TE: trailers", "-D", str(tmp_path / "fields"))
    assert (code, body) == (0, b"".join(piece for piece in CHUNKED["/chunked"][1] if isinstance(piece, bytes)))
    assert b"x-checked: yes" in (tmp_path / "fields").read_bytes().lower()


def test_a_connection_is_kept_after_clean_answers(nginx: Nginx) -> None:
    connection = HTTPConnection("127.0.0.1", nginx.port, timeout=10)
    for path in ("/page", "/long", "/chunked", "/empty", "/nothing", "/slow", "/page"):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status in (200, 204)
        assert response.getheader("Connection") == "keep-alive"
    connection.close()


def test_an_echo_of_the_own_request_passes(nginx: Nginx) -> None:
    code, status, body = curl(nginx.url("/post"), "--data-binary", (b"x" * 99 + MEMORY[38:]).decode("latin-1"))
    assert (code, status) == (0, 200)
    assert SECRET in body


def test_an_origin_that_breaks_off_is_told_to_the_client(nginx: Nginx) -> None:
    code, _, body = curl(nginx.url("/broken"))
    assert code == 18
    assert body == PAGE


# ---- leaks ----


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "path",
    [
        "/leak",
        "/leak-chunked",
        "/split-leak",
        "/unbuffered/leak",
        "/small-buffers/leak",
        "/gz/leak",
        "/gunzip/gzip-leak",
        "/static/leak.html",
        "/all/other-type",
    ],
)
def test_a_leak_is_blocked(nginx: Nginx, path: str, protocol: str) -> None:
    flags = ["--compressed"] if path.startswith("/gz/") else []
    code, status, answer = curl(nginx.url(path + "?token=hunter2", protocol), protocol, "-i", *flags)
    assert (code, status) == (0, 502)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b""
    event = event_of(nginx, path)
    assert (event["action"], event["proxy"], event["mode"]) == ("block", "nginx", "enforce")
    quoted = re.search(rb"(?i)overread-id: ([0-9a-f]{16})", head)
    assert quoted
    assert any(quoted[1].decode() in line for line in nginx.events)
    assert b"hunter2" not in (nginx.folder / "events.jsonl").read_bytes()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("path", ["/late-leak", "/unbuffered/late-leak", "/gz/late-leak"])
def test_a_leak_after_the_first_bytes_left_is_cut(nginx: Nginx, path: str, protocol: str) -> None:
    code, _, body = curl(nginx.url(path, protocol), protocol, *(["--compressed"] if "/gz/" in path else []))
    assert code in (18, 56, 92)  # partial transfer, reset, HTTP/2 stream error
    assert SECRET not in body
    assert b"/gz/" in path.encode() or (PAGE * 32).startswith(body)
    assert event_of(nginx, path)["action"] == "cut"


@pytest.mark.parametrize("protocol", ["--http1.1", "--http2"])
def test_the_same_over_tls(nginx: Nginx, protocol: str) -> None:
    base = f"https://127.0.0.1:{nginx.tls_port}"
    assert curl(base + "/long", "-k", protocol) == (0, 200, LONG)
    assert curl(base + "/leak", "-k", protocol) == (0, 502, b"")
    code, _, body = curl(base + "/late-leak", "-k", protocol)
    assert code in (18, 56, 92)
    assert SECRET not in body


def test_a_client_of_http_1_0_notices_the_cut(nginx: Nginx) -> None:
    code, _, body = curl(nginx.url("/late-leak"), "--http1.0")
    assert code == 56  # connection reset: there is no other sign
    assert SECRET not in body


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_leak_in_a_part_of_ssi_is_stopped(nginx: Nginx, protocol: str) -> None:
    code, status, body = curl(nginx.url("/ssi/leak.html", protocol), protocol)
    assert SECRET not in body
    assert code != 0 or status == 502
    event_of(nginx, "/ssi/leak.html")


def test_a_leak_in_a_range_is_cut(nginx: Nginx) -> None:
    code, _, body = curl(nginx.url("/static/leak.html"), "-r", "100-3000")
    assert code in (18, 52, 56)
    assert SECRET not in body


def test_an_error_page_takes_the_place_of_a_held_answer(nginx: Nginx) -> None:
    assert curl(nginx.url("/errors/absent")) == (0, 404, PAGE + b"</body></html>\n")


@pytest.mark.parametrize("page", ["/leak", "/leak-chunked", "/late-leak"])
def test_monitor_changes_no_byte_and_reports(nginx: Nginx, origin: str, page: str) -> None:
    assert curl(nginx.url("/monitor" + page)) == curl(origin + page)
    event = event_of(nginx, "/monitor" + page)
    assert (event["action"], event["mode"]) == ("log", "monitor")
    assert event["tier"] in ("strong", "certain")


def test_off_types_and_size_limit_what_is_scanned(nginx: Nginx, origin: str) -> None:
    for path in ("/off/leak", "/other-type", "/first-bytes/leak"):
        assert curl(nginx.url(path)) == curl(origin + path), path
        assert not any(f'"path":"{path}"' in line for line in nginx.events)


def test_variables_reach_the_access_log(nginx: Nginx) -> None:
    curl(nginx.url("/monitor/leak"))
    curl(nginx.url("/page"))
    curl(nginx.url("/off/page"))

    def line(uri: str) -> str:
        lines = [x for x in (nginx.folder / "access.log").read_text().splitlines() if x.startswith(uri + " ")]
        return lines[-1] if lines else ""

    curl(nginx.url("/leak"))
    assert until(lambda: all(map(line, ("/monitor/leak", "/page", "/off/page", "/leak"))))
    found = re.fullmatch(r"/monitor/leak 200 tier=(strong|certain) bits=\d\d\.\d rules=[a-z0-9.,_-]+ action=log id=([0-9a-f]{16})", line("/monitor/leak"))
    assert found
    assert found[2] == event_of(nginx, "/monitor/leak")["id"]
    assert line("/page") == "/page 200 tier=none bits=0.0 rules=- action=- id=-"
    assert line("/off/page") == "/off/page 200 tier=- bits=- rules=- action=- id=-"
    assert line("/leak").endswith(f" action=block id={event_of(nginx, '/leak')['id']}")


def test_events_go_to_a_new_file_when_logs_are_rotated(origin: str, tmp_path: Path) -> None:
    with started(tmp_path, origin) as nginx:
        curl(nginx.url("/leak"))
        assert until(lambda: nginx.events)
        (tmp_path / "events.jsonl").rename(tmp_path / "events.1")
        nginx.process.send_signal(signal.SIGUSR1)
        assert until((tmp_path / "events.jsonl").is_file)

        def again() -> bool:
            curl(nginx.url("/leak"))
            return bool(nginx.events)

        assert until(again)


@pytest.mark.parametrize(("choice", "leak"), [("pass", (0, 200, LEAK)), ("block", (0, 502, b""))])
def test_a_scanner_that_cannot_start_goes_as_on_error_says(origin: str, tmp_path: Path, choice: str, leak: tuple[int, int, bytes]) -> None:
    site = SITE.replace("  overread enforce;", f"  overread enforce;\n  overread_on_error {choice};")
    with started(tmp_path, origin, site, "env OVERREAD_KERNEL=none;\n" + HEAD, "overread: ") as nginx:
        assert curl(nginx.url("/leak")) == leak
        assert curl(nginx.url("/monitor/leak")) == (0, 200, LEAK)
        assert curl(nginx.url("/off/leak")) == (0, 200, LEAK)
        assert "overread: no scanner: " in nginx.log
        assert f"overread_on_error says {choice}" in nginx.log


# ---- caches ----


@pytest.mark.parametrize("path", ["/cache/leak", "/cache/leak-chunked", "/cache/late-leak", "/store/leak"])
@pytest.mark.parametrize("flags", [(), ("--limit-rate", "30k")])
def test_a_leak_stays_in_no_cache(nginx: Nginx, path: str, flags: tuple[str, ...]) -> None:
    for _ in range(2):
        code, status, body = curl(nginx.url(path), *flags)
        assert code or status == 502
        assert SECRET not in body
        # A stored leak would be found by the next request and go then: it must not be there at all.
        assert not until(lambda: SECRET in cached(nginx) + cached(nginx, "stored"), 0.1)
    assert until(lambda: SECRET not in cached(nginx, "proxy"))


def test_a_leak_that_was_stored_before_a_slow_client_got_there_goes(nginx: Nginx) -> None:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        s.settimeout(20)
        s.connect(("127.0.0.1", nginx.port))
        s.sendall(b"GET /cache/leak-at-end HTTP/1.1\r\nHost: demo\r\n\r\n")
        assert until(lambda: SECRET in cached(nginx))  # nginx reads ahead of a client that does not read at all
        received = b""
        while part := s.recv(1 << 20):
            received += part
    assert len(received) > 10_000_000
    assert SECRET not in received
    assert SECRET not in cached(nginx)


def test_clean_pages_are_cached_and_a_cached_leak_goes(nginx: Nginx) -> None:
    for _ in range(2):
        code, status, head = curl(nginx.url("/cache/page"), "-i")
        assert (code, status) == (0, 200)
    assert b"X-Cache: HIT" in head
    code, status, _ = curl(nginx.url("/cache/unwatched/leak"))
    assert (code, status) == (0, 200)
    assert until(lambda: SECRET in cached(nginx))
    curl(nginx.url("/cache/watched/leak"), "-I")
    assert SECRET in cached(nginx)  # a head alone is no reason
    code, status, body = curl(nginx.url("/cache/watched/leak"))
    assert (code, status, body) == (0, 502, b"")
    assert SECRET not in cached(nginx)


def test_a_range_of_a_cached_leak_is_cut_and_the_page_goes(nginx: Nginx) -> None:
    assert curl(nginx.url("/cache/unwatched/leak"))[:2] == (0, 200)
    assert until(lambda: SECRET in cached(nginx))
    assert curl(nginx.url("/cache/watched/leak"), "-r", "0-99") == (0, 206, LEAK[:100])
    code, _, body = curl(nginx.url("/cache/watched/leak"), "-r", "100-3000")
    assert code in (18, 52, 56)
    assert SECRET not in body
    assert SECRET not in cached(nginx)


# ---- configuration ----

BAD = [
    ("overread on;", 'overread: expected off, monitor or enforce, found "on"'),
    ("overread_block_from all;", 'overread_block_from: expected weak, strong or certain, found "all"'),
    ("overread_action all block;", 'overread_action: expected weak, strong or certain, found "all"'),
    ("overread_action strong mask;", 'overread_action: expected log, no-store, redact, trim, truncate, block or trip, found "mask"'),
    ("overread_action strong;", 'invalid number of arguments in "overread_action" directive'),
    ("overread_action weak log; overread_action weak log;", 'overread_action: "weak" has an action already'),
    ("overread_hold much;", 'overread_hold: expected a size of at most 64m, found "much"'),
    ("overread_hold 65m;", "overread_hold: expected a size of at most 64m"),
    ("overread_hold_ms soon;", 'overread_hold_ms: expected a time from 1ms to 60s, found "soon"'),
    ("overread_hold_ms 0;", "overread_hold_ms: expected a time from 1ms to 60s"),
    ("overread_hold_ms 61s;", "overread_hold_ms: expected a time from 1ms to 60s"),
    ("overread_max_body -1;", 'overread_max_body: expected a size, 0 for none, found "-1"'),
    ("overread_on_error ignore;", 'overread_on_error: expected pass or block, found "ignore"'),
    ("overread_types html;", 'overread_types: expected type/subtype, type/*, *+suffix or *, found "html"'),
    ("overread_types text/html */json;", 'found "*/json"'),
    ("overread_events /absent/events.jsonl;", "/absent/events.jsonl"),
    ("overread_rules /absent/blob;", 'overread_rules: cannot read "/absent/blob"'),
    ("overread_rules /dev/null;", 'overread_rules: "/dev/null": ruleset blob: truncated'),
    ("overread monitor; overread monitor;", '"overread" directive is duplicate'),
    ("overread_hold 1k; overread_hold 1k;", '"overread_hold" directive is duplicate'),
    ("overread;", 'invalid number of arguments in "overread" directive'),
    ("server { overread_rules blob; }", '"overread_rules" directive is not allowed here'),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_bad_values_name_their_line(tmp_path: Path, line: str, message: str) -> None:
    status, said = check(tmp_path, line + "\n}\n")
    number = HEAD.count("\n") + 1
    assert status == 1
    assert message in said
    assert f"nginx.conf:{number}" in said or "/absent/events.jsonl" in line  # nginx opens logs after it has read the file


def test_good_values_pass(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(default_blob())
    text = f"""overread_rules blob;
      overread monitor; overread_block_from weak; overread_hold 0; overread_hold_ms 2s; overread_types text/* *+json application/pdf;
      overread_max_body 1m; overread_on_error block; overread_events {tmp_path}/events;
      server {{ overread enforce; overread_action weak no-store; overread_action strong redact; overread_action certain truncate;
        overread_types *; location / {{ overread off; overread_events off; }} }} }}"""
    status, said = check(tmp_path, text)
    assert status == 0, said


def default_blob() -> bytes:
    return ruleset.compile(ruleset.shipped_packs())


def test_it_installs_with_a_sample_that_nginx_takes(tmp_path: Path) -> None:
    subprocess.run(["make", "-s", "nginx-install", f"DESTDIR={tmp_path}"], cwd=ROOT, check=True, timeout=100, stdout=subprocess.DEVNULL, start_new_session=True)
    assert (tmp_path / "usr/lib/nginx/modules/ngx_http_overread_module.so").read_bytes() == MODULE.read_bytes()
    sample = (tmp_path / "usr/share/doc/overread/nginx.conf").read_text().replace("/var/log/nginx", str(tmp_path))
    for text in (sample, sample.replace("#overread", "overread").replace("overread monitor;", "")):
        status, said = check(tmp_path, text + "}\n")
        assert status == 0, said


def test_only_loaded_it_does_nothing(origin: str, tmp_path: Path) -> None:
    with started(tmp_path, origin, "server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {origin}; proxy_http_version 1.1; }} }} }}") as nginx:
        assert curl(nginx.url("/leak")) == (0, 200, LEAK)


# ---- reload ----


def test_reload_under_load_fails_no_request_and_a_bad_blob_keeps_the_old(origin: str, tmp_path: Path) -> None:
    site = SITE.replace("  overread enforce;", "  overread_rules rules.blob;\n  overread enforce;")
    (tmp_path / "rules.blob").write_bytes(default_blob())
    with started(tmp_path, origin, site, expected="overread_rules:") as nginx:
        failures: list[str] = []
        answered = [0]
        stop = threading.Event()

        def load(path: str, whole: bytes) -> None:
            while not stop.is_set():
                try:
                    connection = HTTPConnection("127.0.0.1", nginx.port, timeout=10)
                    connection.request("GET", path)
                    response = connection.getresponse()
                    body = response.read()
                    connection.close()
                    if response.status != 200 or body != whole:
                        failures.append(f"{path} {response.status} {len(body)}")
                    answered[0] += 1
                except OSError as error:
                    failures.append(f"{path} {error!r}")

        threads = [threading.Thread(target=load, args=x) for x in (("/long", LONG), ("/page", FIXED["/page"][1]), ("/unbuffered/long", LONG))]
        for thread in threads:
            thread.start()
        try:
            for round_number in range(1, 4):
                before = answered[0]
                nginx.process.send_signal(signal.SIGHUP)
                assert until(lambda n=round_number: nginx.log.count("reconfiguring") >= n)  # type: ignore[misc]
                assert until(lambda n=before: answered[0] > n + 20)  # type: ignore[misc]
            (tmp_path / "rules.blob").write_bytes(b"no blob")
            nginx.process.send_signal(signal.SIGHUP)
            assert until(lambda: "overread_rules" in nginx.log)
            message = next(line for line in nginx.log.splitlines() if "overread_rules" in line)
            assert "rules.blob" in message
            assert "nginx.conf:" in message
            before = answered[0]
            assert until(lambda: answered[0] > before + 20)
        finally:
            stop.set()
            for thread in threads:
                thread.join(20)
        assert failures == []
        assert curl(nginx.url("/leak"))[1] == 502  # the old rules still work
