"""What an operator has while nginx runs: counters, and a file that turns the filter down."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from .nginx_site import FIXED, FULL_GRID, HEAD, LEAK, PAGE, SECRET, Nginx, check, curl, event_of, running_origin, started, until

COUNTERS = """
  types {{ text/html html; }}
  proxy_http_version 1.1;
  root {folder}/site;
  overread enforce;
  server {{
    listen 127.0.0.1:{port} reuseport;
    location / {{ proxy_pass {origin}; }}
    location /truncate/ {{ overread_action strong truncate; overread_action certain truncate; proxy_pass {origin}; }}
    location /block/ {{ overread_block_from strong; proxy_pass {origin}; }}
    location /monitor/ {{ overread monitor; proxy_pass {origin}; }}
    location /off/ {{ overread off; proxy_pass {origin}; }}
    location /unwritten/ {{ overread monitor; overread_events /dev/full; proxy_pass {origin}; }}
    location = /metrics {{ overread_status; }}
  }}
}}
"""


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with running_origin() as url:
        yield url


def counters(nginx: Nginx) -> dict[str, int]:
    code, status, body = curl(nginx.url("/metrics"))
    assert (code, status) == (0, 200)
    samples = [line.rpartition(" ") for line in body.decode().splitlines() if not line.startswith("#")]
    return {name.removeprefix("overread_"): int(value) for name, _, value in samples}


def more(nginx: Nginx, before: dict[str, int]) -> dict[str, int]:
    return {name: value - before[name] for name, value in counters(nginx).items() if value != before[name]}


@contextmanager
def load(nginx: Nginx, threads: int, requests: int) -> Iterator[list[int]]:
    """Asks for the page so many times in each thread; yields what has been answered as it should."""
    answered = [0] * threads

    def ask(i: int) -> None:
        for _ in range(requests):
            try:
                connection = HTTPConnection("127.0.0.1", nginx.port, timeout=10)
                connection.request("GET", "/page?token=hunter2")
                answered[i] += connection.getresponse().read() == FIXED["/page"][1]
                connection.close()
            except OSError:
                pass  # a worker was killed under it

    running = [threading.Thread(target=ask, args=(i,)) for i in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield answered
    finally:
        for thread in running:
            thread.join(60)


def test_counters_tell_what_became_of_responses(origin: str, tmp_path: Path) -> None:
    with started(tmp_path, origin, COUNTERS, expected='cannot write to "/dev/full"') as nginx:
        assert set(counters(nginx).values()) == {0}
        for path, expected in (
            ("/page", {}),
            ("/block/leak?token=hunter2", {"blocked_total": 1, "alarms": 1}),
            ("/block/late-leak", {"cut_total": 1, "alarms": 1}),
            ("/truncate/leak", {"shortened_total": 1, "alarms": 1}),
            ("/truncate/late-leak", {"shortened_total": 1, "alarms": 1}),
            ("/truncate/late-fixed", {"cut_total": 1, "alarms": 1}),
            ("/monitor/leak", {"alarms": 1}),
            ("/unwritten/leak", {"alarms": 1, "errors_total": 1}),
            ("/off/leak", None),
        ):
            before = counters(nginx)
            curl(nginx.url(path))
            grown = more(nginx, before)
            assert grown.pop("body_bytes_total", 0) >= (0 if expected is None else len(PAGE)), path
            alarms = sum(grown.pop(name) for name in list(grown) if name.startswith("alarms_total"))
            assert grown | ({"alarms": alarms} if alarms else {}) == ({} if expected is None else {"responses_total": 1} | expected), path
        _, _, text = curl(nginx.url("/metrics"), "-i")
        assert b"\r\nContent-Type: text/plain; version=0.0.4\r\n" in text
        assert b"\r\nCache-Control: no-store\r\n" in text
        for name in ("responses", "blocked", "cut", "shortened", "alarms", "errors", "body_bytes"):
            assert f"# TYPE overread_{name}_total counter\n".encode() in text
        assert b"hunter2" not in text
        assert SECRET not in text
        assert curl(nginx.url("/metrics"), "-I")[1] == 200
        assert curl(nginx.url("/metrics"), "--data", "x")[1] == 405


def test_counters_of_several_workers_survive_a_reload_and_a_kill(origin: str, tmp_path: Path) -> None:
    head = HEAD.replace("worker_processes 2", "worker_processes 4")
    with started(tmp_path, origin, COUNTERS, head, expected="exited on signal 9") as nginx:
        with load(nginx, 4, 100) as answered:
            pass
        assert sum(answered) == 400
        assert (counters(nginx)["responses_total"], counters(nginx)["body_bytes_total"]) == (400, 400 * len(FIXED["/page"][1]))

        with load(nginx, 4, 100) as answered:
            nginx.process.send_signal(signal.SIGHUP)
            assert until(lambda: "reconfiguring" in nginx.log)
        assert sum(answered) == 400
        assert counters(nginx)["responses_total"] == 800

        with load(nginx, 4, 100) as answered:
            os.kill(int(nginx.workers()[0]), signal.SIGKILL)
            assert until(lambda: "exited on signal 9" in nginx.log)
        assert 800 + sum(answered) <= counters(nginx)["responses_total"] <= 1200
        assert sum(answered) > 300


@pytest.mark.parametrize("line", ["overread_zone name=other size=128k;", "overread_zone size=64k name=x;", "overread_zone name=y;", "overread_zone size=1m;"])
def test_a_zone_has_a_name_and_a_size(tmp_path: Path, line: str) -> None:
    status, said = check(tmp_path, line + "overread monitor; server { location / { overread_status; } } }\n")
    assert status == 0, said


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("overread_zone size=1k;", 'overread_zone: expected name=NAME and size=SIZE of at least 32k, found "size=1k"'),
        ("overread_zone name=;", 'found "name="'),
        ("overread_zone 64k;", 'found "64k"'),
        ("overread_zone name=a; overread_zone name=b;", '"overread_zone" directive is duplicate'),
        ("server { overread_zone name=a; }", '"overread_zone" directive is not allowed here'),
        ("overread_control a; overread_control b;", '"overread_control" directive is duplicate'),
        ("overread_control '';", '"overread_control" directive needs the path of a file'),
        ("server { overread_control a; }", '"overread_control" directive is not allowed here'),
        ("overread_status;", '"overread_status" directive is not allowed here'),
        ("server { location / { overread_status on; } }", 'invalid number of arguments in "overread_status" directive'),
    ],
)
def test_bad_values_name_their_line(tmp_path: Path, line: str, message: str) -> None:
    status, said = check(tmp_path, line + "\n}\n")
    assert status == 1
    assert message in said
    assert f"nginx.conf:{HEAD.count(chr(10)) + 1}" in said


def test_only_the_status_page_is_a_configuration_too(origin: str, tmp_path: Path) -> None:
    site = "server {{ listen 127.0.0.1:{port}; location / {{ proxy_http_version 1.1; proxy_pass {origin}; }} location /metrics {{ overread_status; }} }} }}"
    with started(tmp_path, origin, site) as nginx:
        assert curl(nginx.url("/leak")) == (0, 200, LEAK)
        assert set(counters(nginx).values()) == {0}


# ---- the control file ----


def test_the_control_file_turns_the_filter_down_and_back(origin: str, tmp_path: Path) -> None:
    control = tmp_path / "control"
    site = COUNTERS.replace("overread enforce;", "overread_control control;\n  overread_events {folder}/events.jsonl;\n  overread enforce;")
    with started(tmp_path, origin, site, HEAD.replace("worker_processes 2", "worker_processes 1")) as nginx:

        def say(text: str | None) -> None:
            if text is None:
                control.unlink()
            else:
                (tmp_path / "new").write_text(text)
                (tmp_path / "new").replace(control)
            time.sleep(1.05)  # at most one look a second

        def is_off() -> bool:
            before = len(nginx.events)
            return curl(nginx.url("/block/leak")) == (0, 200, LEAK) and len(nginx.events) == before

        def monitors() -> bool:
            passed = curl(nginx.url("/block/leak")) == (0, 200, LEAK)
            return passed and [event_of(nginx, "/block/leak")[name] for name in ("mode", "action", "would")] == ["monitor", "log", "block"]

        def enforces() -> bool:
            assert curl(nginx.url("/monitor/leak")) == curl(nginx.url("/off/leak")) == (0, 200, LEAK)
            assert not any('"path":"/off/leak"' in line for line in nginx.events)
            assert event_of(nginx, "/monitor/leak")["mode"] == "monitor"  # no file makes a location do more
            return curl(nginx.url("/block/leak")) == (0, 502, b"")

        def faults() -> int:
            return nginx.log.count("the mode stays as it was")

        assert enforces()
        say("# by the operator on call\r\nmode=monitor\r\n")
        assert monitors()
        say("mode=off\n")
        assert is_off()
        bad_texts = ["mode=enforced\n", "mode=off\nmode=enforce\n", "", "state=enforce\n", "mode=enforce\n" + "#" * 5000, "mode=enforce\0\n"]
        for bad in bad_texts if FULL_GRID else bad_texts[:1]:
            before = faults()
            say(bad)
            for _ in range(3):
                assert is_off()
            assert faults() == before + 1, bad
        assert f'overread_control: "{control}" mode: expected off, monitor or enforce; the mode stays as it was' in nginx.log
        say("mode=enforce")
        assert enforces()
        say("mode=monitor")
        assert monitors()
        say(None)
        assert enforces()
        assert nginx.log.count("overread_control: no more than") == 5

        say("mode=monitor\n")
        old = nginx.workers()
        nginx.process.send_signal(signal.SIGHUP)
        assert until(lambda: nginx.workers() and not set(old) & set(nginx.workers()))
        assert monitors()  # a new worker looks before its first response
        control.unlink()
        control.mkdir()
        before = faults()
        time.sleep(1.05)
        for _ in range(2):
            assert monitors()
        time.sleep(1.05)
        assert monitors()
        assert faults() == before + 1
        control.rmdir()


def test_every_worker_looks_at_the_control_file(origin: str, tmp_path: Path) -> None:
    site = COUNTERS.replace("overread enforce;", "overread_control {folder}/control;\n  overread enforce;")
    with started(tmp_path, origin, site, HEAD.replace("worker_processes 2", "worker_processes 3")) as nginx:
        assert {curl(nginx.url("/block/leak"))[1] for _ in range(20)} == {502}
        (tmp_path / "control").write_text("mode=monitor\n")
        time.sleep(1.05)
        assert {curl(nginx.url("/block/leak"))[1] for _ in range(20)} == {200}
