"""What operators switch on a real Envoy at run time: features that trip, ignores, owners, limits; and what its configuration refuses."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from overread import events
from tests.unit.test_api import LEAK, PAGE

from .processes import Proxy, command, start_proxy, stop_demo
from .test_envoy import curl, until

KEY = "00112233445566778899aabbccddeeff"
SESSION = "session-of-alice-8f3b2c"


class Origin(BaseHTTPRequestHandler):
    """A rewriter that leaks, until it is told that it is switched off."""

    protocol_version = "HTTP/1.1"
    told: str | None = None

    def do_GET(self) -> None:
        Origin.told = self.headers.get("Overread-Tripped")
        leaks = self.path.startswith("/rewritten") and "rewriter" not in (Origin.told or "")
        body = LEAK if leaks or self.path.startswith("/leak") else PAGE
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if self.path.startswith("/rewritten"):
            self.send_header("X-Features", "rewriter")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def metrics(proxy: Proxy) -> dict[str, float]:
    page = urllib.request.urlopen(f"http://127.0.0.1:{proxy.admin_port}/stats/prometheus", timeout=10).read().decode()
    return {name.removesuffix("{}"): float(value) for name, value in re.findall(r"^\w*?(overread_.+) (\S+)$", page, re.M)}


def get(proxy: Proxy, path: str, *options: str) -> int:
    return curl("--http1.1", *options, proxy.filtered + path)[0]


def test_a_feature_that_leaks_is_switched_off_and_on_again(upstream: str, tmp_path: Path) -> None:
    control = tmp_path / "control"
    words = ("--mode", "enforce", "--control", str(control), "--feature-header", "X-Features", "--trip-alarms", "3", "--trip-ms", "60000")
    proxy = start_proxy(tmp_path, upstream, *words)

    def say(*more: str) -> str:
        return subprocess.run(command("control", str(control), *more), capture_output=True, text=True, timeout=30, check=True).stdout

    try:
        assert [get(proxy, "/rewritten") for _ in range(3)] == [502] * 3
        # At once: the next request already tells the origin, and is answered. Nobody else may say so.
        assert until(lambda: get(proxy, "/rewritten") == 200, 5)
        assert Origin.told == "rewriter"
        assert until(lambda: len(proxy.records()) >= 3, 5)
        assert [r["features"] for r in proxy.records()[:3]] == [["rewriter"]] * 3
        assert proxy.records()[2]["tripped"] == ["rewriter"]
        assert "rewriter: tripped" in say()
        assert until(lambda: metrics(proxy).get('overread_feature_tripped{feature="rewriter"}') == 1 or get(proxy, "/") == 0, 5)
        say("rearm", "rewriter")
        assert until(lambda: get(proxy, "/rewritten") == 502, 5)
        assert get(proxy, "/rewritten", "-H", "Overread-Tripped: rewriter") == 502
        assert Origin.told is None
        say("off")
        say("trip", "rewriter")
        time.sleep(0.3)
        assert get(proxy, "/rewritten") == 200
        assert Origin.told == "rewriter"
        # An agent shows life; when it is dead the gauge goes on growing.
        assert not any(name.startswith("overread_agent_age") and value for name, value in metrics(proxy).items())
        (tmp_path / "control.agent").touch()
        assert until(lambda: get(proxy, "/") == 200 and metrics(proxy).get("overread_agent_age_seconds", 0) >= 1, 10)
    finally:
        stop_demo(proxy.process)


def test_ignores_owners_and_limits(upstream: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(KEY + "\n")
    options = ("--mode", "enforce", "--key", str(key), "--owner", "cookie:session", "--events-per-second", "1")
    first = start_proxy(tmp_path, upstream, *options)
    try:
        assert [get(first, "/leak/a", "-b", f"theme=dark; session={SESSION}") for _ in range(8)] == [502] * 8
        assert until(lambda: metrics(first).get("overread_events_left_out_total", 0) >= 1, 5)
        assert until(lambda: bool(first.records()), 5)
        event = first.records()[0]
        assert re.fullmatch("[0-9a-f]{16}", event["owner"])
        assert SESSION not in json.dumps(event)
        assert event["keyed"] is True
    finally:
        stop_demo(first.process)
    # What explain prints silences just that path, in another process.
    lines = [*events.ignore_lines(event), "family=raw path=/elsewhere until=1999-01-01"]
    (tmp_path / "second").mkdir()
    second = start_proxy(tmp_path / "second", upstream, *options, *(word for line in lines for word in ("--ignore", line)))
    try:
        assert get(second, "/leak/a", "-b", "session=other") == 200
        assert get(second, "/leak/b") == 502
        assert until(lambda: len(second.records()) == 1, 5)
        assert "owner" not in second.records()[0]
        found = metrics(second)
        assert found[f'overread_ignored_total{{ignore="{lines[0]}"}}'] == 1
        assert found[f'overread_ignore_expired{{ignore="{lines[-1]}"}}'] == 1
        assert found[f'overread_ignored_total{{ignore="{lines[-1]}"}}'] == 0
        page = f"http://127.0.0.1:{second.admin_port}/stats/prometheus"
        report = subprocess.run(command("ignores", page), capture_output=True, text=True, timeout=30, check=True).stdout
        assert report.startswith(f"expired: {lines[-1]}\n")
        assert "in force: " in report
    finally:
        stop_demo(second.process)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--ignore", "rule=raw.nul"), 'ignore "rule=raw.nul": it has no until=YYYY-MM-DD'),
        (("--ignore", "rule=no-such until=2999-01-01"), "the ruleset has none of this id"),
        (("--threshold", "13"), "threshold: expected bits from 14 to 1000, found '13.0'"),
        (("--owner", "session"), "owner: expected header:NAME or cookie:NAME, found 'session'"),
        (("--feature", "two words"), "policy.feature must be 1 to 32 letters"),
        (("--trip-alarms", "65"), "policy.trip_alarms must be at most 64"),
        (("--owner", "a\nmode=off"), "--owner: a line break in the value"),
    ],
)
def test_bad_settings_are_refused_at_load(upstream: str, tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    words = command("proxy", "--upstream", upstream, "--port", "0", "--events", str(tmp_path / "e"), *options)
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert says in done.stderr + done.stdout
