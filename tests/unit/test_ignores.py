"""What operators know to be harmless: from an event's explanation to silence, and reports of lines that do nothing."""

from __future__ import annotations

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

import overread
from overread import events
from overread.cli import main

from .test_api import LEAK, PAGE

HTML = "text/html; charset=utf-8"
KEY = bytes(range(16))


def filtered(scanner: overread.Scanner, body: bytes, policy: overread.Policy, path: str = "/a-page/x?q=1", owner: str = "") -> tuple[overread.Filter, str]:
    one = scanner.filter(policy, HTML, request=overread.Request("GET", path))
    one.body(body)
    if one.verb == "pass":
        one.end()
    return one, one.event("test", "GET", "shop.example", path, unix_ms=time.time_ns() // 1_000_000, owner=owner) if one.wants_event else ""


@pytest.mark.parametrize("key", [KEY, None])
def test_the_lines_of_an_explanation_silence_the_event(tmp_path: Path, capsys: pytest.CaptureFixture[str], key: bytes | None) -> None:
    policy = overread.Policy("monitor")
    _, line = filtered(overread.Scanner(key=key), PAGE + LEAK, policy)
    event = json.loads(line)
    lines = events.ignore_lines(event)
    assert event.get("keyed") is (True if key else None)
    assert any(text.startswith("digest=") for text in lines) == bool(key)
    file = tmp_path / "events.jsonl"
    file.write_text(line + "\n")
    assert main(["events", "explain", str(file), event["id"]]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {text}\n" in shown + "\n" for text in lines)
    # In another process, with other keys for all else.
    silent = overread.Policy("monitor", ignore=overread.Ignores(lines))
    one, nothing = filtered(overread.Scanner(key=key), PAGE + LEAK, silent)
    assert nothing == ""
    assert one.verdict().findings == ()
    assert one.verdict().bits == 0
    assert one.ignored == list(range(len(lines)))
    # A path that would be a pattern of more, or end a quoted word, gets no line.
    for path in ("/*", "/a b", "/'$(x)", "/" + "x" * 200):
        assert events.ignore_lines(json.loads(filtered(overread.Scanner(key=key), PAGE + LEAK, policy, path)[1])) == []
    # Another path is not silenced, nor is another leak under digests alone.
    assert filtered(overread.Scanner(key=key), PAGE + LEAK, silent, "/other")[1]


def test_what_remains_says_that_something_was_ignored() -> None:
    policy = overread.Policy("monitor", ignore=overread.Ignores(["family=secret until=2999-01-01"]))
    one, line = filtered(overread.Scanner(), PAGE + LEAK, policy)
    assert json.loads(line)["ignored"] == 1
    assert one.ignored == [0]
    assert not any(f.family == "secret" for f in one.verdict().findings)


def test_owners_are_digests_under_the_key() -> None:
    policy = overread.Policy("monitor")
    lines = [filtered(overread.Scanner(key=k), PAGE + LEAK, policy, owner="session-of-alice")[1] for k in (KEY, KEY, bytes(16), None)]
    owners = [json.loads(line).get("owner") for line in lines]
    assert owners[0] == owners[1] != owners[2]
    assert owners[3] is None
    assert not any("alice" in line for line in lines)
    with pytest.raises(ValueError, match="16 bytes"):
        overread.Scanner(key=b"short")


def test_bad_lines_are_named() -> None:
    for wrong, says in (("rule=raw.nul", "until"), ("rule=no-such until=2999-01-01", "overread rules list"), ("rule=raw.nul until=2026-02-30", "YYYY-MM-DD")):
        with pytest.raises(overread.ConfigError, match=says):
            overread.Ignores([wrong])
    kept = overread.Ignores(["rule=raw.nul until=1970-01-01"])
    assert kept.lines == [("rule=raw.nul until=1970-01-01", 86_400_000)]
    assert overread.Ignores([], overread.Ruleset.default()).lines == []


METRICS = r"""# HELP overread_ignored_total Responses.
overread_responses_total 5
overread_ignored_total{ignore="rule=raw.nul path=/a* until=2026-01-01"} 0
overread_ignore_expired{ignore="rule=raw.nul path=/a* until=2026-01-01"} 1
overread_ignored_total{ignore="family=raw path=/\"x\" until=2999-01-01"} 0
overread_ignore_expired{ignore="family=raw path=/\"x\" until=2999-01-01"} 0
envoy_overread_ignored_total{ignore="family=http until=2999-01-01"} 7
"""


def test_a_report_of_lines_that_do_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(METRICS.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    Thread(target=server.serve_forever, daemon=True).start()
    file = tmp_path / "metrics"
    file.write_text(METRICS)
    for source in (str(file), f"http://127.0.0.1:{server.server_port}/metrics"):
        assert main(["ignores", source]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "expired: rule=raw.nul path=/a* until=2026-01-01",
            'never hit: family=raw path=/"x" until=2999-01-01',
            "in force: family=http until=2999-01-01 (7 responses)",
        ]
    server.shutdown()
    server.server_close()
    assert main(["ignores", str(tmp_path / "no-such")]) == 2


def test_floods_leave_events_out() -> None:
    policy = overread.Policy("monitor", events_per_second=4)
    scanner = overread.Scanner()
    lines = []
    for _ in range(10):
        one = scanner.filter(policy, HTML)
        one.body(PAGE + LEAK)
        one.end()
        lines.append(one.event("test", unix_ms=1_700_000_000_000))
    assert [bool(line) for line in lines] == [True] * 4 + [False] * 6
