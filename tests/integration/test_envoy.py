"""The filter in a real Envoy before an origin that really over-reads, used with curl as a visitor would."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import overread
from overread import site_counts

from . import processes
from .processes import Demo, command, free_ports, start_demo, stop_demo

CLEAN = ("/", "/about", "/api/items", "/logo.png", "/login")
PROTOCOLS = ("--http1.1", "--http2-prior-knowledge")


def curl(*args: str) -> tuple[int, bytes]:
    """Status and body; status 0 when the transfer broke off."""
    done = subprocess.run(["curl", "-s", "--max-time", "20", "-w", "\n%{http_code}", *args], capture_output=True, timeout=30, check=False)
    body, _, status = done.stdout.rpartition(b"\n")
    return (int(status) if done.returncode == 0 else 0), body


def until(condition: Callable[[], object], seconds: float = 5.0) -> bool:
    return processes.until(condition, seconds)


def escaped(body: bytes, demo: Demo) -> int:
    return sum(secret in body for secret in demo.planted())


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("path", CLEAN)
def test_clean_pages_are_byte_identical(demo: Demo, path: str, protocol: str) -> None:
    assert curl(protocol, demo.filtered + path) == curl(demo.origin + path)


def test_the_origin_really_leaks(demo: Demo) -> None:
    found = 0
    for _ in range(10):
        status, body = curl(demo.origin + "/leak")
        assert status == 200
        assert len(body) > 3000
        found += escaped(body, demo)
    assert found > 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("path", ["/leak", "/gzip-leak"])
def test_leak_is_blocked_and_nothing_escapes(demo: Demo, path: str, protocol: str) -> None:
    for _ in range(10):
        status, body = curl(protocol, demo.filtered + path + "?token=hunter2")
        assert escaped(body, demo) == 0
        assert status == 502, (status, len(body), body[:600])
        quoted = re.search(rb"<code>([0-9a-f]{16})</code>", body)
        assert quoted
        shown = quoted[1].decode()

        def line(wanted: str = shown) -> list[str]:
            return [x for x in demo.events.read_text().splitlines() if wanted in x]

        assert until(line)
        event = line()[0].encode()
        assert b"hunter2" not in event
        assert b"?" not in event
        assert escaped(event, demo) == 0
        record = json.loads(event)
        assert record["path"] == path
        assert record["action"] == "block"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_page_that_comes_in_parts_is_whole(demo: Demo, protocol: str) -> None:
    assert curl(protocol, demo.filtered + "/slow") == curl(demo.origin + "/slow")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_leak_after_the_first_bytes_left_is_cut(demo: Demo, protocol: str) -> None:
    done = subprocess.run(
        ["curl", "-s", "--max-time", "20", protocol, demo.filtered + "/slow-leak"],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode in (18, 92)  # partial transfer, HTTP/2 stream error
    assert len(done.stdout) <= 400
    assert escaped(done.stdout, demo) == 0
    assert until(lambda: '"action":"cut"' in demo.events.read_text())


def test_counters_are_served(demo: Demo) -> None:
    assert curl(demo.filtered + "/leak")[0] == 502
    _, text = curl(f"http://127.0.0.1:{demo.admin_port}/stats/prometheus")

    def value(name: str) -> float:
        rows = re.findall(rb"^\w*" + name.encode() + rb"(?:\{[^}]*\})? (\d+)", text, re.M)
        return sum(map(float, rows))

    assert value("overread_responses_total") >= value("overread_blocked_total") >= 1
    assert value("overread_alarms_total") >= 1
    assert value("overread_errors_total") == 0


def test_gzip_is_seen_through(demo: Demo) -> None:
    status, body = curl("--compressed", demo.filtered + "/gzip")
    assert (status, body) == curl("--compressed", demo.origin + "/gzip")
    assert b"packed for the post" in body


def test_an_echo_of_the_own_request_passes(demo: Demo) -> None:
    status, body = curl("-H", "Cookie: sid=0123456789abcdef0123456789abcdef", demo.filtered + "/echo")
    assert status == 200
    assert b"0123456789abcdef" in body


def test_head_empty_not_modified_and_ranges_are_unharmed(demo: Demo) -> None:
    status, head = curl("-I", demo.filtered + "/about")
    assert status == 200
    assert b"content-length: 614" in head.lower()
    assert curl(demo.filtered + "/empty") == (204, b"")
    assert curl("-H", 'If-None-Match: "about-1"', demo.filtered + "/about") == (304, b"")
    assert curl("-r", "100-299", demo.filtered + "/logo.png") == curl("-r", "100-299", demo.origin + "/logo.png")
    assert curl("-r", "100-299", demo.filtered + "/logo.png")[0] == 206


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_server_sent_events_flow_at_once(demo: Demo, protocol: str) -> None:
    with subprocess.Popen(
        ["curl", "-sN", "--max-time", "20", protocol, demo.filtered + "/events"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        delays = []
        try:
            while len(delays) < 5:
                line = process.stdout.readline()
                assert line or process.poll() is None
                if line.startswith("data: "):
                    delays.append(time.time() * 1000 - json.loads(line[6:])["unix_ms"])
        finally:
            process.kill()
    # The best of several: a busy machine may delay this process, a held event would delay all of them.
    assert min(delays) < 100, delays


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_trailers_arrive_with_the_body(demo: Demo, version: str, tmp_path: Path) -> None:
    fields = tmp_path / "fields"
    done = subprocess.run(
        ["curl", "-s", version, "-H", "TE: trailers", "-D", str(fields), demo.filtered + "/digest"], capture_output=True, timeout=30, check=True
    )
    assert done.stdout == b"a body to check\n"
    assert b"x-body-digest: 9a0364b9e99bb480dd25e1f0284c8555" in fields.read_bytes().lower()


def test_websocket_upgrade_passes(demo: Demo) -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    with socket.create_connection(("127.0.0.1", demo.port), timeout=5) as s:
        s.sendall(
            f"GET /ws HTTP/1.1\r\nHost: demo\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        stream = s.makefile("rb")
        assert b" 101 " in stream.readline()
        while stream.readline().strip():
            pass
        mask, text = os.urandom(4), b"hello"
        s.sendall(bytes([0x81, 0x80 | len(text)]) + mask + bytes(c ^ mask[i % 4] for i, c in enumerate(text)))
        assert stream.read(2 + len(text)) == bytes([0x81, len(text)]) + text


def test_counts_of_monitor_and_twins(tmp_path: Path) -> None:
    demo = start_demo(tmp_path, "--mode", "monitor", "--watch", "repetition", "--watch", "twins", "--site-counts", str(tmp_path / "counts"))
    try:
        for path in ("/about", "/about", "/leak"):
            assert curl(demo.filtered + path)[0] == 200
    finally:
        stop_demo(demo.process)
    assert "cannot write" not in (tmp_path / "log").read_text()
    (file,) = tmp_path.glob("counts.*")
    counts = overread.SiteCounts.load(file)
    assert counts.responses >= 403  # with those of the demo's first visitors
    leaks, pages = counts.cells()["html", "raw", 3]
    assert leaks == 1
    assert 3 < pages < counts.responses
    assert counts.span


def test_monitor_passes_the_page_but_reports_it(tmp_path: Path) -> None:
    demo = start_demo(tmp_path, "--mode", "monitor")
    try:
        status, body = curl(demo.filtered + "/leak")
        assert status == 200
        assert len(body) > 3000
        assert until(lambda: demo.events.is_file() and '"action":"log"' in demo.events.read_text())
    finally:
        stop_demo(demo.process)


def test_a_budget_and_a_site_ruleset_reach_the_filter(tmp_path: Path) -> None:
    # One false block in ten years at a huge site: more bits than any leak has that shows no foreign secret.
    demo = start_demo(tmp_path, "--no-registry", "--budget", "0.1", "--per-day", "1e12")
    try:
        status, _ = curl(demo.filtered + "/leak")
        assert status == 200
        assert "blocking from 51.7 bits" in (tmp_path / "log").read_text()
    finally:
        stop_demo(demo.process)
    # A site that shows every level in every response: nothing weighs anything there.
    counts = overread.SiteCounts()
    counts._cells = dict.fromkeys(site_counts.known_cells(), (10**6, 10**6))
    (tmp_path / "blob").write_bytes(site_counts.calibrated(counts)[0])
    demo = start_demo(tmp_path, "--no-registry", "--ruleset", str(tmp_path / "blob"))
    try:
        status, _ = curl(demo.filtered + "/leak")
        assert status == 200
    finally:
        stop_demo(demo.process)


def test_stopping_leaves_nothing_running(tmp_path: Path) -> None:
    demo = start_demo(tmp_path)
    mark = str(demo.origin_port).encode()
    stop_demo(demo.process)
    assert demo.process.returncode == 0
    for port in (demo.port, demo.origin_port, demo.admin_port):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()

    def left() -> list[str]:
        lines = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in words:
                lines.append(entry.parent.name)
        return lines

    assert until(lambda: not left())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--upstream", "ftp://example.org"], "expected http://"),
        (["--upstream", "http://127.0.0.1:1"], "cannot be reached"),
        (["--upstream", "http://127.0.0.1:1", "--port", "70000"], "expected 0 to 65535"),
        (["--upstream", "http://127.0.0.1:{}", "--watch", "twin"], "--watch twin: expected some of repetition, sameness, twins"),
        (["--upstream", "http://127.0.0.1:{}", "--budget", "1"], "--budget and --per-day go together"),
        (["--upstream", "http://127.0.0.1:{}", "--budget", "0", "--per-day", "9"], "budget: found 0.0, expected a number above 0"),
        (["--upstream", "http://127.0.0.1:{}", "--ruleset", "/absent"], "ruleset: cannot read '/absent'"),
        (["--upstream", "http://127.0.0.1:{}", "--ruleset", "/dev/null"], "ruleset: /dev/null: ruleset blob: truncated"),
    ],
)
def test_bad_values_get_one_line(options: list[str], message: str) -> None:
    with socket.socket() as upstream:
        upstream.bind(("127.0.0.1", 0))
        upstream.listen()
        options = [option.format(upstream.getsockname()[1]) for option in options]
        done = subprocess.run(
            command("proxy", *options, *([] if "--port" in options else ["--port", "0"])),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_in_use_gets_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            command("proxy", "--upstream", f"http://127.0.0.1:{port}", "--port", port),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 2
    assert "cannot listen" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert free_ports(1)
