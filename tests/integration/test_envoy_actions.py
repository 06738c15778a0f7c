"""Every action on a real Envoy, and settings per path."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import overread
from tests.unit.test_api import LEAK, PAGE, SECRET

from .processes import Proxy, command, start_proxy, stop_demo
from .test_envoy import PROTOCOLS, curl, until

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\x02IDATab....\0\0\0\0IEND\xaeB`\x82"
LONG = b"<p>A line of a long page.</p>\n" * 20000
CLEAN_EVENT = b"data: hello\n\n"
LEAKED = LEAK[LEAK.find(b"\x00") - 40 :]
COOKIE = b"data: \r\nCookie: session=Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\n\r\n\n\n"


class Origin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: str | None = None
    late = threading.Event()

    def do_GET(self) -> None:
        path = self.path.rpartition("/")[2]
        Origin.asked = self.headers.get("Accept-Encoding")
        self.send_response(200)
        self.send_header("Cache-Control", "max-age=600")
        self.send_header("ETag", '"1"')
        if path == "events":
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for event in [*[CLEAN_EVENT] * 60, b"data: " + LEAKED + b"\n\n", CLEAN_EVENT, COOKIE, CLEAN_EVENT]:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                self.wfile.flush()
                time.sleep(0.002)
            self.wfile.write(b"0\r\n\r\n")
            return
        body = {"clean": PAGE, "leak": LEAK, "late": LONG + LEAK, "image": PNG + LEAKED}[path]
        self.send_header("Content-Type", "image/png" if path == "image" else "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if path == "late":
            self.wfile.write(LONG)
            self.wfile.flush()
            Origin.late.wait(10)  # until the first bytes have come through
        self.wfile.write(body[len(LONG) if path == "late" else 0 :])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    actions = ("log", "no-store", "redact", "trim", "truncate", "block")
    routes = [option for a in actions for option in ("--route", f"/{a}/", f"mode=enforce action.strong={a} action.certain={a}")]
    routes += ["--route", "/off/", "mode=off", "--route", "/block/not/", "mode=monitor"]
    made = start_proxy(tmp_path_factory.mktemp("proxy"), f"http://127.0.0.1:{server.server_port}", "--mode", "monitor", *routes)
    yield made
    stop_demo(made.process)
    server.shutdown()
    server.server_close()


def fetch(proxy: Proxy, path: str, protocol: str, folder: Path) -> tuple[int, bytes, dict[str, str]]:
    status, body = curl(protocol, "-D", str(folder / "head"), "-H", "Accept-Encoding: gzip", proxy.filtered + path)
    lines = (folder / "head").read_text().splitlines()[1:]
    return status, body, {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)}


def record_of(proxy: Proxy, path: str) -> dict[str, object]:
    assert until(lambda: any(r["path"] == path for r in proxy.records()))
    return next(r for r in reversed(proxy.records()) if r["path"] == path)


def tier(body: bytes) -> str:
    return overread.Scanner().scan(body, "text/html; charset=utf-8").tier


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("action", ["log", "no-store", "redact", "trim", "truncate", "block"])
def test_an_action_on_a_page(proxy: Proxy, action: str, protocol: str, tmp_path: Path) -> None:
    status, body, head = fetch(proxy, f"/{action}/clean", protocol, tmp_path)
    assert (status, body, head["cache-control"], head["etag"]) == (200, PAGE, "max-age=600", '"1"')
    status, body, head = fetch(proxy, f"/{action}/leak", protocol, tmp_path)
    done = "block" if action == "trim" else action  # a page has no tail that could be dropped
    assert record_of(proxy, f"/{action}/leak")["action"] == done
    if done == "block":
        assert status == 502
        assert SECRET.encode() not in body
        return
    assert status == 200
    assert int(head["content-length"]) == len(body)
    if action == "log":
        assert (body, head["cache-control"], head["etag"]) == (LEAK, "max-age=600", '"1"')
        return
    assert (head["cache-control"], head["x-robots-tag"]) == ("no-store", "noindex, noarchive")
    assert "etag" not in head
    if action == "no-store":
        assert body == LEAK
    else:
        assert tier(body) == "none"
        assert SECRET.encode() not in body
        assert len(body) == len(LEAK) if action == "redact" else LEAK.startswith(body)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_tail_behind_an_image_is_trimmed(proxy: Proxy, protocol: str, tmp_path: Path) -> None:
    status, body, head = fetch(proxy, "/trim/image", protocol, tmp_path)
    assert (status, body, head["content-length"]) == (200, PNG, str(len(PNG)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_found_late(proxy: Proxy, protocol: str, tmp_path: Path) -> None:
    whole = LONG + LEAK

    def late(path: str) -> tuple[int, bytes]:
        Origin.late.clear()
        out = tmp_path / "body"
        argv = ["curl", "-s", "--max-time", "20", "--no-buffer", protocol, "-o", str(out), "-w", "%{http_code}", proxy.filtered + path]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True) as running:
            assert until(lambda: out.exists() and out.stat().st_size > 0, 10)
            Origin.late.set()
            status, _ = running.communicate(timeout=30)
        return (int(status) if running.returncode == 0 else 0), out.read_bytes()

    status, body = late("/redact/late")
    assert (status, len(body), body[: len(LONG)]) == (200, len(whole), LONG)
    assert SECRET.encode() not in body
    (tmp_path / "body").unlink()
    status, body = late("/truncate/late")
    assert status == 0  # its length had been promised
    assert whole.startswith(body)
    assert SECRET.encode() not in body


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_events_are_masked_and_flow(proxy: Proxy, protocol: str, tmp_path: Path) -> None:
    status, body, _ = fetch(proxy, "/redact/events", protocol, tmp_path)
    assert status == 200
    assert len(body) == 62 * len(CLEAN_EVENT) + len(LEAKED) + 8 + len(COOKIE)
    assert body.startswith(CLEAN_EVENT * 60)
    assert b"Zk3Yx8QmZr7LwPvB2nHs5TdJ" not in body


def test_what_may_be_altered_is_asked_for_plain(proxy: Proxy, tmp_path: Path) -> None:
    for action, asked in (("redact", "identity"), ("block", "gzip"), ("log", "gzip")):
        fetch(proxy, f"/{action}/clean", "--http1.1", tmp_path)
        assert Origin.asked == asked


def test_it_is_turned_down_at_run_time(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    file = tmp_path / "control"
    made = start_proxy(tmp_path, f"http://127.0.0.1:{server.server_port}", "--mode", "enforce", "--control", str(file))

    def say(*words: str) -> str:
        return subprocess.run(command("control", str(file), *words), capture_output=True, text=True, timeout=30, check=True).stdout

    try:
        assert say() == "mode=enforce\n"
        assert fetch(made, "/leak", "--http1.1", tmp_path)[0] == 502
        for mode, status, events in (("monitor", 200, 1), ("off", 200, 0), ("enforce", 502, 1), ("off", 200, 0)):
            assert say(mode) == f"mode={mode}\n"
            assert until(lambda status=status: fetch(made, "/leak", "--http1.1", tmp_path)[0] == status, 5)
            time.sleep(0.3)  # the next look, also where the status is the same
            before = len(made.records())
            assert fetch(made, "/leak", "--http1.1", tmp_path)[0] == status
            assert until(lambda n=before + events: len(made.records()) == n)
        file.write_text("mode=everything\n")
        time.sleep(0.3)
        assert fetch(made, "/leak", "--http1.1", tmp_path)[0] == 200  # as it was
        file.unlink()
        assert until(lambda: fetch(made, "/leak", "--http1.1", tmp_path)[0] == 502, 5)
    finally:
        stop_demo(made.process)
        server.shutdown()
        server.server_close()


def test_paths_have_settings_of_their_own(proxy: Proxy, tmp_path: Path) -> None:
    # The longest path that fits decides, and elsewhere the proxy's own settings do.
    for path, would in (("/block/not/leak", "block"), ("/leak", "block")):
        assert fetch(proxy, path, "--http1.1", tmp_path)[:2] == (200, LEAK)
        record = record_of(proxy, path)
        assert (record["mode"], record["action"], record["would"]) == ("monitor", "log", would)
    assert fetch(proxy, "/off/leak", "--http1.1", tmp_path)[:2] == (200, LEAK)
    assert not [r for r in proxy.records() if r["path"] == "/off/leak"]
