"""Site calibration: what is counted, that counts only ever lower weights, the file, its errors, and the command."""

import dataclasses
import json
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import overread
from overread import ruleset, site_counts
from overread.bounds import bits_of, lower_bound, upper_bound
from overread.errors import RulesetError
from overread.ruleset import Weight
from overread.site_counts import Change, SiteCounts, calibrated, known_cells, lower, lower_pairs

from .test_api import HTML, LEAK, PAGE
from .test_cli import run

HEAD = '{"overread_site_counts": 1, "versions": ["0.1.0"], "first": 1, "last": 2, "responses": 5}'
ROW = '{"class": "html", "group": "raw", "level": 1, "k": 1, "n": 5}'
SHIPPED, CAPS = ruleset.decode_weights(overread._core.default_blob())


def counts_of(tmp_path: Path, cells: dict[tuple[str, str, int], tuple[int, int]]) -> SiteCounts:
    lines = [json.dumps({"class": c, "group": g, "level": level, "k": k, "n": n}) for (c, g, level), (k, n) in cells.items()]
    path = tmp_path / "cells.jsonl"
    path.write_text("\n".join([HEAD, *lines]) + "\n")
    return SiteCounts.load(path)


def test_bounds_enclose_the_rate() -> None:
    for k, n in ((0, 10), (1, 10), (3, 1000), (2000, 10**9), (2001, 10**9), (10, 10), (5, 10**12)):
        assert 0 <= lower_bound(k, n) <= k / n <= upper_bound(k, n) <= 1
    assert lower_bound(10, 10) == pytest.approx(0.05 ** (1 / 10))
    assert lower_bound(1, 1000) == pytest.approx(1 - 0.95 ** (1 / 1000))
    # Where the normal limit takes over, the curve has no step to speak of.
    for bound in (upper_bound, lower_bound):
        assert bound(2000, 10**7) == pytest.approx(bound(2001, 10**7), rel=2e-3)
    with pytest.raises(ValueError, match="0 <= k <= n"):
        lower_bound(2, 1)


def test_counting() -> None:
    scanner, counts = overread.Scanner(), SiteCounts()
    allow = [("Allow", "GET,HEAD,,:09:44 GMT")]
    counts.add(scanner.scan(PAGE, HTML))
    counts.add(scanner.scan(LEAK, HTML, headers=allow), head=True)
    counts.add(scanner.scan(b"", HTML, headers=[("Server", "x")]), head=True)  # an empty body is none
    cells = counts.cells()
    assert counts.responses == 3
    assert cells["html", "raw", 4] == (1, 2)
    assert cells["html", "raw", 1] == (1, 2)
    assert cells["html", "http", 6] == (1, 2)
    assert cells["html", "http-given-raw", 6] == (1, 1)
    assert cells["html", "place", 1] == (0, 2)
    assert cells["head", "place", 5] == (1, 2)
    assert cells["head", "place", 6] == (0, 2)
    assert {c for c, _, _ in cells} == {"html", "head"}
    assert set(cells) <= set(known_cells())


def test_the_core_counts_as_this_does(tmp_path: Path) -> None:
    scanner, counts = overread.Scanner(), SiteCounts()
    gif = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
    allow = [("Allow", "GET,HEAD,,:09:44 GMT")]
    escaped = b'{"a": 1}\r\nCookie: a=b\r\n\\x00\\x00\\x01\\x02\\x03' * 9
    bodies = [(PAGE, HTML), (LEAK, HTML), (b"", HTML), (b"\x01\x02", "application/octet-stream"), (escaped, "application/json")]
    bodies += [(gif + b"text behind the image, " * 40 + b"\x00\x01\xff\xfe" * 8, "image/gif")]
    bodies += [(b'{"a":1}\n' + LEAK, "application/json"), (PAGE + b"\xff\xfe\x00", HTML)]
    for headers in (allow, [("Server", "x"), ("Content-Encoding", "compress")], [("Server", "x")]):
        for body, content_type in bodies:
            f = scanner.filter(overread.Policy("monitor"), content_type, headers=headers)
            f.body(body)
            f.end()
            counts.add(f.verdict(), head=True)
    (tmp_path / "native").write_text(scanner.site_counts())
    counts.save(tmp_path / "here")
    native, here = SiteCounts.load(tmp_path / "native"), SiteCounts.load(tmp_path / "here")
    assert native.cells() == here.cells()
    assert any(group == "pair" and k for (_, group, _), (k, _) in here.cells().items())
    assert (native.responses, native.versions) == (here.responses, here.versions)
    assert native.span
    assert here.span
    assert abs(native.span[0] - here.span[0]) <= 1 >= abs(native.span[1] - here.span[1])


def test_raw_bytes_behind_a_container_reach_its_place_level() -> None:
    counts = SiteCounts()
    gif = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
    verdict = overread.Scanner().scan(gif + b"text behind the image, " * 40 + b"\x00\x01\xff\xfe" * 8, "image/gif")
    assert [t.group for t in verdict.terms] == ["raw"]
    counts.add(verdict)
    assert counts.cells()["gif", "place", 3] == (1, 1)


def test_threads_and_merging_lose_nothing(tmp_path: Path) -> None:
    verdicts = [overread.Scanner().scan(body, HTML) for body in (PAGE, LEAK)]
    one, two = SiteCounts(), SiteCounts()
    threads = [threading.Thread(target=lambda: [one.add(v, head=True) for v in verdicts * 500]) for _ in range(4)]
    for thread in threads:
        thread.start()
    two.add(verdicts[1])
    for thread in threads:
        thread.join()
    one.merge(two)
    assert one.responses == 4001
    assert one.cells()["html", "raw", 4] == (2001, 4001)
    assert one.cells()["head", "place", 4] == (0, 4000)
    one.save(tmp_path / "a")
    two.save(tmp_path / "b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]
    total = SiteCounts.load([tmp_path / "a", tmp_path / "b"])
    assert total.responses == 4002
    assert total.cells()["html", "raw", 4] == (2002, 4002)
    assert total.span
    assert one.span
    assert total.span[0] <= one.span[0]
    assert total.span[1] >= one.span[1]
    again = SiteCounts.load(tmp_path / "a")
    assert (again.cells(), again.versions, repr(again)) == (one.cells(), one.versions, repr(one))


def test_the_file_holds_counts_only(tmp_path: Path) -> None:
    counts = SiteCounts()
    counts.add(overread.Scanner().scan(LEAK, HTML))
    counts.save(tmp_path / "counts")
    head, *rows = map(json.loads, (tmp_path / "counts").read_text().splitlines())
    assert head.keys() == {"overread_site_counts", "versions", "first", "last", "responses"}
    for row in rows:
        assert row.keys() == {"class", "group", "level", "k", "n"}
        assert row["class"] in ruleset.CLASSES
        assert row["group"] in (*ruleset.GROUPS, "pair")


def by_cell(weights: list[Weight]) -> dict[tuple[str, str, int], Weight]:
    return {(w.cls, w.group, w.level): w for w in weights}


def test_nothing_without_a_hit_changes_anything(tmp_path: Path) -> None:
    for n in (1, 100, 10**6, 10**10):
        counts = counts_of(tmp_path, dict.fromkeys(known_cells(), (0, n)))
        assert lower(SHIPPED, counts) == (SHIPPED, [])
        assert lower_pairs(CAPS, counts) == (CAPS, [])


def test_a_contradicted_weight_becomes_what_the_site_supports(tmp_path: Path) -> None:
    cell = ("html", "http", 4)
    before = by_cell(SHIPPED)[cell]
    counts = counts_of(tmp_path, {cell: (50, 10_000)})
    weights, changes = lower(SHIPPED, counts)
    after = by_cell(weights)[cell]
    assert after == Weight(*cell, bits_of(50, 10_000), 10_000, 50, 1, "counted", "html")
    assert changes == [Change(*cell, before.bits, after.bits, 50, 10_000, "the site contradicts it")]
    assert [w for w in weights if w != after] == [w for w in SHIPPED if w != before]


def test_a_rate_that_agrees_is_added_to_the_packages() -> None:
    w = Weight("html", "http", 1, bits_of(10, 100_000), 100_000, 10, 7, "counted", "html")

    def site(k: int, n: int) -> tuple[list[Weight], list[Change]]:
        counts = SiteCounts()
        counts._cells["html", "http", 1] = (k, n)
        return lower([w], counts)

    assert site(10, 100_000) == ([w], [])  # the sum is a larger sample of the same rate: it could only raise
    (after,), (change,) = site(15, 100_000)
    assert (after.k, after.n, after.sources, after.bits) == (25, 200_000, 8, bits_of(25, 200_000))
    assert change.why == "packages and site together"
    assert lower([dataclasses.replace(w, basis="chained")], SiteCounts())[1] == []


def test_what_is_chained_to_a_lowered_weight_falls_with_it(tmp_path: Path) -> None:
    # Level 4 shows no hit, but one of its two factors is refuted.
    counts = counts_of(tmp_path, {("html", "raw", 3): (100, 10_000), ("html", "raw", 4): (0, 10_000)})
    for given_weights in (SHIPPED, SHIPPED[::-1]):
        weights, changes = lower(given_weights, counts)
        before, after = by_cell(SHIPPED), by_cell(weights)
        third, fourth = ("html", "raw", 3), ("html", "raw", 4)
        assert after[third].bits == bits_of(100, 10_000)
        assert after[fourth].bits - after[third].bits == pytest.approx(before[fourth].bits - before[third].bits)
        assert (after[fourth].k, after[fourth].n) == (100, 10_000)
        assert {(c.cls, c.group, c.level, c.why) for c in changes} == {(*third, "the site contradicts it"), (*fourth, "chained to level 3")}


def test_groups_that_meet_more_often_than_they_claim_are_capped(tmp_path: Path) -> None:
    # A CRLF header in a page whose only raw sign is a NUL early on: two groups, no chain. With a cap that lets them add up.
    base = ruleset.replace_weights(overread._core.default_blob(), SHIPPED, CAPS | {"html": 19.0})
    body = b"\0 " + PAGE + b"\r\nHost: mirror.example\r\nReferer: https://a.example/\r\n" + PAGE
    before = overread.Scanner(overread.Ruleset.load(base)).scan(body, HTML)
    assert [t.basis for t in before.terms] == ["counted", "capped"]
    counts = SiteCounts()
    counts.add(before)
    for bits in site_counts.PAIR_BITS:
        assert counts.cells()["html", "pair", bits] == (before.bits >= bits, 1)
    # Each of the two alone is as rare as the packages say; they come together.
    n = 10**7
    rates = {(t.group, t.level_index): int(n * 2.0**-t.alone * 0.9) for t in before.terms}
    cells = {("html", group, level): (k, n) for (group, top), k in rates.items() for level in range(1, top + 1)}
    together = min(rates.values())
    reached = [bits for bits in site_counts.PAIR_BITS if before.bits >= bits]
    blob, changes = calibrated(counts_of(tmp_path, cells | {("html", "pair", bits): (together, n) for bits in reached}), base)
    assert {c.group for c in changes} == {"pair"}
    after = overread.Scanner(overread.Ruleset.load(blob)).scan(body, HTML)
    assert after.bits < before.bits
    assert after.bits == pytest.approx(max(bits_of(together, n), *(t.alone for t in after.terms)), abs=0.01)
    assert lower_bound(together, n) <= 2.0**-after.bits
    assert ruleset.decode_weights(blob)[1].keys() == CAPS.keys()
    assert {c: v for c, v in ruleset.decode_weights(blob)[1].items() if c != "html"} == {c: v for c, v in CAPS.items() if c != "html"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(known_cells()), st.integers(0, 10**10), st.floats(0, 1)), max_size=12))
def test_counts_can_only_lower(rows: list[tuple[tuple[str, str, int], int, float]]) -> None:
    counts = SiteCounts()
    for cell, n, share in rows:
        counts._cells[cell] = (int(n * share**4), n)
    cells = counts.cells()
    weights, changes = lower(SHIPPED, counts)
    assert all(0 <= new.bits <= old.bits for new, old in zip(weights, SHIPPED, strict=True))
    assert len(changes) == sum(new.bits < old.bits for new, old in zip(weights, SHIPPED, strict=True))
    caps, _ = lower_pairs(CAPS, counts)
    assert all(0 <= caps[cls] <= CAPS[cls] for cls in CAPS)
    # The law at this site: no weight claims more than the site's own lower bound allows.
    for w in weights:
        k, n = cells.get((w.cls, w.group, w.level), (0, 0))
        assert not k or lower_bound(k, n) <= 2.0**-w.bits * (1 + 1e-6)


def test_a_calibrated_blob_scans_with_lower_weights(tmp_path: Path) -> None:
    counts = counts_of(tmp_path, {("html", "raw", 4): (40, 2000), ("html", "raw", 3): (40, 2000)})
    blob, changes = calibrated(counts)
    assert changes
    site = overread.Scanner(overread.Ruleset.load(blob))
    before, after = overread.Scanner().scan(LEAK, HTML), site.scan(LEAK, HTML)
    assert after.bits < before.bits
    assert after.terms[0].bits == pytest.approx(bits_of(40, 2000), abs=1e-5)
    assert (after.terms[0].k, after.terms[0].n, after.terms[0].basis) == (40, 2000, "counted")
    assert [f.rule for f in after.findings] == [f.rule for f in before.findings]
    assert calibrated(SiteCounts())[0] == overread._core.default_blob()
    assert calibrated(SiteCounts(), blob)[0] == blob
    with pytest.raises(overread.BlobError):
        calibrated(counts, blob[:-1])
    with pytest.raises(ValueError, match="rows"):
        ruleset.replace_weights(blob, SHIPPED[1:], CAPS)
    with pytest.raises(ValueError, match="rows"):
        ruleset.replace_weights(blob, SHIPPED, {"html": 3.0})


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        ("", 1, "", "found an empty file"),
        ("nonsense", 1, "", "found no JSON object"),
        ("[" * 100_000, 1, "", "found no JSON object"),
        (HEAD.replace(": 1, ", ": 2, ", 1), 1, "overread_site_counts", "found 2, expected schema 1"),
        ("{}", 1, "overread_site_counts", "found None, expected schema 1"),
        (HEAD.replace('"versions": ["0.1.0"], ', ""), 1, "versions", "found nothing, expected a list"),
        (HEAD.replace("0.1.0", "\\u001b]0;x"), 1, "versions", "expected a list of versions"),
        (HEAD.replace('"last": 2', '"last": 0'), 1, "last", "found 0, expected seconds since 1970, at least 1"),
        (HEAD.replace('"last": 2', '"last": null'), 1, "last", "found null beside a time"),
        (HEAD.replace('"responses": 5', '"responses": -1'), 1, "responses", "found -1, expected 0 to"),
        (HEAD.replace('"responses": 5', '"responses": 5, "path": "/a"'), 1, "'path'", "unknown key"),
        (f"{HEAD}\n\n{ROW}\n{ROW}", 4, "level", "a second time"),
        (f"{HEAD}\n{ROW}\n{ROW[:-1]}", 3, "", "found no JSON object"),
        (f"{HEAD}\n" + ROW.replace("html", "htm"), 2, "class", "found 'htm', expected one of archive,"),
        (f"{HEAD}\n" + ROW.replace('"raw"', '"row"'), 2, "group", "found 'row', expected, for html, one of raw, http"),
        (f"{HEAD}\n" + ROW.replace('"level": 1', '"level": 9'), 2, "level", "found 9, expected a level of 1, 2"),
        (f"{HEAD}\n" + ROW.replace('"k": 1', '"k": 6'), 2, "k", "found 6, expected at most n, 5"),
        (f"{HEAD}\n" + ROW.replace('"k": 1', '"k": -1'), 2, "k", "found -1, expected 0 to"),
        (f"{HEAD}\n" + ROW.replace('"k": 1', '"k": 1.0'), 2, "k", "found 1.0, expected a whole number"),
        (f"{HEAD}\n" + ROW.replace('"k": 1', '"k": true'), 2, "k", "found true, expected a whole number"),
        (f"{HEAD}\n" + ROW.replace('"n": 5', '"n": ' + "9" * 40), 2, "n", "found a huge number, expected 0 to"),
        (f"{HEAD}\n" + ROW.replace(', "n": 5', ""), 2, "n", "found nothing, expected a whole number"),
    ],
)
def test_a_bad_file_is_an_error_with_its_place(tmp_path: Path, text: str, line: int, key: str, says: str) -> None:
    path = tmp_path / "counts.jsonl"
    path.write_text(text)
    with pytest.raises(RulesetError) as e:
        SiteCounts.load(path)
    assert (e.value.file, e.value.line, e.value.key) == (str(path), line, key)
    assert says in str(e.value)
    assert str(e.value).startswith(f"{path}:{line}: ")
    assert str(e.value).isprintable()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RulesetError, match="No such file"):
        SiteCounts.load(tmp_path / "absent")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(RulesetError, match="UTF-8"):
        SiteCounts.load([tmp_path / "binary"])


def test_the_command(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    for i in range(20):
        (site / f"{i}.html").write_bytes(PAGE)
    (site / "mirrored.html").write_bytes(PAGE + b"\r\nHost: mirror.example\r\nReferer: https://a.example/\r\n" + PAGE)
    (site / "saved").write_bytes(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nServer: x\r\n\r\n" + PAGE)
    counted = run("calibrate", "--count", str(site), "--out", str(tmp_path / "counts"))
    assert counted.returncode == 0, counted.stderr
    assert b"mirrored.html" in counted.stderr
    assert b"22 counted, 0 unreadable" in counted.stdout
    cells = SiteCounts.load(tmp_path / "counts").cells()
    assert cells["html", "http", 4] == (1, 22)
    assert cells["head", "place", 4] == (0, 1)
    shown = run("calibrate", "--site", str(tmp_path / "counts"), str(tmp_path / "counts"), "--report")
    assert shown.returncode == 0
    assert b"44 responses, " in shown.stdout
    assert b"the site contradicts it" in shown.stdout
    made = run("calibrate", "--site", str(tmp_path / "counts"), "--out", str(tmp_path / "blob"))
    assert made.returncode == 0
    scanner = overread.Scanner(overread.Ruleset.load((tmp_path / "blob").read_bytes()))
    assert scanner.scan((site / "mirrored.html").read_bytes(), HTML).bits < 5
    again = run("calibrate", "--site", str(tmp_path / "counts"), "--ruleset", str(tmp_path / "blob"), "--report")
    assert b"nothing contradicts the weights" in again.stdout
    (site / "gone").symlink_to(tmp_path / "absent")
    assert run("calibrate", "--count", str(site), "--out", str(tmp_path / "counts")).returncode == 2


def test_wrong_use_of_the_command(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_text(HEAD + "\n" + ROW.replace('"k": 1', '"k": 9'))
    result = run("calibrate", "--site", str(bad), "--report")
    assert result.returncode == 2
    assert f"{bad}:2: k: found 9, expected at most n, 5".encode() in result.stderr
    bad.write_text(HEAD)
    assert run("calibrate", "--site", str(bad), "--out", str(tmp_path / "no" / "folder")).returncode == 2
    assert run("calibrate", "--site", str(bad), "--ruleset", str(bad), "--report").returncode == 2
    for arguments in ((), ("--site", str(bad)), ("--count", str(bad)), ("--budget", "1")):
        assert run("calibrate", *arguments).returncode == 2


def test_a_budget_from_the_measured_rate(tmp_path: Path) -> None:
    head = '{"overread_site_counts": 1, "versions": ["0.1.0"], "first": %d, "last": %d, "responses": 4166667}\n'
    day = 1767225600
    (tmp_path / "one").write_text(head % (day, day + 3600))
    (tmp_path / "two").write_text(head % (day + 5400, day + 7200))
    (tmp_path / "short").write_text(head % (day, day + 3599))
    shown = run("calibrate", "--budget", "1", "--measured", str(tmp_path / "one"), str(tmp_path / "two")).stdout.decode()
    assert shown.startswith("block from 35.1 bits: 1 false blocks a year at 100,000,008 responses a day\n")
    assert (
        b"3599 s from the first response to the last, expected an hour or more"
        in run("calibrate", "--budget", "1", "--measured", str(tmp_path / "short")).stderr
    )
    for more in ((), ("--per-day", "9", "--measured", str(tmp_path / "one"))):
        result = run("calibrate", "--budget", "1", *more)
        assert (result.returncode, b"--budget wants --per-day or --measured" in result.stderr) == (2, True)


def test_budget_on_the_command_line() -> None:
    # Both may change with the weights; what a leak reaches is never more than what is called the most.
    most = site_counts.strongest(SHIPPED)
    assert overread.Scanner().scan(LEAK, HTML).bits <= most + 1e-5
    shown = run("calibrate", "--budget", "1", "--per-day", "100e6").stdout.decode()
    assert shown.startswith("block from 35.1 bits: 1 false blocks a year at 100,000,000 responses a day\n")
    assert (f"the shipped weights reach at most {most:.1f} bits" in shown) == (most < overread.block_bits(1, 100e6))
    assert "at most" not in run("calibrate", "--budget", "1", "--per-day", "1000").stdout.decode()
    result = run("calibrate", "--budget", "0", "--per-day", "100e6")
    assert result.returncode == 2
    assert b"budget: found 0.0, expected a number above 0" in result.stderr


def test_report_names_another_version(tmp_path: Path) -> None:
    (tmp_path / "old").write_text(HEAD.replace("0.1.0", "0.0.9"))
    counts = SiteCounts.load(tmp_path / "old")
    assert "counted by overread 0.0.9" in site_counts.report(counts, [])
    assert "1970-01-01 00:00:01 UTC to 1970-01-01 00:00:02 UTC" in site_counts.report(counts, [])
