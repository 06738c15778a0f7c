"""``overread scan`` and ``overread rules`` as a user runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .test_api import LEAK, PAGE, SECRET


def run(*args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The installed command, in a process of its own."""
    return subprocess.run([str(Path(sys.executable).with_name("overread")), *args], input=stdin, capture_output=True, timeout=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clean.html").write_bytes(PAGE)
    (tmp_path / "leak.html").write_bytes(LEAK)
    return tmp_path


def test_exit_codes(folder: Path) -> None:
    assert run("scan", str(folder / "clean.html")).returncode == 0
    found = run("scan", str(folder))
    assert found.returncode == 1
    assert b"http.cookie" in found.stdout
    mixed = run("scan", str(folder), str(folder / "absent"))
    assert mixed.returncode == 2
    assert b"LEAK" in mixed.stdout
    assert b"absent: No such file" in mixed.stderr


def test_odd_names_and_broken_links_are_reported(folder: Path) -> None:
    Path(os.fsdecode(bytes(folder) + b"/\xff\xfe.html")).write_bytes(PAGE)
    assert run("scan", str(folder)).returncode == 1
    (folder / "nowhere.html").symlink_to(folder / "absent")
    result = run("scan", str(folder))
    assert result.returncode == 2
    assert b"LEAK" in result.stdout
    assert b"nowhere.html" in result.stderr


def test_no_output_shows_the_secret(folder: Path) -> None:
    for flags in ([], ["--json"], ["--explain"]):
        result = run("scan", *flags, str(folder))
        for at in range(len(SECRET) - 5):
            assert SECRET[at : at + 6].encode() not in result.stdout + result.stderr


def test_json_is_one_object_a_line(folder: Path) -> None:
    lines = run("scan", "--json", str(folder)).stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["leaked"] for row in rows] == [False, True]
    assert rows[1]["findings"][0].keys() >= {"rule", "family", "part", "offset", "length", "bits", "digest"}


def test_standard_input_and_saved_response() -> None:
    assert run("scan", "--content-type", "text/html; charset=utf-8", "-", stdin=LEAK).returncode == 1
    saved = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nAllow: GET,HEAD,,:09:44 GMT\r\n\r\n" + PAGE
    result = run("scan", "-", "--json", stdin=saved)
    row = json.loads(result.stdout)
    assert row["body_bytes"] == len(PAGE)
    assert [f["name"] for f in row["findings"]] == ["Allow"]


def test_threshold_and_explain(folder: Path) -> None:
    assert run("scan", "--threshold", "60", str(folder / "leak.html")).returncode == 0
    assert b"clean bodies" in run("scan", "--explain", str(folder / "leak.html")).stdout
    assert run("scan", "--threshold", "0", str(folder)).returncode == 2


def test_rules(tmp_path: Path) -> None:
    assert run("rules", "check").returncode == 0
    assert b"http.cookie" in run("rules", "list").stdout
    assert b"RFC 6265" in run("rules", "explain", "http.cookie").stdout
    assert run("rules", "explain", "http.none").returncode == 2
    broken = tmp_path / "broken.toml"
    broken.write_text('[[rule]]\nid = "x"\n')
    result = run("rules", "check", str(broken))
    assert result.returncode == 2
    assert f"{broken}:1: title:".encode() in result.stderr
