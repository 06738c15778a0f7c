"""Coded responses through a real Envoy: judged as what they decode to, forwarded as they are; and what the upstream is asked for."""

from __future__ import annotations

import gzip
import http.client
import os
import random
import signal
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import brotli
import pytest
import zstandard

from overread import proxy
from tests.unit.test_api import LEAK, PAGE, SECRET

from .envoy_site import launch
from .processes import Proxy, free_ports, start_proxy, stop_demo
from .test_envoy import PROTOCOLS, curl, until


def zstd(body: bytes) -> bytes:
    return bytes(zstandard.ZstdCompressor().compress(body))


WAYS = {
    "gzip": ("gzip", gzip.compress),
    "stored": ("gzip", lambda body: gzip.compress(body, 0)),
    "deflate": ("deflate", zlib.compress),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstd),
    "stacked": ("gzip, br", lambda body: brotli.compress(gzip.compress(body))),
    "three": ("zstd, gzip, br", lambda body: brotli.compress(gzip.compress(zstd(body)))),
    "plain": ("", bytes),
}
PAGES: dict[str, tuple[str, bytes]] = {}
for _way, (_coding, _pack) in WAYS.items():
    PAGES[f"/clean/{_way}"] = (_coding, _pack(PAGE))
    PAGES[f"/leak/{_way}"] = (_coding, _pack(LEAK))
    # A page that is far longer than what is held back.
    PAGES[f"/long/{_way}"] = (_coding, _pack(b"".join(b"<p>%d</p>\n" % n for n in random.Random(5).sample(range(10**9), 60_000))))
PAGES["/empty"] = ("gzip", b"")
BROKEN = {
    "truncated": ("gzip", PAGES["/long/gzip"][1][:5000]),
    "broken": ("gzip", PAGES["/clean/gzip"][1][:40] + b"\xff" * 500),
    "bomb": ("br", brotli.compress(b"a" * (64 << 20), quality=5)),
    "unknown": ("magic", b"\x01\x02\x03" + random.Random(6).randbytes(3000)),
    "four": ("gzip, gzip, gzip, gzip", gzip.compress(PAGE)),
    "not coded": ("gzip", PAGE),
}
PAGES |= {f"/{name.replace(' ', '-')}": page for name, page in BROKEN.items()}
LATE = "/late"  # its check sum is wrong, which shows when most of it has gone out
PAGES[LATE] = ("gzip", PAGES["/long/gzip"][1][:-8] + bytes(8))


class Origin(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[list[str]] = []  # Accept-Encoding fields of each request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Origin

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get_all("Accept-Encoding") or [])
        coding, body = PAGES[self.path.partition("?")[0]]
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        if coding:
            self.send_header("Content-Encoding", coding)
        self.send_header(*(("Transfer-Encoding", "chunked") if self.chunked else ("Content-Length", str(len(body)))))
        self.end_headers()
        if self.command == "GET":
            last = 8 if self.path == LATE or "pause=" in self.path else 0
            self.write(body[: len(body) - last])
            if last:
                time.sleep(0.5)
                self.write(body[len(body) - last :])
            if self.chunked and "pause=last" in self.path:
                time.sleep(0.5)
            if self.chunked:
                self.wfile.write(b"0\r\n\r\n")

    do_HEAD = do_GET

    @property
    def chunked(self) -> bool:
        return "chunked" in self.path

    def write(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if self.chunked else data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    server = Origin()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def running(tmp_path_factory: pytest.TempPathFactory, origin: Origin, *options: str) -> Iterator[Proxy]:
    made = start_proxy(tmp_path_factory.mktemp("proxy"), origin.url, *options)
    yield made
    stop_demo(made.process)


@pytest.fixture(scope="module")
def enforce(tmp_path_factory: pytest.TempPathFactory, origin: Origin) -> Iterator[Proxy]:
    yield from running(tmp_path_factory, origin, "--mode", "enforce")


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory, origin: Origin) -> Iterator[Proxy]:
    yield from running(tmp_path_factory, origin, "--mode", "monitor")


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, origin: Origin) -> Iterator[Proxy]:
    yield from running(tmp_path_factory, origin, "--mode", "enforce", "--on-error", "block")


def withheld(proxy: Proxy, path: str, protocol: str, decode: str) -> bytes:
    """The page in place of a response that is blocked, and whose event says what became of its coding."""
    before = len(proxy.records())
    status, body = curl(protocol, proxy.filtered + path)
    assert status == 502
    assert until(lambda: len(proxy.records()) > before)
    record = proxy.records()[-1]
    assert (record["path"], record["action"], record["decode"]) == (path, "block", decode)
    return body


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("way", WAYS)
def test_coded_leaks_are_blocked(enforce: Proxy, way: str, protocol: str) -> None:
    body = withheld(enforce, f"/leak/{way}", protocol, "ok" if WAYS[way][0] else "none")
    assert b"Response withheld" in body
    assert SECRET.encode() not in body


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("path", [*(f"/{kind}/{way}" for kind in ("clean", "long") for way in WAYS), "/empty"])
def test_clean_pages_stay_coded_byte_for_byte(enforce: Proxy, path: str, protocol: str, tmp_path: Path) -> None:
    coding, body = PAGES[path]
    assert curl(protocol, "-D", str(tmp_path / "head"), enforce.filtered + path) == (200, body)
    head = (tmp_path / "head").read_text().lower()
    assert f"content-length: {len(body)}\n" in head.replace("\r", "")
    assert (f"content-encoding: {coding}\n" in head.replace("\r", "")) == bool(coding)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("query", ["pause=1", "pause=1&chunked", "pause=last&chunked"])
@pytest.mark.parametrize("way", ["plain", "gzip", "br", "zstd"])
@pytest.mark.parametrize("kind", ["clean", "long"])
def test_a_pause_before_the_end_loses_nothing(enforce: Proxy, kind: str, way: str, query: str, protocol: str) -> None:
    path = f"/{kind}/{way}"
    assert curl(protocol, f"{enforce.filtered}{path}?{query}") == (200, PAGES[path][1])


@pytest.mark.parametrize("way", ["plain", "gzip"])
def test_what_is_held_goes_when_its_time_is_up(enforce: Proxy, way: str) -> None:
    body = PAGES[f"/long/{way}"][1]
    connection = http.client.HTTPConnection("127.0.0.1", enforce.port, timeout=20)
    connection.request("GET", f"/long/{way}?pause=1")
    response = connection.getresponse()
    begun = response.read(len(body) - 8)  # the whole delay line, while the last bytes are still to come
    came = time.monotonic()
    assert begun + response.read() == body
    assert time.monotonic() - came > 0.2
    connection.close()


@pytest.mark.parametrize("way", WAYS)
def test_monitor_passes_coded_leaks_and_reports_them(monitor: Proxy, way: str) -> None:
    path = f"/leak/{way}"
    assert curl(monitor.filtered + path) == (200, PAGES[path][1])
    assert until(lambda: path in [record["path"] for record in monitor.records()])


ASKED = [
    (None, []),
    ("", [""]),
    ("gzip", ["gzip"]),
    ("gzip, deflate, br, zstd", ["gzip, deflate, br, zstd"]),
    ("GZIP;q=0.5,  x-gzip , identity;q=0", ["GZIP;q=0.5,  x-gzip , identity;q=0"]),
    ("gzip, deflate, br, zstd, dcb, dcz", ["gzip, deflate, br, zstd"]),
    ("compress;q=0.9, br ;q=0.8,gzip; Q=0.1", ["br ;q=0.8, gzip; Q=0.1"]),
    ("compress", ["identity"]),
    ("compress, identity;q=0", ["identity;q=0"]),
    ("*", ["gzip, deflate, br, zstd"]),
    ("br;q=1, *;q=0.5", ["br;q=1, gzip;q=0.5, deflate;q=0.5, zstd;q=0.5"]),
    ("x-gzip, *;q=0.5", ["x-gzip, deflate;q=0.5, br;q=0.5, zstd;q=0.5"]),
    ("gzip, *;q=0", ["gzip, *;q=0"]),
    ("gzip, compress;q=0.000", ["gzip, compress;q=0.000"]),
    ("exi;q=0., *;q=0.001", ["exi;q=0., gzip;q=0.001, deflate;q=0.001, br;q=0.001, zstd;q=0.001"]),
    (",, ,", [",, ,"]),
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", ["enforce", "monitor"])
@pytest.mark.parametrize(("sent", "wanted"), ASKED)
def test_the_upstream_is_asked_for_what_can_be_decoded(
    request: pytest.FixtureRequest, origin: Origin, mode: str, protocol: str, sent: str | None, wanted: list[str]
) -> None:
    through: Proxy = request.getfixturevalue(mode)
    field = () if sent is None else ("-H", f"Accept-Encoding: {sent}" if sent else "Accept-Encoding;")
    assert curl(protocol, *field, through.filtered + "/clean/plain") == (200, PAGE)
    assert origin.asked[-1] == wanted


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_several_fields_are_one_list(enforce: Proxy, origin: Origin, protocol: str) -> None:
    fields = ("-H", "Accept-Encoding: gzip;q=0.5", "-H", "Accept-Encoding: dcz, zstd")
    assert curl(protocol, *fields, enforce.filtered + "/clean/plain") == (200, PAGE)
    assert origin.asked[-1] == ["gzip;q=0.5, zstd"]


def test_mode_off_leaves_the_request_alone(origin: Origin, tmp_path: Path) -> None:
    port, admin_port = free_ports(2)
    process = start_envoy(origin, tmp_path, "mode=off", port, admin_port)
    try:
        assert until(lambda: curl(f"http://127.0.0.1:{port}/clean/plain")[0] == 200, 30)
        assert curl("-H", "Accept-Encoding: dcz, *", f"http://127.0.0.1:{port}/leak/zstd") == (200, PAGES["/leak/zstd"][1])
        assert origin.asked[-1] == ["dcz, *"]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(15)


def start_envoy(origin: Origin, folder: Path, filter_config: str, port: int, admin_port: int) -> subprocess.Popen[bytes]:
    return launch(folder, proxy.bootstrap(proxy.parse_upstream(origin.url), port=port, admin_port=admin_port, filter_config=filter_config))


DECODE = {"not coded": "broken", "four": "unknown"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", BROKEN)
def test_on_error_block_withholds_what_cannot_be_decoded(strict: Proxy, name: str, protocol: str) -> None:
    assert b"could not be checked" in withheld(strict, f"/{name.replace(' ', '-')}", protocol, DECODE.get(name, name))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_on_error_block_cuts_what_breaks_late(strict: Proxy, protocol: str) -> None:
    done = subprocess.run(["curl", "-s", "--max-time", "20", protocol, strict.filtered + LATE], capture_output=True, timeout=30, check=False)
    assert done.returncode in (18, 92)  # partial transfer, HTTP/2 stream error
    assert 0 < len(done.stdout) < len(PAGES[LATE][1])
    assert PAGES[LATE][1].startswith(done.stdout)
    assert until(lambda: ("/late", "cut", "broken") in [(r["path"], r["action"], r["decode"]) for r in strict.records()])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_on_error_block_lets_the_rest_pass(strict: Proxy, protocol: str) -> None:
    for path, (_, body) in PAGES.items():
        if path.startswith(("/clean", "/long", "/empty")):
            assert curl(protocol, strict.filtered + path) == (200, body), path
            assert curl(protocol, "-I", strict.filtered + path)[0] == 200, path
    status, body = curl(protocol, strict.filtered + "/leak/br")
    assert status == 502
    assert b"data that does not belong to it" in body


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("path", [*(f"/{name.replace(' ', '-')}" for name in BROKEN), LATE])
@pytest.mark.parametrize("mode", ["enforce", "monitor"])
def test_on_error_pass_and_monitor_alter_nothing(request: pytest.FixtureRequest, mode: str, path: str, protocol: str) -> None:
    through: Proxy = request.getfixturevalue(mode)
    assert curl(protocol, through.filtered + path) == (200, PAGES[path][1])


def test_a_wrong_on_error_is_named(origin: Origin, tmp_path: Path) -> None:
    process = start_envoy(origin, tmp_path, "mode=enforce\non_error=log", *free_ports(2))
    assert process.wait(30) != 0
    assert "overread: on_error: expected pass or block, found 'log'" in (tmp_path / "log").read_text()
