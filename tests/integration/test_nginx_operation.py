"""What an operator has while nginx runs: counters, and a file that turns the filter down."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

import overread
from overread import selftest

from .nginx_site import FIXED, FULL_GRID, HEAD, LEAK, PAGE, SECRET, Nginx, check, curl, event_of, started, until

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
        ("overread_threshold 13;", 'overread_threshold: found "13": ovr_filter_open: policy.threshold must be 0, or 14 to 1000 bits'),
        ("overread_threshold 0;", "policy.threshold must be"),
        ("overread_threshold many;", 'overread_threshold: expected a number, found "many"'),
        ("overread_most_blocked 1.5;", "policy.most_blocked must be a share"),
        ("overread_most_blocked 0.1; overread_most_blocked 0.1;", '"overread_most_blocked" directive is duplicate'),
        ("overread_budget 1 100;", 'expected false blocks a year and per_day=RESPONSES, numbers above 0, found "1 100"'),
        ("overread_budget 0 per_day=100;", 'found "0 per_day=100"'),
        ("overread_budget 1;", 'invalid number of arguments in "overread_budget" directive'),
        ("overread_feature 'two words';", "policy.feature must be 1 to 32 letters"),
        ("overread_feature '';", "policy.feature must be 1 to 32 letters"),
        (f"overread_feature_header {'x' * 65};", "policy.feature_header must have at most 64 bytes"),
        ("overread_trip 65;", "policy.trip_alarms must be at most 64"),
        ("overread_trip some;", 'expected a number of alarms, found "some"'),
        ("overread_trip 3 every=1s;", 'expected within=TIME or rearm=TIME of at least 1ms, found "every=1s"'),
        ("overread_trip 3 within=0;", 'found "within=0"'),
        ("overread_ignore rule=raw.nul;", 'overread_ignore: ignore "rule=raw.nul": it has no until=YYYY-MM-DD'),
        ("overread_ignore rule=raw.nul until=soon;", "until: expected a day as YYYY-MM-DD"),
        ("overread_events e.jsonl limit=0;", 'expected limit=N (events a second) or weak_sample=N, found "limit=0"'),
        ("overread_events off limit=1 weak_sample;", 'found "weak_sample"'),
        ("overread_decode max=0;", 'overread_decode: expected max=SIZE or ratio=N, found "max=0"'),
        ("overread_decode ratio=many;", 'found "ratio=many"'),
        ("overread_decode 4g;", 'found "4g"'),
        ("overread_key no-such;", "overread_key: cannot read"),
        ("overread_owner a; overread_owner b;", '"overread_owner" directive is duplicate'),
        ("server { overread_key key; }", '"overread_key" directive is not allowed here'),
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
            time.sleep(0.7)  # a last line without an end may still grow for half a second

        def is_off() -> bool:
            before = len(nginx.events)
            return curl(nginx.url("/block/leak")) == (0, 200, LEAK) and len(nginx.events) == before

        def monitors() -> bool:
            before = len(nginx.events)
            passed = curl(nginx.url("/block/leak")) == (0, 200, LEAK)
            assert until(lambda: len(nginx.events) > before)
            return passed and [event_of(nginx, "/block/leak")[name] for name in ("mode", "action", "would")] == ["monitor", "log", "block"]

        def enforces() -> bool:
            assert curl(nginx.url("/monitor/leak")) == curl(nginx.url("/off/leak")) == (0, 200, LEAK)
            assert not any('"path":"/off/leak"' in line for line in nginx.events)
            assert event_of(nginx, "/monitor/leak")["mode"] == "monitor"  # no file makes a location do more
            return curl(nginx.url("/block/leak")) == (0, 502, b"")

        def faults() -> int:
            return nginx.log.count(f'overread_control: "{control}" ')

        assert enforces()
        say("# by the operator on call\r\nmode=monitor\r\n")
        assert monitors()
        say("mode=off\n")
        assert is_off()
        # What is too long comes first: after a text with a fault it is no new complaint.
        bad_texts = ["x" * (17 << 20), "state=enforce\n", "mode=enforce\0\n", "mode=enforce x=1\n", "mode", "mode=enforced\n"]
        for bad in bad_texts if FULL_GRID else bad_texts[-1:]:
            before = faults()
            say(bad)
            for _ in range(3):
                assert is_off()
            assert faults() == before + 1, bad[:30]
        assert f'overread_control: "{control}" has a line that is not mode=off, mode=monitor, mode=enforce' in nginx.log
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
        for _ in range(3):
            time.sleep(0.15)
            assert monitors()
        assert faults() == before + 1
        control.rmdir()


SWITCHED = """
  proxy_http_version 1.1;
  overread enforce;
  overread_block_from strong;
  overread_control control;
  overread_key key;
  overread_decode max=20m ratio=1000;
  overread_events {folder}/events.jsonl;
  overread_owner $cookie_session;
  server {{
    listen 127.0.0.1:{port} reuseport;
    proxy_set_header Overread-Tripped $overread_tripped;
    add_header Tripped "[$overread_tripped]" always;
    location / {{ proxy_pass {origin}; }}
    location /rewritten/ {{
      overread_feature rewriter;
      overread_trip 4 within=1m rearm=3s;
      if ($overread_tripped ~ "(^|,)rewriter(,|$)") {{ return 200 "as it was\n"; }}
      proxy_pass {origin};
    }}
    location /at-once/ {{ overread_feature images; overread_action certain trip; overread_action strong trip; proxy_pass {origin}; }}
    location /quiet/ {{ overread_events {folder}/events.jsonl limit=1; proxy_pass {origin}; }}
    location /known/ {{
      overread_ignore family=raw path=/known/* until=2999-12-31;
      overread_ignore family=http until=2999-12-31;
      overread_ignore family=secret until=2999-12-31;
      overread_ignore rule=raw.nul path=/never until=2999-12-31;
      overread_ignore "family=place path=/old until=1999-12-31";
      proxy_pass {origin};
    }}
    location /rare/ {{ overread_budget 1 per_day=100000000; proxy_pass {origin}; }}
    location /never/ {{ overread_budget 0.001 per_day=1e15; proxy_pass {origin}; }}
    location /high/ {{ overread_threshold 1000; overread_action certain log; proxy_pass {origin}; }}
    location /half/ {{ overread_most_blocked 0.002; proxy_pass {origin}; }}
    location = /metrics {{ overread_status; }}
  }}
}}
"""
OPERATORS_KEY = "00112233445566778899aabbccddeeff"


@contextmanager
def switched(folder: Path, origin: str) -> Iterator[Nginx]:
    key = folder / "key"
    key.write_text(OPERATORS_KEY + "\n")
    key.chmod(0o600)
    # Workers that may not even read the control file go on with the master's descriptor.
    folder.chmod(0o755)
    with started(folder, origin, SWITCHED, HEAD.replace("worker_processes 2", "worker_processes 3"), expected="is expired") as nginx:
        yield nginx


def test_a_feature_is_switched_off_for_all_workers_and_on_again(origin: str, tmp_path: Path) -> None:
    with switched(tmp_path, origin) as nginx:
        assert [curl(nginx.url("/rewritten/leak"))[1] for _ in range(4)] == [502] * 4
        tripped = [json.loads(line).get("tripped") for line in nginx.events]
        assert tripped == [None, None, None, ["rewriter"]]
        time.sleep(0.15)
        for _ in range(12):
            assert curl(nginx.url("/rewritten/leak")) == (0, 200, b"as it was\n")
        _, _, answer = curl(nginx.url("/echo"), "-i", "-H", "Overread-Tripped: forged")
        assert b"Tripped: [rewriter]" in answer
        assert b"overread-tripped: rewriter" in answer.lower()
        assert counters(nginx)['feature_tripped{feature="rewriter"}'] == 1
        assert until(lambda: curl(nginx.url("/rewritten/leak"))[1] == 502)  # after the three seconds
        # Each worker looks at the control file at most ten times a second: the other one may
        # learn of the end a moment later. What a client forged is in no answer meanwhile.
        answers: list[bytes] = []

        def armed() -> bool:
            answers.append(curl(nginx.url("/echo"), "-i", "-H", "Overread-Tripped: forged")[2])
            return b"Tripped: []" in answers[-1]

        assert until(armed)
        assert not any(b"forged" in answer for answer in answers)
        assert curl(nginx.url("/at-once/leak"))[1] == 502
        control = overread.Control(tmp_path / "control")
        assert "images" in control.look().tripped
        control.rearm("images")
        control.trip("minify")
        time.sleep(0.15)
        assert b"Tripped: [minify]" in curl(nginx.url("/page"), "-i")[2]


def test_what_is_known_is_ignored_and_counted(origin: str, tmp_path: Path) -> None:
    with switched(tmp_path, origin) as nginx:
        assert curl(nginx.url("/known/leak")) == (0, 200, LEAK)
        assert not nginx.events
        found = counters(nginx)
        assert found['ignored_total{ignore="family=raw path=/known/* until=2999-12-31"}'] == 1
        assert found['ignored_total{ignore="rule=raw.nul path=/never until=2999-12-31"}'] == 0
        assert found['ignore_expired{ignore="family=place path=/old until=1999-12-31"}'] == 1
        assert "is expired" in (tmp_path / "out").read_text()
        # Counts go on over a reload of the same lines, and begin anew with others.
        nginx.process.send_signal(signal.SIGHUP)
        assert until(lambda: "gracefully shutting down" in nginx.log)
        assert counters(nginx)['ignored_total{ignore="family=http until=2999-12-31"}'] == 1
        conf = tmp_path / "nginx.conf"
        conf.write_text(conf.read_text().replace("path=/never", "path=/ever"))
        old = nginx.workers()
        nginx.process.send_signal(signal.SIGHUP)
        assert until(lambda: nginx.workers() and not set(old) & set(nginx.workers()))
        assert counters(nginx)['ignored_total{ignore="family=http until=2999-12-31"}'] == 0


def test_bits_budgets_limits_and_owners(origin: str, tmp_path: Path) -> None:
    with switched(tmp_path, origin) as nginx:
        assert [curl(nginx.url(path))[1] for path in ("/leak", "/rare/leak", "/never/leak", "/high/leak")] == [502, 502, 200, 200]
        assert [curl(nginx.url("/leak"), "-b", f"session={name}")[1] for name in ("alice-0123456789", "alice-0123456789", "bob-0123456789")] == [502] * 3
        owners = [json.loads(line).get("owner") for line in nginx.events[-3:]]
        assert owners[0] == owners[1] != owners[2]
        assert "owner" not in json.loads(nginx.events[0])
        assert not any("alice" in line for line in nginx.events)
        # Each worker writes one event a second.
        for _ in range(40):
            curl(nginx.url("/quiet/leak"))
        assert counters(nginx)["events_left_out_total"] >= 1
        # Digests are one in every worker, so each may be asked for by `overread events explain`.
        assert len({json.loads(line)["findings"][-1]["digest"] for line in nginx.events if '"path":"/leak"' in line}) == 1
        assert {curl(nginx.url("/half/leak"))[1] for _ in range(30)} == {200, 502}


def test_a_test_token_proves_the_filter(origin: str, tmp_path: Path) -> None:
    with switched(tmp_path, origin) as nginx:
        before = counters(nginx)
        token = selftest.token(bytes.fromhex(OPERATORS_KEY))
        wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
        assert curl(nginx.url("/echo"), "-H", f"X-Note: {token}", "--data", f"<p>{token}</p>")[1] == 502
        assert json.loads(nginx.events[-1])["test"] is True
        assert {name: n for name, n in more(nginx, before).items() if name != "body_bytes_total"} == {"responses_total": 1, "tests_total": 1}
        assert curl(nginx.url("/echo"), "-H", f"X-Note: {wrong}", "--data", f"<p>{wrong}</p>")[1] == 200


def test_a_rule_that_there_is_not_and_keys_that_are_none(tmp_path: Path) -> None:
    status, said = check(tmp_path, "overread_ignore rule=no-such until=2999-01-01;\nserver { location / { overread monitor; } }\n}\n")
    assert status == 1
    assert 'ignore "rule=no-such until=2999-01-01": rule: the ruleset has none of this id' in said
    key = tmp_path / "key"
    for text, mode, message in ((OPERATORS_KEY, 0o644, "chmod 600 it"), (OPERATORS_KEY[:-1], 0o600, "does not hold 32"), ("x" * 32, 0o600, "does not hold 32")):
        key.write_text(text)
        key.chmod(mode)
        status, said = check(tmp_path, "overread_key key;\n}\n")
        assert status == 1
        assert message in said
        assert text not in said


def test_every_worker_looks_at_the_control_file(origin: str, tmp_path: Path) -> None:
    site = COUNTERS.replace("overread enforce;", "overread_control {folder}/control;\n  overread enforce;")
    with started(tmp_path, origin, site, HEAD.replace("worker_processes 2", "worker_processes 3")) as nginx:
        assert {curl(nginx.url("/block/leak"))[1] for _ in range(20)} == {502}
        (tmp_path / "control").write_text("mode=monitor\n")
        time.sleep(0.15)
        assert {curl(nginx.url("/block/leak"))[1] for _ in range(20)} == {200}
