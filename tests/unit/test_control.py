"""The control file from Python, the agent with real receivers, and the command line over both."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import overread
from overread.agent import Agent, Webhooks
from overread.cli import main

from .test_api import LEAK, PAGE

HTML = "text/html; charset=utf-8"


def until(what: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@contextlib.contextmanager
def running_agent(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`overread agent` as it is installed, and its first line; it must end when it is asked to."""
    program = str(Path(sys.executable).with_name("overread"))
    agent = subprocess.Popen([program, "agent", *words], stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert agent.stdout
        yield agent, agent.stdout.readline()
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(20) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(agent.pid, signal.SIGKILL)
        agent.wait()
        if agent.stdout:
            agent.stdout.close()


class Receiver:
    """A webhook's end: keeps what it gets, and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes, str | None]] = []
        self.answers: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((self.path, body, self.headers.get("Overread-Signature")))
                status = outer.answers.pop(0) if outer.answers else 204
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", outer.url + "elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def messages(self) -> list[dict[str, object]]:
        return [json.loads(body) for _, body, _ in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.server.shutdown()
    one.server.server_close()


def test_a_control_file_from_python(tmp_path: Path) -> None:
    control = overread.Control(tmp_path / "control")
    state = control.look()
    assert (state.mode, state.features, state.agent_ms, state.fault, state.tripped) == ("enforce", {}, 0, "", [])
    made = overread.Control(tmp_path / "control", create=True)
    made.set_mode("monitor")
    made.trip("rewriter", 3600)
    made.trip("minify")
    now = time.time_ns() // 1_000_000 + 200
    state = control.look(now)
    assert state.mode == "monitor"
    assert state.tripped == ["rewriter", "minify"]
    assert state.features["rewriter"].until_ms - state.features["rewriter"].at_ms == 3_600_000
    assert state.features["minify"].until_ms == 0
    made.rearm("minify")
    assert control.look(now + 200).tripped == ["rewriter"]
    assert control.look(now + 4_000_000).tripped == []
    for wrong in (
        lambda: made.trip("no name"),
        lambda: made.rearm(""),
        lambda: made.set_mode("on"),
        lambda: overread.Control(tmp_path / "no/such", create=True),
    ):
        with pytest.raises(overread.ConfigError):
            wrong()


def test_alarms_trip_a_feature(tmp_path: Path) -> None:
    control = overread.Control(tmp_path / "control", create=True)
    policy = overread.Policy("enforce", control=control, feature="rewriter", feature_header="X-Features", trip_alarms=2, block_from="strong")
    scanner = overread.Scanner()

    def event() -> dict[str, object]:
        one = scanner.filter(policy, HTML, headers=[("X-Features", "images")], unix_ms=time.time_ns() // 1_000_000)
        one.body(PAGE + LEAK)
        assert one.verb == "block"
        return dict(json.loads(one.event("test")))

    first, second = event(), event()
    assert first["features"] == second["features"] == ["rewriter", "images"]
    assert "tripped" not in first
    assert second["tripped"] == ["rewriter", "images"]
    assert control.look(time.time_ns() // 1_000_000 + 200).tripped == ["rewriter", "images"]


def test_the_file_is_the_most_that_a_filter_does(tmp_path: Path) -> None:
    control = overread.Control(tmp_path / "control", create=True)
    policy = overread.Policy("enforce", control=control, block_from="strong")
    scanner = overread.Scanner()
    now = time.time_ns() // 1_000_000

    def what(at: int) -> tuple[str, bool, str]:
        one = scanner.filter(policy, HTML, unix_ms=now + at)
        sent = one.body(PAGE + LEAK)
        if one.verb == "pass":
            sent += one.end()
        return one.verb, sent == PAGE + LEAK, json.loads(one.event("test"))["mode"] if one.wants_event else ""

    assert what(0) == ("block", False, "enforce")
    control.set_mode("monitor")
    assert what(200) == ("pass", True, "monitor")
    control.set_mode("off")
    assert what(400) == ("pass", True, "")
    control.set_mode("enforce")
    assert what(600) == ("block", False, "enforce")


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 13},
        {"threshold": 1001},
        {"feature": "two words"},
        {"feature": "x" * 33},
        {"feature_header": "x" * 65},
        {"trip_alarms": 65},
        {"trip_alarms": -1},
        {"trip_ms": -1},
        {"events_per_second": 2**32},
        {"weak_sample": -1},
    ],
)
def test_policies_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(overread.ConfigError, match=next(iter(wrong))):
        overread.Policy(**wrong)  # type: ignore[arg-type] # that is the test


# ---- the agent ----


def test_the_agent_calls_webhooks_and_keeps_flags(tmp_path: Path, receiver: Receiver) -> None:
    control = overread.Control(tmp_path / "control", create=True)
    key = bytes(range(16))
    with Webhooks([receiver.url + "hook?token=hunter2"], key) as webhooks:
        agent = Agent(overread.Control(tmp_path / "control"), webhooks, tmp_path / "flags")
        agent.look()
        assert control.look(time.time_ns() // 1_000_000 + 200).agent_ms > 0
        control.trip("rewriter", 3600)
        until(lambda: agent.look() is None and len(receiver.got) == 1)
        path, body, signature = receiver.got[0]
        message = json.loads(body)
        assert path == "/hook?token=hunter2"
        assert signature == "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()
        assert message["what"] == "tripped"
        assert message["feature"] == "rewriter"
        assert message["until_ms"] - message["at_ms"] == 3_600_000
        assert json.loads((tmp_path / "flags/rewriter").read_text())["feature"] == "rewriter"
        control.rearm("rewriter")
        until(lambda: agent.look() is None and len(receiver.got) == 2)
        assert receiver.messages[1]["what"] == "rearmed"
        assert not (tmp_path / "flags/rewriter").exists()


def test_an_agent_that_starts_anew_neither_repeats_nor_forgets(tmp_path: Path, receiver: Receiver) -> None:
    control = overread.Control(tmp_path / "control", create=True)
    with Webhooks([receiver.url]) as webhooks:
        control.trip("a")
        first = Agent(overread.Control(tmp_path / "control"), webhooks, tmp_path / "flags")
        until(lambda: first.look() is None and (tmp_path / "control.told").exists())
        # While no agent runs one is armed again and another one tripped.
        control.rearm("a")
        control.trip("b")
        second = Agent(overread.Control(tmp_path / "control", create=True), webhooks, tmp_path / "flags")
        until(lambda: second.look() is None and len(receiver.got) == 3)
        assert {(m["what"], m["feature"]) for m in receiver.messages[1:]} == {("rearmed", "a"), ("tripped", "b")}
        assert sorted(p.name for p in (tmp_path / "flags").iterdir()) == ["b"]
        until(lambda: second.look() is None and "a" not in (tmp_path / "control.told").read_text())
        third = Agent(overread.Control(tmp_path / "control", create=True), webhooks, tmp_path / "flags")
        time.sleep(0.2)
        third.look()
    assert len(receiver.got) == 3


def test_a_webhook_is_tried_again(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("overread.agent.webhook.WAITS", (0.05, 0.05, 0.05))
    receiver.answers = [500, 302, 200, 500, 500, 500, 500, 500]
    with Webhooks([receiver.url + "?token=hunter2"]) as webhooks:
        webhooks.send(b'{"n": 1}')
        until(lambda: len(receiver.got) == 3)
        webhooks.send(b'{"n": 2}')
        webhooks.send(b'{"n": 3}')
        assert not webhooks.idle
        until(lambda: len(receiver.got) == 10 and webhooks.idle)
    assert [m["n"] for m in receiver.messages] == [1, 1, 1, 2, 2, 2, 2, 2, 2, 3]
    told = capfd.readouterr().err
    assert "status 500" in told
    assert "status 302" in told
    assert "hunter2" not in told
    for url in ("ftp://x/hunter2", "nothing-hunter2", "http://", "http://x/hunter2 x", "http://[x/hunter2"):
        with pytest.raises(overread.ConfigError, match="webhook 1: expected") as error:
            Webhooks([url])
        assert "hunter2" not in str(error.value)


def test_an_answer_that_is_none_is_a_failure_as_any(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("overread.agent.webhook.WAITS", (0.05,))
    answers = [b"garbage\r\n\r\n", b"", b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"]
    asked = 0
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            nonlocal asked
            for answer in answers:
                peer, _ = server.accept()
                with peer:
                    peer.recv(65536)
                    peer.sendall(answer)
                asked += 1

        threading.Thread(target=serve, daemon=True).start()
        with Webhooks([f"http://127.0.0.1:{server.getsockname()[1]}/hunter2"]) as webhooks:
            webhooks.send(b"{}")
            until(lambda: webhooks.idle)
    assert asked == 3
    assert "hunter2" not in capfd.readouterr().err


def test_a_receiver_that_is_away_delays_nothing(tmp_path: Path) -> None:
    control = overread.Control(tmp_path / "control", create=True)
    with Webhooks(["http://127.0.0.1:9/"]) as webhooks:
        agent = Agent(control, webhooks, None)
        control.trip("a")
        started = time.monotonic()
        for _ in range(100):
            agent.look()
        assert time.monotonic() - started < 30
        assert control.look(time.time_ns() // 1_000_000 + 200).agent_ms > 0


# ---- the command line ----


def test_control_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "control")

    def says(*words: str) -> str:
        assert main(["control", file, *words]) == 0
        return capsys.readouterr().out

    assert says() == "mode=enforce (no file: as configured)\n"
    assert not Path(file).exists()
    assert says("monitor") == "mode=monitor\n"
    assert "rewriter: tripped at " in says("trip", "rewriter", "--for", "60")
    assert ", until " in says()
    assert "1 trips" in says()
    assert "rewriter: armed" in says("rearm", "rewriter")
    assert says("enforce").startswith("mode=enforce\n")
    for wrong in (["trip"], ["off", "rewriter"], ["switch"]):
        with pytest.raises(SystemExit):
            main(["control", file, *wrong])
    assert main(["control", file, "trip", "no name"]) == 2
    Path(file).write_text("mode=sometimes\n")
    assert main(["control", file]) == 2


def test_the_agent_as_a_process(tmp_path: Path, receiver: Receiver) -> None:
    key = tmp_path / "key"
    assert main(["selftest", "--new-key", str(key)]) == 0
    control = overread.Control(tmp_path / "control", create=True)
    words = ["--control", str(tmp_path / "control"), "--webhook", receiver.url, "--flags", str(tmp_path / "flags"), "--key", str(key)]
    with running_agent(*words) as (_, said):
        assert said == f"overread agent: watching {tmp_path / 'control'}\n"
        control.trip("rewriter")
        until(lambda: len(receiver.got) == 1 and (tmp_path / "flags/rewriter").exists())
        assert receiver.got[0][2]
    assert main(["agent", "--control", str(tmp_path / "no/such/file")]) == 2


# A second signal at every step of the first one's handler.
ASKED_TWICE = """
import os, signal, sys, threading
from pathlib import Path
from overread import Control
from overread.agent import run

def again(frame, event, argument, left=[50]):
    handler = getattr(signal.getsignal(signal.SIGTERM), "__code__", None)
    while frame and frame.f_code is not handler:
        frame = frame.f_back
    if frame and left[0]:
        left[0] -= 1
        signal.raise_signal(signal.SIGTERM)

threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGTERM)).start()
sys.setprofile(again)
sys.exit(run(Control(Path(sys.argv[1]), create=True), [], None, None, None))
"""


def test_an_agent_that_is_asked_twice_to_end_ends(tmp_path: Path) -> None:
    """Whoever ends a process and its group asks each."""
    agent = subprocess.Popen([sys.executable, "-c", ASKED_TWICE, str(tmp_path / "control")], start_new_session=True)
    try:
        assert agent.wait(20) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(agent.pid, signal.SIGKILL)
        agent.wait()
