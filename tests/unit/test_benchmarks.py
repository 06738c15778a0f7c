"""What the benchmarks are made of: a wrong corpus, expression or pack would measure something else."""

import random
import re
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from benchmarks import corpora, expressions, literals, planted, report

import overread
from overread import ruleset


def test_a_pack_of_bodies_comes_back() -> None:
    bodies = [b"", b"a", bytes(range(256)) * 3, b"\xff" * 70000]
    assert corpora.unpack(corpora.pack(bodies)) == bodies


def test_expressions_are_those_of_the_rules() -> None:
    rules = ruleset.load(ruleset.shipped_packs())
    rows = expressions.of_rules(rules)
    assert len(rows) == sum(len(r.anchor) for r in rules)
    lines = expressions.hyperscan_lines(rows).splitlines()
    assert len(lines) == len(rows)
    assert all(re.fullmatch(r"[89] [\x21-\x7e]+", line) for line in lines)


def test_expressions_find_the_planted_memory_and_nothing_in_a_plain_page() -> None:
    rows = expressions.of_rules(ruleset.load(ruleset.shipped_packs()))
    memory = planted.memory(random.Random(1))
    assert memory == planted.memory(random.Random(1))
    searches = [re.compile(e.text.encode(), re.IGNORECASE if e.nocase else 0).search for e in rows]
    assert sum(1 for search in searches if search(memory)) >= 3
    assert not any(search(b"<html><body><p>Nothing to see.</p></body>") for search in searches)
    assert overread.Scanner().scan(b"<html><body><p>Some text.</p>" * 9 + memory, "text/html").bits >= 14


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pack") / "operator.toml"
    path.write_text(literals.pack(1000))
    return path


def test_each_literal_of_an_operator_is_found(pack: Path) -> None:
    scanner = overread.Scanner(overread.Ruleset.from_toml(pack))
    page = b"<html><body><p>Some text of a page.</p>" * 9
    rules = ruleset.load([pack])
    missed = [r.id for r in rules if r.id not in {f.rule for f in scanner.scan(page + r.examples[0] + page, "text/html").findings}]
    assert missed == []
    assert len({a for r in rules for a in r.anchor}) == 1000


def test_a_pack_of_literals_is_the_same_again_and_of_every_kind(pack: Path) -> None:
    assert pack.read_text() == literals.pack(1000)
    kinds = [r["title"] for r in tomllib.loads(pack.read_text())["rule"]]
    assert {k: kinds.count(k) for k in kinds} == {"Operator's header": 400, "Operator's host": 400, "Operator's key": 200}


@pytest.mark.parametrize("log", [False, True])
def test_a_plot_is_a_picture_with_a_bar_a_value(log: bool) -> None:
    plot = report.Plot("a < b & c", {"x": {"one": 0.5, "two": 40.0}, "y": {"one": 3.0}}, log)
    root = ElementTree.fromstring(report.svg(plot))
    bars = [r for r in root.iter("{http://www.w3.org/2000/svg}rect") if r.get("x")]
    widths = [float(str(b.get("width"))) for b in bars]
    assert len(widths) == 3
    assert 0 <= widths[0] < widths[2] < widths[1] <= 480


def test_the_page_shows_the_figures_that_are_kept() -> None:
    page = (report.DOCS / "performance.md").read_text()
    for table in report.tables():
        assert f"<!-- {table.name} table -->\n{table.text()}\n<!-- end of {table.name} table -->" in page
        assert (report.DOCS / table.file()).read_text() == report.svg(table.plot)
