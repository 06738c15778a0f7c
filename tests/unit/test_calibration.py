"""Weights never exceed what their counts support."""

import collections
import gzip
import io
import json
import math
import struct
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from calibration.bounds import upper_bound  # noqa: E402
from calibration.calibrate import HERE, check, main  # noqa: E402
from calibration.counting import package_list  # noqa: E402
from calibration.heads import Head, distinct, heads, source_of  # noqa: E402

CALIBRATION = ROOT / "calibration/calibration.toml"


def test_every_weight_is_within_its_bound() -> None:
    assert check(CALIBRATION) == []


def test_a_weight_above_its_bound_is_reported(tmp_path: Path) -> None:
    text = CALIBRATION.read_text()
    at = text.index("bits = ", text.index("[[weight]]"))
    end = text.index("\n", at)
    path = tmp_path / "calibration.toml"
    path.write_text(text[:at] + "bits = 40.0" + text[end:])
    assert len(check(path)) == 1


@pytest.mark.parametrize(("k", "n", "want"), [(0, 1000, 1 - 0.05 ** (1 / 1000)), (1, 10, 0.39416), (5, 5, 1.0), (3, 21815, 3.554e-4)])
def test_bounds_are_clopper_pearson(k: int, n: int, want: float) -> None:
    assert math.isclose(upper_bound(k, n), want, rel_tol=2e-3)


def test_bound_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="n > 0"):
        upper_bound(0, 0)


# --- Response heads ---

RAW = b"HTTP/1.1 302 Found\r\nServer: a\x01b\r\nLocation: /x\r\n y\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nbody"
FIELDS = ((b"Server", b"a\x01b"), (b"Location", b"/x y"), (b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2"))
ROWS = [[n.decode(), v.decode()] for n, v in FIELDS]
LISTS = {"Server": ["a\x01b"], "Location": ["/x y"], "Set-Cookie": ["a=1", "b=2"]}
WARC = (
    b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://www.debian.org/a\r\nWARC-Date: 2020-01-01T00:00:00Z\r\n"
    b"WARC-Record-ID: <urn:uuid:0>\r\nContent-Type: application/http; msgtype=response\r\nContent-Length: %d\r\n\r\n%s\r\n\r\n" % (len(RAW), RAW)
)
VCRPY = """interactions:
- request: {method: GET, uri: 'https://www.debian.org/a', headers: {}, body: null}
  response:
    body: {string: !!python/unicode 'x'}
    headers: {Server: ["a\\x01b"], Location: [/x y], Set-Cookie: [a=1, b=2]}
    status: {code: 302, message: Found}
version: 1
"""
GO_VCR = """---
version: 1
interactions:
- request: {url: 'https://www.debian.org/a', method: GET}
  response: {body: x, status: 302 Found, code: 302, headers: {Server: ["a\\x01b"], Location: [/x y], Set-Cookie: [a=1, b=2]}}
"""
R_VCR = """http_interactions:
- request: {method: get, uri: 'https://www.debian.org/a'}
  response:
    status: {status_code: '302', reason: Found, message: 'Redirection: (302) Found'}
    headers: {Server: "a\\x01b", Location: /x y, Set-Cookie: [a=1, b=2]}
"""
BETAMAX = json.dumps(
    {
        "http_interactions": [
            {
                "request": {"uri": "https://www.debian.org/a"},
                "response": {"status": {"code": 302, "message": "Found"}, "headers": {**LISTS, "X-Key": "<API_KEY>"}, "url": "https://www.debian.org/a"},
            }
        ],
        "recorded_with": "betamax",
    }
)
HAR_HEADERS = [{"name": ":status", "value": "302"}, {"name": "Server", "value": "a\x01b"}, {"name": "Location", "value": "/x y"}]
HAR = {
    "log": {
        "entries": [
            {
                "request": {"url": "https://www.debian.org/a"},
                "response": {"status": 302, "statusText": "Found", "headers": [*HAR_HEADERS, {"name": "Set-Cookie", "value": "a=1\nb=2"}]},
            }
        ]
    }
}
NOCK = [{"scope": "https://www.debian.org:443", "method": "GET", "path": "/a", "status": 302, "rawHeaders": [x for row in ROWS for x in row]}]
REPLAY = "\n".join(["https", "GET", "www.debian.org", "None", "/a", "{}", "None", "302", repr([tuple(r) for r in ROWS]), "body", "", ""])


def capture() -> bytes:
    """A request and its answer in two segments, the second sent twice."""

    def packet(source: int, target: int, seq: int, payload: bytes) -> bytes:
        tcp = struct.pack(">HHIIBBHHH", source, target, seq, 0, 5 << 4, 0x18, 1024, 0, 0) + payload
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, bytes([10, 0, 0, source % 256]), bytes([10, 0, 0, target % 256])) + tcp
        frame = bytes(12) + b"\x08\x00" + ip
        return struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame

    request = packet(4000, 80, 1, b"GET /a HTTP/1.1\r\nHost: www.debian.org\r\n\r\n")
    first, second = packet(80, 4000, 1, RAW[:30]), packet(80, 4000, 31, RAW[30:])
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + request + first + first + second + second


def archive(folder: Path, **files: bytes) -> Path:
    path = folder / "package-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"package-1.0/tests/{name.replace('__', '.')}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    ("name", "data", "source", "reason"),
    [
        ("a__warc", WARC, "debian.org", "Found"),
        ("a__warc__gz", gzip.compress(WARC), "debian.org", "Found"),
        ("a__yaml", VCRPY.encode(), "debian.org", "Found"),
        ("a__yaml__gz", gzip.compress(VCRPY.encode()), "debian.org", "Found"),
        ("go__yaml", GO_VCR.encode(), "debian.org", "Found"),
        ("r__yml", R_VCR.encode(), "debian.org", "Found"),
        ("a__json", BETAMAX.encode(), "debian.org", "Found"),
        ("a__har", json.dumps(HAR).encode(), "debian.org", "Found"),
        ("nock__json", json.dumps(NOCK).encode(), "debian.org", ""),
        ("a__txt", REPLAY.encode(), "debian.org", ""),
        ("a__http", RAW, "package", "Found"),
        ("a__pcap", capture(), "debian.org", "Found"),
    ],
)
def test_recordings_give_the_head_that_was_sent(tmp_path: Path, name: str, data: bytes, source: str, reason: str) -> None:
    assert list(heads(archive(tmp_path, **{name: data}))) == [Head(source, 302, reason, FIELDS)]


def test_broken_recordings_are_skipped_and_counted(tmp_path: Path) -> None:
    skipped: collections.Counter[str] = collections.Counter()
    path = archive(
        tmp_path,
        a__json=b'{"headers": ',
        b__yaml=b"interactions:\n- request: [\n",
        c__warc__gz=gzip.compress(WARC)[:60],
        d__har=b'{"log": {"entries": [{"response": {"status": 200, "headers": []}}]}}',
        e__pcap=capture()[:90],
        f__http=b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        invalid__http=RAW,
        g__yml=b"just: text",
        h__yaml=VCRPY.encode(),
    )
    assert [h.status for h in heads(path, skipped)] == [302]
    assert skipped["named as broken"] == 1
    assert skipped["JSONDecodeError"] == 1
    assert skipped["incomplete head"] >= 1
    assert sum(skipped.values()) >= 5


def test_a_head_counts_once(tmp_path: Path) -> None:
    assert len(list(distinct(heads(archive(tmp_path, a__yaml=VCRPY.encode(), b__har=json.dumps(HAR).encode()))))) == 1


@pytest.mark.parametrize(
    ("host", "want"),
    [
        ("api.service.co.uk", "service.co.uk"),
        ("a.blob.core.windows.net", "windows.net"),
        ("localhost", "p"),
        ("8.8.8.8", "p"),
        ("www.example.com", "p"),
        ("", "p"),
    ],
)
def test_a_source_is_a_registrable_domain(host: str, want: str) -> None:
    assert source_of(host, "p") == want


def test_only_heads_changes_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists, cache = tmp_path / "lists", tmp_path / "cache"
    lists.mkdir()
    (lists / "head-packages.txt").write_text("# a comment\nnpm package # what for\n")
    assert package_list(lists / "head-packages.txt") == [("npm", "package")]
    (cache / "npm" / "package").mkdir(parents=True)
    archive(cache / "npm" / "package", a__yaml=VCRPY.encode())
    out = tmp_path / "calibration.toml"
    out.write_text(CALIBRATION.read_text())
    monkeypatch.setattr("calibration.calibrate.HERE", lists)
    monkeypatch.setattr(sys, "argv", ["calibrate", "--only", "heads", "--jobs", "1", "--cache", str(cache), "--out", str(out)])
    assert main() == 0
    assert check(out) == []
    before, after = CALIBRATION.read_text().splitlines(), out.read_text().splitlines()
    changed = collections.Counter(after) - collections.Counter(before)
    assert '"head" = 1' in changed
    assert after[: after.index("[bodies]")] == before[: before.index("[bodies]")]
    assert [line for line in before if line.startswith("class") or '"deb:' in line] == [line for line in after if line.startswith("class") or '"deb:' in line]


def test_every_listed_package_says_why() -> None:
    lines = [line for line in (HERE / "head-packages.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines
    assert all(" # " in line and line.split()[0] in ("deb", "deb-src", "npm", "pypi-sdist") for line in lines)
