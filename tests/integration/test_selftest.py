"""`overread selftest` through a real Envoy, before pages that echo and pages that do not."""

from __future__ import annotations

import gzip
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from .processes import Proxy, command, start_proxy, stop_demo
from .test_envoy import curl, until


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        shown = {"/search": query, "/headers": str(self.headers)}.get(path, "")
        body = f"<!DOCTYPE html>\n<html><body><p>You sent: {shown}</p></body></html>\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def run(*args: str) -> tuple[int, str]:
    done = subprocess.run(command("selftest", *args), capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("key") / "key"
    assert run("--new-key", str(file)) == (0, "")
    assert file.stat().st_mode & 0o777 == 0o600
    assert run("--new-key", str(file))[0] == 2  # a key is never overwritten
    return file


@pytest.fixture(scope="module")
def proxies(tmp_path_factory: pytest.TempPathFactory, origin: str, key: Path) -> Iterator[dict[str, Proxy]]:
    started = {mode: start_proxy(tmp_path_factory.mktemp(mode), origin, "--mode", mode, "--key", str(key)) for mode in ("enforce", "monitor")}
    yield started
    for one in started.values():
        stop_demo(one.process)


def counters(proxy: Proxy) -> dict[str, int]:
    _, text = curl(f"http://127.0.0.1:{proxy.admin_port}/stats/prometheus")
    return {name: int(value) for name, value in re.findall(r"^\w*?(overread_\w+)(?:\{[^}]*\})? (\d+)", text.decode(), re.M)}


@pytest.mark.parametrize("path", ["/search", "/headers", "/search?lang=en"])
def test_the_filter_proves_itself(proxies: dict[str, Proxy], key: Path, path: str) -> None:
    proxy = proxies["enforce"]
    before = len(proxy.records())
    code, said = run("--through", proxy.filtered + path, "--key", str(key))
    assert code == 0, said
    assert [line.split(":")[1].strip() for line in said.splitlines()] == ["blocked", "blocked"]
    assert until(lambda: len(proxy.records()) == before + 2)
    for record in proxy.records()[before:]:
        assert (record["test"], record["action"], record["tier"]) == (True, "block", "none")
        assert str(record["id"]) in said
    assert {record["decode"] for record in proxy.records()[before:]} == {"none", "ok"}
    assert "ovrt1" not in proxy.events.read_text()


def test_tests_are_no_alarms(proxies: dict[str, Proxy], key: Path) -> None:
    proxy = proxies["enforce"]
    before = counters(proxy)
    assert run("--through", proxy.filtered + "/search", "--key", str(key))[0] == 0
    after = counters(proxy)
    assert after["overread_tests_total"] == before.get("overread_tests_total", 0) + 2
    assert after.get("overread_blocked_total", 0) == before.get("overread_blocked_total", 0)
    assert "overread_alarms_total" not in after


def test_what_is_no_proof(proxies: dict[str, Proxy], key: Path, origin: str, tmp_path: Path) -> None:
    enforce, monitor = proxies["enforce"].filtered, proxies["monitor"].filtered
    code, said = run("--through", enforce + "/silent", "--key", str(key))
    assert (code, said.count("did not echo")) == (2, 2)
    for around in (origin, monitor):  # past the filter, and a filter that lets everything through
        code, said = run("--through", around + "/search", "--key", str(key))
        assert (code, said.count("NOT BLOCKED")) == (1, 2)
    assert until(lambda: [r.get("test") for r in proxies["monitor"].records()] == [True, True])
    other = tmp_path / "key"
    run("--new-key", str(other))
    assert run("--through", enforce + "/search", "--key", str(other))[0] == 1
    (tmp_path / "bad").write_text("no key")
    assert "32 hexadecimal digits" in run("--through", enforce, "--key", str(tmp_path / "bad"))[1]
    assert run("--through", "http://127.0.0.1:1/", "--key", str(key))[0] == 2
