"""Files through nginx: they are scanned from a buffer of the worker and leave as they are on disk, whole, in ranges and inside other pages."""

from __future__ import annotations

import gzip
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from .nginx_site import FULL_GRID, LISTEN, LONG, MEMORY, PAGE, SECRET, Nginx, curl, event_of, started

SITE = (
    """
  types {{ text/html html; }}
  sendfile on;
  root {folder}/site;
  proxy_http_version 1.1;
  proxy_cache_path {folder}/cache keys_zone=pages:1m;
  overread enforce;
  overread_events {folder}/events.jsonl;
  server {{"""
    + LISTEN
    + """
    location /static/ {{ }}
    location /copied/ {{ sendfile off; alias {folder}/site/static/; }}
    location /threads/ {{ aio threads; alias {folder}/site/static/; }}
    location /direct/ {{ directio 1k; alias {folder}/site/static/; }}
    location /parts/ {{ sendfile_max_chunk 50k; alias {folder}/site/static/; }}
    location /held/ {{ overread_hold 200k; alias {folder}/site/static/; }}
    location /monitor/ {{ overread monitor; alias {folder}/site/static/; }}
    location /gz/ {{ gzip on; gzip_min_length 1; alias {folder}/site/static/; }}
    location /redact/ {{ overread_action certain redact; alias {folder}/site/static/; }}
    location /redact-copied/ {{ sendfile off; overread_action certain redact; alias {folder}/site/static/; }}
    location /truncate/ {{ overread_action certain truncate; alias {folder}/site/static/; }}
    location /first-bytes/ {{ overread_max_body 100k; alias {folder}/site/static/; }}
    location /cache/ {{ proxy_cache pages; proxy_cache_valid 200 1h; proxy_pass http://127.0.0.1:{port}/off/; }}
    location /off/ {{ overread off; alias {folder}/site/static/; }}
    location /ssi/ {{ ssi on; }}
    location /added/ {{ add_before_body /static/long.html; add_after_body /static/long.html; alias {folder}/site/static/; }}
  }}
}}
"""
)
SIZES = (1, 4095, 16384, 16385, 65536, 65537, (1 << 20) - 1, (1 << 20) + 1, len(LONG))
HTTP1, HTTP2, TLS = ("--http1.1",), ("--http2-prior-knowledge",), ("-k", "--http1.1")
ROUTES = ("static", "copied", "threads", "direct", "parts", "held", "monitor", "gz", "redact", "truncate", "cache")
# TLS without the kernel's help takes no sendfile, as `copied`.
GRID = [(r, p) for r in ROUTES for p in (HTTP1, HTTP2, TLS) if FULL_GRID or p == HTTP1 or r in ("static", "threads")]


def leaking(at: int) -> bytes:
    return LONG[:at] + MEMORY + LONG[at:]


LEAKS = {"start": leaking(len(PAGE)), "middle": leaking(len(LONG) // 2), "end": LONG + MEMORY}


def write_site(folder: Path) -> None:
    static = folder / "site/static"
    for name in ("site/static", "site/ssi"):
        (folder / name).mkdir(parents=True)
    for size in SIZES:
        (static / f"{size}.html").write_bytes(LONG[:size])
    for name, body in LEAKS.items():
        (static / f"{name}.html").write_bytes(body)
    (static / "small.html").write_bytes(PAGE + MEMORY + PAGE)
    (static / "long.html").write_bytes(LONG)
    (static / "page.html").write_bytes(PAGE)
    for name in ("long", "middle"):
        (folder / f"site/ssi/{name}.html").write_bytes(PAGE + b'<!--#include virtual="/static/%s.html" -->' % name.encode() + PAGE)


@pytest.fixture(scope="module")
def nginx(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    folder = tmp_path_factory.mktemp("files")
    write_site(folder)
    with started(folder, origin, SITE) as running:
        yield running


def url(nginx: Nginx, path: str, protocol: tuple[str, ...]) -> str:
    port = nginx.port2 if protocol == HTTP2 else nginx.tls_port if protocol == TLS else nginx.port
    return f"http{'s' if protocol == TLS else ''}://127.0.0.1:{port}{path}"


@pytest.mark.parametrize(("route", "protocol"), GRID)
def test_clean_files_arrive_as_they_are(nginx: Nginx, route: str, protocol: tuple[str, ...]) -> None:
    for size in SIZES if FULL_GRID or protocol == HTTP1 else SIZES[::4]:
        for _ in range(2 if route == "cache" else 1):  # from the origin, then from the cache
            assert curl(url(nginx, f"/{route}/{size}.html", protocol), "--compressed", *protocol) == (0, 200, LONG[:size]), size


@pytest.mark.parametrize(("route", "protocol"), [(r, p) for r, p in GRID if r not in ("monitor", "redact", "truncate", "gz")])
def test_a_leak_in_a_file_does_not_leave(nginx: Nginx, route: str, protocol: tuple[str, ...]) -> None:
    assert curl(url(nginx, f"/{route}/small.html", protocol), *protocol) == (0, 502, b"")
    for name, whole in LEAKS.items():
        code, status, body = curl(url(nginx, f"/{route}/{name}.html", protocol), *protocol)
        if name == "start":
            assert (code, status, body) == (0, 502, b"")
        else:
            assert code
            assert status == 200
            assert whole.startswith(body)
            assert len(body) <= whole.index(SECRET)
            assert len(body) > whole.index(MEMORY) - (1 << 20) - 300_000  # what was surely clean had flowed on


def test_where_a_leak_stands_between_reads_is_all_one(nginx: Nginx) -> None:
    where = [edge - back for edge in (65536, 1 << 20, 2 << 20) for back in (0, 1, 33, 60, len(MEMORY) - 1, len(MEMORY), 16384)]
    for at in where:
        (nginx.folder / "site/static/edge.html").write_bytes(leaking(at))
        code, status, body = curl(nginx.url("/static/edge.html"))
        assert code or status == 502
        assert SECRET not in body
        assert leaking(at).startswith(body), at


def test_monitor_alters_no_file(nginx: Nginx) -> None:
    for name, whole in LEAKS.items():
        assert curl(nginx.url(f"/monitor/{name}.html")) == (0, 200, whole)
        assert event_of(nginx, f"/monitor/{name}.html")["tier"] == "certain"


@pytest.mark.parametrize("route", ["static", "copied", "threads", "direct", "cache"])
def test_ranges_of_files(nginx: Nginx, route: str) -> None:
    for first, last in ((0, 0), (1000, 2_000_000), (65535, 65536), (len(LONG) - 1, len(LONG) - 1)):
        assert curl(nginx.url(f"/{route}/long.html"), "-r", f"{first}-{last}") == (0, 206, LONG[first : last + 1])
    code, status, body = curl(nginx.url(f"/{route}/long.html"), "-r", "0-99999,200000-1300000")
    assert (code, status) == (0, 206)
    assert LONG[:100000] in body
    assert LONG[200000:1300001] in body
    at = LEAKS["middle"].index(MEMORY)
    code, status, body = curl(nginx.url(f"/{route}/middle.html"), "-r", f"{at - 300_000}-")
    assert code
    assert LEAKS["middle"][at - 300_000 :].startswith(body)
    assert SECRET not in body


def test_files_are_masked_as_other_bytes_are(nginx: Nginx) -> None:
    for name, whole in LEAKS.items():
        code, status, body = curl(nginx.url(f"/redact/{name}.html"))
        assert (code, status, body) == curl(nginx.url(f"/redact-copied/{name}.html"))
        assert (code, status) == (0, 200)
        assert len(body) == len(whole)
        assert SECRET not in body
        at, near = whole.index(MEMORY), 1000
        assert body[: at - near] == whole[: at - near]
        assert body[at + near :] == whole[at + near :]
        assert all(a in (b, 0x2A) for a, b in zip(body[at - near : at + near], whole[at - near : at + near], strict=True))


def test_files_are_shortened(nginx: Nginx) -> None:
    code, status, body = curl(nginx.url("/truncate/small.html"))
    assert (code, status) == (0, 200)
    assert (PAGE + MEMORY).startswith(body)
    assert SECRET not in body
    for name in ("middle", "end"):
        code, status, body = curl(nginx.url(f"/truncate/{name}.html"))
        assert code  # of the length that was promised
        assert status == 200
        assert LEAKS[name].startswith(body)
        assert SECRET not in body


def test_filters_behind_this_one_get_files_in_memory(nginx: Nginx) -> None:
    code, status, body = curl(nginx.url("/gz/long.html"), "-H", "Accept-Encoding: gzip")
    assert (code, status) == (0, 200)
    assert gzip.decompress(body) == LONG
    for name, whole in LEAKS.items():
        code, status, body = curl(nginx.url(f"/gz/{name}.html"), "--compressed")
        assert code or status == 502
        assert SECRET not in body
        assert whole.startswith(body)


def test_files_behind_the_scanned_bytes_are_not_read(nginx: Nginx) -> None:
    assert curl(nginx.url("/first-bytes/middle.html")) == (0, 200, LEAKS["middle"])
    assert curl(nginx.url("/first-bytes/start.html"))[1] == 502


def test_files_inside_pages(nginx: Nginx) -> None:
    for protocol in (HTTP1, HTTP2):
        assert curl(url(nginx, "/ssi/long.html", protocol), *protocol) == (0, 200, PAGE + LONG + PAGE)
        assert curl(url(nginx, "/added/page.html", protocol), *protocol) == (0, 200, LONG + PAGE + LONG)
        code, _, body = curl(url(nginx, "/ssi/middle.html", protocol), *protocol)
        assert code
        assert SECRET not in body
        assert (PAGE + LEAKS["middle"]).startswith(body)


def test_a_file_that_shrinks_under_way_ends_its_response_alone(tmp_path: Path) -> None:
    write_site(tmp_path)
    file = tmp_path / "site/static/shrinking.html"
    file.write_bytes(LONG * 8)
    with started(tmp_path, "http://127.0.0.1:9", SITE, expected="overread: read only") as nginx:
        with socket.create_connection(("127.0.0.1", nginx.port), 10) as s:
            s.sendall(b"GET /static/shrinking.html HTTP/1.1\r\nHost: demo\r\n\r\n")
            body = s.recv(4096).partition(b"\r\n\r\n")[2]
            with file.open("r+b") as f:
                f.truncate(len(LONG) * 5)
            while piece := s.recv(1 << 20):
                body += piece
        assert len(body) <= len(LONG) * 5
        assert (LONG * 5).startswith(body)
        assert re.search(r"overread: read only \d+ of \d+ bytes", nginx.log)
        assert curl(nginx.url("/static/long.html")) == (0, 200, LONG)
