"""What weights are made from: clusters of sources, evidence at least as strong, pairs; tables in pages; windows of memory."""

import io
import random
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from calibration import clusters, page  # noqa: E402
from calibration.bounds import upper_bound  # noqa: E402
from calibration.calibrate import Counts, as_strong, in_bits, main, pair  # noqa: E402
from calibration.counting import Row, count  # noqa: E402
from calibration.leaks.windows import STRATA, cut, describe  # noqa: E402
from calibration.reliability import broken, not_clean, tally  # noqa: E402

N = 10_000  # bodies


def test_one_source_with_all_hits_widens_the_bounds() -> None:
    alone = [(100, 1000)]
    spread = [(1, 10)] * 100
    assert clusters.upper(alone, 1000, 100_000) > 1.5 * clusters.upper(spread, 1000, 100_000)
    assert clusters.lower(alone, 1000, 100_000) < clusters.lower(spread, 1000, 100_000)
    assert clusters.lower(spread, 1000, 100_000) < 0.001 < clusters.upper(spread, 1000, 100_000)
    assert clusters.upper([], 1000, 100_000) == 0.0


def row(number: int, source: str, bits: float = 0.0, **levels: int) -> Row:
    return Row(number.to_bytes(10, "big"), "html", source, levels, False, bits, f"package file{number}")


def counted(*rows: Row) -> Counts:
    counts = Counts()
    for r in rows:
        counts.body(r)
    return counts


def test_a_bound_is_that_of_independent_bodies_or_wider() -> None:
    rows = [row(i, f"s{i % 50}", **({"raw": 1} if i < 20 else {})) for i in range(N)]
    spread = counted(*rows)
    assert spread.bound("html", "raw", 1) >= upper_bound(20, N)
    clustered = counted(*[row(i, "one" if i < 20 else f"s{i % 50}", **({"raw": 1} if i < 20 else {})) for i in range(N)])
    assert clustered.bound("html", "raw", 1) > 1.3 * spread.bound("html", "raw", 1)


def test_weights_speak_of_any_evidence_at_least_as_strong() -> None:
    rows = [row(i, f"s{i}", **({"raw": 1} if i < 10 else {"http": 1} if i < 20 else {})) for i in range(N)]
    counts = counted(*rows)
    weights: list[dict[str, object]] = [
        {
            "class": "html",
            "group": group,
            "level": 1,
            "bits": 11.6,
            "k": 10,
            "n": N,
            "bound": upper_bound(10, N),
            "basis": "counted",
            "counted": "html",
        }
        for group in ("raw", "http")
    ]
    as_strong(counts, weights, 0.0)
    for w in weights:
        assert (w["k"], w["n"]) == (20, N)
        assert float(w["bits"]) <= 9.4 - 0.7  # type: ignore[arg-type] # a float by construction


def test_what_is_common_in_the_pool_does_not_lower_what_the_class_itself_supports() -> None:
    """Two groups in one body are rare in SVG, and so worth much there; in text they are not."""
    svg = [Row(i.to_bytes(10, "big"), "svg", f"v{i}", {}, False, 0.0, f"package file{i}") for i in range(N)]
    common = [Row(i.to_bytes(10, "little"), "text", f"t{i}", {"raw": 1, "http": 1} if i < 2000 else {}, False, 0.0, f"package text{i}") for i in range(5 * N)]
    counts = counted(*svg, *common)
    own, pool = in_bits(counts.bound("svg", "raw", 3)), in_bits(counts.bound("text-pool", "raw", 3))
    assert pool > own
    third: dict[str, object] = {
        "class": "svg", "group": "raw", "level": 3, "bits": pool, "k": 0, "n": 6 * N, "bound": 2**-pool, "basis": "counted",
        "counted": "text-pool", "sources": 6 * N,
    }  # fmt: skip
    as_strong(counts, [third], pair_cap=15.0)
    assert (third["counted"], third["n"], third["bits"]) == ("svg", N, own)
    assert float(third["bits"]) <= in_bits(float(third["bound"]))  # type: ignore[arg-type] # a float by construction


def test_pairs_are_worth_what_bodies_with_two_groups_support() -> None:
    rows = [row(i, f"s{i}", **({"raw": 1, "http": 1} if i < 50 else {})) for i in range(N)]
    found = pair(counted(*rows), "html")
    assert (found["k"], found["n"]) == (50, N)
    assert 6.5 < float(found["bits"]) < 8  # type: ignore[arg-type] # a float by construction
    none = pair(counted(*[row(i, f"s{i}") for i in range(N)]), "html")
    assert 11 < float(none["bits"]) <= 14.8  # type: ignore[arg-type] # a float by construction


def test_the_law_fails_where_too_many_bodies_reach_t_bits() -> None:
    good, _ = tally([row(i, f"s{i}", 10.0 if i < 3 else 0.0, raw=1) for i in range(N)])
    assert broken(good) == []
    bad, high = tally([row(i, f"s{i}", 11.0 if i < 90 else 0.0, raw=1) for i in range(N)])
    assert any(line.startswith(f"all: 90 of {N} bodies reach") for line in broken(bad))
    assert len(high) == 0


def test_bodies_that_are_not_clean_are_named_with_a_reason() -> None:
    for digest, why in not_clean().items():
        assert len(digest) == 10
        assert len(why) > 20


def test_a_table_stands_between_its_marks(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("a\n<!-- t -->\nold\n<!-- end of t -->\nb\n")
    page.put("t", "new\n", path)
    page.put("t", "newer", path)
    assert path.read_text() == "a\n<!-- t -->\nnewer\n<!-- end of t -->\nb\n"
    with pytest.raises(ValueError, match="marks of 'u'"):
        page.put("u", "x", path)


SECRET = b"Zk3Yx8QmZr7LwPvB2nHs5TdJf9GcA1eU"
MEMORY = (
    b"<html>page</html>\n"
    + b"\x10\xa0\xd2\xe1\x34\x7f\0\0" * 4
    + b"GET / HTTP/1.1\r\nCookie: session="
    + SECRET
    + b"\r\n\r\n"
    + b"text " * 40
    + b"\0"
    + b"Cookie: session=\r\n\0"
    + b"\xff\xfe\x01" * 900
) * 8


def test_windows_of_every_stratum_come_from_the_memory() -> None:
    windows = list(cut("server", [(0x1000, MEMORY)], [(0x7F0000000000, 0x7FFF00000000)], [SECRET], 40, random.Random(7)))
    assert {w.stratum for w in windows} == set(STRATA)
    for w in windows:
        assert w.data in MEMORY
        if w.stratum.startswith("c-string"):
            assert b"\0" not in w.data
            assert len(w.data) >= 64
        if w.stratum == "after-body":
            assert MEMORY[MEMORY.index(w.data) - 8 :].startswith(b"</html>\n")
        for offset, length in w.secrets:
            assert w.data[offset : offset + length] == SECRET


def test_a_window_says_what_it_holds() -> None:
    ranges = [(0x7F0000000000, 0x7FFF00000000)]
    heap = describe("s", "uniform", b"\x10\xa0\xd2\xe1\x34\x7f\0\0" * 4 + b"\r\nCookie: a=b\r\n\x01", ranges, [])
    assert (heap.nul, heap.control, heap.utf8, heap.header, heap.pointers >= 2, heap.raw_kinds) == (True, True, True, True, True, 4)
    text = describe("s", "uniform", "caf\u00e9 and more".encode(), ranges, [])
    assert (text.raw_kinds, text.header, text.all_zero) == (0, False, False)
    assert describe("s", "uniform", bytes(64), ranges, []).all_zero


def test_a_corrupt_package_is_named_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lists, cache = tmp_path / "lists", tmp_path / "cache"
    lists.mkdir()
    (lists / "packages.txt").write_text("npm broken # cut off on its way\n")
    (lists / "head-packages.txt").write_text("")
    (cache / "npm" / "broken").mkdir(parents=True)
    (cache / "npm" / "broken" / "broken-1.0.tgz").write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\x03 no archive")
    out = tmp_path / "calibration.toml"
    out.write_text("as it was")
    monkeypatch.setattr("calibration.calibrate.HERE", lists)
    monkeypatch.setattr(sys, "argv", ["calibrate", "--jobs", "1", "--cache", str(cache), "--out", str(out)])
    assert main() == 1
    shown = capsys.readouterr()
    assert "left out: npm:broken" in shown.out
    assert "nothing was counted; the file is left as it was" in shown.err
    assert out.read_text() == "as it was"
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["calibration.toml"]
    assert not list(cache.glob("counts/*/*"))


def test_what_was_counted_is_kept_for_the_next_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "npm" / "site"
    home.mkdir(parents=True)
    with tarfile.open(home / "site-1.0.tgz", "w:gz") as tar:
        data = b"<!doctype html><title>a page</title>" + b"<p>An ordinary paragraph.</p>\n" * 20
        info = tarfile.TarInfo("package/index.html")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    first = list(count([("npm", "site")], tmp_path, False, 1))
    assert [r.cls for r in first[0].rows] == ["html"]
    # An interrupted count goes on where it stopped: this package is not opened again.
    (home / "site-1.0.tgz").write_bytes(b"gone")
    again = list(count([("npm", "site")], tmp_path, False, 1))
    assert again[0].rows == first[0].rows


def test_a_class_without_bodies_weighs_nothing() -> None:
    assert counted(row(1, "s")).bound("css", "raw", 1) == 1.0
    assert float(pair(counted(row(1, "s")), "wasm")["bits"]) == 0.0  # type: ignore[arg-type] # a float by construction
