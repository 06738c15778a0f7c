"""Events as the core writes them: the schema, what `overread events` makes of them, and what they never hold."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import overread
from overread import events
from overread.cli import main

from .test_api import LEAK, PAGE, SECRET

SCHEMA = json.loads((Path(overread.__file__).parent / "event.schema.json").read_text())
VALID = jsonschema.Draft202012Validator(SCHEMA)
HTML = "text/html; charset=utf-8"
TRACE = "0af7651916cd43dd8448eb211c80319c"
SCANNER = overread.Scanner()


def event_of(body: bytes, policy: overread.Policy, *, path: str = "/page?token=hunter2", own: overread.policy.Headers = (), **head: object) -> str:
    request = overread.Request("GET", path, own)
    one = SCANNER.filter(policy, HTML, request=request, **head)  # type: ignore[arg-type] # of the head
    one.body(body)
    if one.verb == "pass":
        one.end()
    return one.event("test", "GET", "shop.example", path, unix_ms=1_700_000_000_000)


POLICIES = [
    overread.Policy("monitor"),
    *(overread.Policy("enforce", action={"strong": a, "certain": a}) for a in ("log", "no-store", "redact", "trim", "truncate", "block")),
]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("body", [LEAK, PAGE, PAGE + LEAK])
def test_events_are_as_the_schema_says(policy: overread.Policy, body: bytes) -> None:
    line = event_of(body, policy, own=[("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"), ("X-Request-Id", "4bf92f35-77b3-4da6-a3ce-929d0e0e4736")])
    event = json.loads(line)
    VALID.validate(event)
    assert event["trace_id"] == TRACE
    assert event["request_id"] == "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"
    assert ("would" in event) == (policy.mode == "monitor")
    for secret in (SECRET, "hunter2", "token"):
        assert secret not in line


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=600), st.text(max_size=80), st.binary(max_size=80))
def test_any_request_gives_a_valid_event(path: str, ident: str, value: bytes) -> None:
    own = [("traceparent", ident), ("x-request-id", ident), ("X-Request-ID", value), ("traceparent", value)]
    line = event_of(LEAK, POLICIES[0], path=path + "?q=hunter2secret", own=own, headers=[("X-Note", value)])
    VALID.validate(json.loads(line))
    assert "hunter2secret" not in line
    assert len(line) < 8192


def test_an_id_that_is_none_is_not_repeated() -> None:
    for value in ("hunter2-secret-value", "00-" + "g" * 32 + "-b7ad6b7169203331-01", "a" * 41, "abc"):
        event = json.loads(event_of(LEAK, POLICIES[0], own=[("traceparent", value), ("x-request-id", value)]))
        assert "trace_id" not in event
        assert "request_id" not in event


def test_an_event_explains_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("".join(event_of(LEAK, p) + "\n" for p in POLICIES) + '{"schema":1,"id":"cut off in the midd')
    event = next(e for e in events.read(file) if e["action"] == "redact")
    assert main(["events", "explain", str(file), event["id"]]) == 0
    shown = capsys.readouterr().out
    verdict = SCANNER.scan(LEAK, HTML)
    # The same words as of the body itself: an event tells all that a verdict does.
    assert verdict.explain() in shown
    assert "action: redact, before the head left" in shown
    assert SECRET not in shown
    assert main(["events", "explain", str(file), "0" * 16]) == 2
    assert "no event has the id" in capsys.readouterr().err
    assert main(["events", "tail", str(file), "-n", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [re.search(r" (truncate|block) certain ", line) is not None for line in lines] == [True, True]
    assert main(["events", "tail", str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err


def test_followed_files_may_be_rotated(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    lines = [event_of(LEAK, POLICIES[0]) + "\n" for _ in range(5)]
    file.write_text(lines[0] + lines[1])
    argv = [sys.executable, "-c", "from overread.cli import main; main()", "events", "tail", "--follow", "--json", "-n", "1", str(file)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True) as running:
        guard = threading.Timer(30, running.kill)
        guard.start()
        assert running.stdout is not None
        try:
            assert json.loads(running.stdout.readline()) == json.loads(lines[1])
            with file.open("a") as out:
                out.write(lines[2][:100])
                out.flush()
                time.sleep(0.3)
                out.write(lines[2][100:])
            assert json.loads(running.stdout.readline()) == json.loads(lines[2])
            for n in range(3, 5):
                with file.open("a") as out:  # just before it is moved away
                    out.write(lines[n])
                file.rename(tmp_path / f"old-{n}")
                file.write_text('{"schema":1,"id":"no event"}\n' + lines[0])
                assert json.loads(running.stdout.readline()) == json.loads(lines[n])
                assert json.loads(running.stdout.readline()) == json.loads(lines[0])
        finally:
            guard.cancel()
            running.kill()
