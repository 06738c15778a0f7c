"""What nginx's workers know together: the counts of a site, signs that repeat on a path, and twins of an object."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

import overread

from .nginx_site import MEMORY, POINTER, Nginx, check, curl, event_of, started, until

SITE = """
  types {{ text/html html; }}
  proxy_http_version 1.1;
  proxy_cache_path {folder}/cache keys_zone=pages:1m;
  overread monitor;
  overread_events {folder}/events.jsonl;
  overread_watch repetition sameness twins;
  overread_site_counts {folder}/counts;
  server {{
    listen 127.0.0.1:{port} reuseport;
    location / {{ proxy_pass {origin}; }}
    location /cache/ {{ proxy_cache pages; proxy_cache_methods POST; proxy_cache_key $request_body; proxy_cache_valid 200 1h; proxy_pass {origin}; }}
    location /unwatched/ {{ overread_watch off; proxy_pass {origin}; }}
    location /enforced/ {{ overread enforce; proxy_pass {origin}; }}
    location = /metrics {{ overread_status; }}
  }}
}}
"""


def counted(nginx: Nginx) -> overread.SiteCounts:
    return overread.SiteCounts.load(sorted(nginx.folder.glob("counts.*")))


def test_the_counts_of_all_workers_end_in_a_file_that_calibration_takes(origin: str, tmp_path: Path) -> None:
    before = time.time()
    with started(tmp_path, origin, SITE, expected="exited on signal 9") as nginx:
        for path in ["/page"] * 5 + ["/leak", "/json", "/nothing"] * 2 + ["/enforced/page"]:
            curl(nginx.url(path))
        # A worker that is killed takes no count with it, and neither does a reload; each writes what all have counted.
        os.kill(int(nginx.workers()[0]), signal.SIGKILL)
        assert until(lambda: "exited on signal 9" in nginx.log)
        old = set(nginx.workers())
        nginx.process.send_signal(signal.SIGHUP)
        assert until(lambda: list(nginx.folder.glob("counts.*")) and not old & set(nginx.workers()))
        assert counted(nginx).responses == 11
        for _ in range(3):
            curl(nginx.url("/page"))
    counts = counted(nginx)
    assert counts.responses == 14
    cells = counts.cells()
    assert cells["html", "raw", 4] == (2, 10)  # what has no body counts as a head only
    assert cells["html", "http-given-raw", 3] == (2, 2)
    assert cells["json", "raw", 1] == (0, 2)
    assert cells["head", "place", 4] == (0, 14)
    assert counts.span
    assert int(before) <= counts.span[0] <= counts.span[1] <= time.time() + 1
    assert len(list(tmp_path.glob("counts.*"))) == 1  # and nothing half written
    # A restart begins another file: nothing is lost, and nothing counts twice.
    time.sleep(max(0.0, int(before) + 2 - time.time()))
    with started(tmp_path, origin, SITE, expected="exited on signal 9") as nginx:
        curl(nginx.url("/page"))
    assert len(list(tmp_path.glob("counts.*"))) == 2
    assert counted(nginx).responses == 15


def post(nginx: Nginx, path: str, number: int) -> None:
    """Asks for a page that holds other memory each time."""
    (nginx.folder / "body").mkdir(exist_ok=True)
    memory = nginx.folder / "body" / "memory"
    memory.write_bytes(b"".join((POINTER + (number << 12) + 16 * i).to_bytes(8, "little") for i in (0, 3, 9)) + b"\xff\xfe\x03\0\0\0" + MEMORY[-40:])
    assert curl(nginx.url(path), "--data-binary", f"@{memory}")[1] == 200


def test_signs_that_repeat_on_a_path_are_one_alarm_of_all_workers(origin: str, tmp_path: Path) -> None:
    with started(tmp_path, origin, SITE) as nginx:
        for path in ("/folder/post?q=hunter2", "/unwatched/post", "/cache/post"):
            for number in range(8):
                # Of a cache the same comes twice.
                post(nginx, path, 0 if path.startswith("/cache") else number)
        event = event_of(nginx, "/folder/post")
        repetitions = [e["repetition"] for e in map(json.loads, nginx.events) if "repetition" in e]
        assert len(repetitions) == 1
        assert 2 <= repetitions[0]["count"] <= 4
        assert event["action"] == "log"
        assert b"\noverread_repetitions_total 1\n" in curl(nginx.url("/metrics"))[2]


def test_a_twin_that_has_more_is_told(origin: str, tmp_path: Path) -> None:
    with started(tmp_path, origin, SITE) as nginx:
        for path in ("/echo", "/unwatched/echo"):  # its ETag stays, whatever it shows
            for fields in ([], [], ["-H", "X-More: " + "a plain text that is not of the object " * 3]):
                assert curl(nginx.url(path), "-H", "User-Agent: x", *fields)[1] == 200
        event = event_of(nginx, "/echo")
        assert event["twin"] == {"is": "insertion", "offset": event["twin"]["offset"], "length": 126}  # type: ignore[index] # an object
        assert "framing" in [t["group"] for t in event["terms"]]  # type: ignore[attr-defined] # a list
        assert sum("twin" in json.loads(line) for line in nginx.events) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("overread_watch twin;", 'overread_watch: expected off, or repetition, sameness and twins once each, found "twin"'),
        ("overread_watch twins twins;", 'found "twins"'),
        ("overread_watch off twins;", 'found "off"'),
        ("overread_watch;", 'invalid number of arguments in "overread_watch" directive'),
        ("overread_watch off; overread_watch twins;", '"overread_watch" directive is duplicate'),
        ("overread_site_counts a; overread_site_counts b;", '"overread_site_counts" directive is duplicate'),
        ("overread_site_counts '';", '"overread_site_counts" directive needs the path of a file'),
        ("server { overread_site_counts a; }", '"overread_site_counts" directive is not allowed here'),
    ],
)
def test_bad_values_name_their_line(tmp_path: Path, line: str, message: str) -> None:
    status, said = check(tmp_path, line + "\n}\n")
    assert status == 1
    assert message in said, said
