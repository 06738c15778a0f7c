"""What an operator has while nginx runs: counters."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from .nginx_site import FIXED, HEAD, LEAK, PAGE, SECRET, Nginx, check, curl, running_origin, started, until

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
