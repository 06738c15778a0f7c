"""``overread scan`` and ``overread rules`` as a user runs them."""

import collections
import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import overread

from .test_api import HTML, LEAK, PAGE, SECRET


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


def test_ten_thousand_files_end_with_a_summary(tmp_path: Path) -> None:
    names = {"html": PAGE, "css": b"p { color: red }\n", "json": b'{"a": 1}\n', "txt": b"plain words\n"}
    for i in range(9_980):
        folder = tmp_path / f"{i % 20:02}"
        folder.mkdir(exist_ok=True)
        kind = list(names)[i % 4]
        (folder / f"{i}.{kind}").write_bytes(names[kind])
    for i in range(15):
        (tmp_path / f"leak-{i:02}.html").write_bytes(LEAK)
    mirror = PAGE + b"\r\nHost: mirror.example\r\nReferer: https://a.example/\r\n" + PAGE
    (tmp_path / "mirror.html").write_bytes(mirror)
    tiers = [overread.Scanner().scan(data, HTML).tier for data in (LEAK, mirror)]
    for i in range(2):
        (tmp_path / f"gone-{i}").symlink_to(tmp_path / "absent")
        saved = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"page " * (500 + 900 * i))[:-9]
        (tmp_path / f"cut-{i}").write_bytes(saved)
    result = run("scan", str(tmp_path))
    assert result.returncode == 2
    assert b"9998 scanned, 15 with a leak, 4 unreadable" in result.stdout
    lines = result.stdout.decode().splitlines()
    summary = lines[lines.index("summary") :]
    count = collections.Counter({tiers[0]: 15, "none": 9_982})
    count[tiers[1]] += 1
    assert summary[1] == "  tiers: " + ", ".join(f"{tier} {count[tier]:,}" for tier in ("certain", "strong", "weak", "none"))
    top = summary[summary.index("  look first at:") + 1 :][:11]
    assert [line.split()[3] for line in top[:10]] == [str(tmp_path / f"leak-{i:02}.html") for i in range(10)]
    assert top[10].startswith("  content classes")
    assert f"    2,513  {15 + (tiers[1] != 'none')}  html" in summary
    assert "    2,495   0  css" in summary
    assert "    15  raw.mixed" in summary
    reasons = summary[summary.index("  not read, or not wholly (files, why):") + 1 :][:2]
    assert [line.split(maxsplit=1)[0] for line in reasons] == ["2", "2"]
    assert "No such file or directory" in reasons[0] + reasons[1]
    assert "its gzip data is cut off; N bytes before that were scanned" in reasons[0] + reasons[1]
    assert re.fullmatch(r"  [\d.,]+ MB in [\d.]+ s: [\d,]+ files/s, [\d.,]+ MB/s", summary[-2])
    few = run("scan", "--summary", str(tmp_path / "mirror.html"))
    assert few.returncode == 0
    assert f"{tiers[1]} 1".encode() in few.stdout


def test_json_ends_with_a_summary_only_when_asked(folder: Path) -> None:
    rows = [json.loads(line) for line in run("scan", "--json", "--summary", str(folder), str(folder / "absent")).stdout.splitlines()]
    assert len(rows) == 3
    assert ["summary" in row for row in rows] == [False, False, True]
    summary = rows[2]["summary"]
    assert (summary["scanned"], summary["leaks"], summary["unreadable"], summary["bytes"]) == (2, 1, 1, len(PAGE) + len(LEAK))
    assert summary["tiers"].keys() == {"certain", "strong", "weak", "none"}
    assert summary["tiers"]["none"] == 1
    assert [row["path"] for row in summary["top"]] == [str(folder / "leak.html")]
    assert summary["classes"] == {"html": {"files": 2, "with_evidence": 1}}
    assert summary["rules"]["raw.mixed"] == 1
    assert summary["unread"] == {"No such file or directory": 1}


def test_bench_measures_own_files(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes(b"<!DOCTYPE html>" + b"<p>text</p>\n" * 2000)
    (tmp_path / "b.json").write_bytes(b'{"a": 1}')
    lines = run("bench", str(tmp_path)).stdout.decode().splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["html", "json"]
    assert all(float(rate) >= 0 for line in lines[2:] for rate in line.split()[3:])
    (tmp_path / "c.css").write_bytes(b"AKIAIOSFODNN7EXAMPLE         \n" * 200)
    tables, candidates = map(float, run("bench", str(tmp_path / "c.css")).stdout.decode().splitlines()[-1].split()[-2:])
    assert tables >= candidates == pytest.approx(1024 / 30, abs=0.01)  # one such place a line
    missing = run("bench", str(tmp_path / "missing"))
    assert missing.returncode == 2
    assert b"missing: No such file" in missing.stderr
    (tmp_path / "empty").mkdir()
    assert run("bench", str(tmp_path / "empty")).returncode == 2
