"""Rule packs: every example and counterexample, every kind of mistake, and that the embedded blob is fresh."""

import dataclasses
import re
import shutil
from pathlib import Path

import pytest

import overread
from overread import ruleset

ROOT = Path(__file__).resolve().parents[2]
RULES = ruleset.load(ruleset.shipped_packs())


def rules_found(body: bytes, content_type: str) -> set[str]:
    """Rules that report something in the body."""
    return {f.rule for f in overread.Scanner().scan(body, content_type).findings}


def test_at_least_40_rules_with_counterexamples() -> None:
    assert len(RULES) >= 40
    assert all(r.counterexamples for r in RULES)
    # The end of a document is a mark, not a sign; heads are no bodies: their tests are in test_api.
    assert {r.id for r in RULES if not r.examples} == {"place.html-end", "place.head-grammar", "place.head-list", "place.head-reason", "place.head-control"}


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.id)
def test_examples_match_and_counterexamples_do_not(rule: ruleset.Rule) -> None:
    for example in rule.examples:
        assert rule.id in rules_found(example, rule.content_type), example
    for counterexample in rule.counterexamples:
        assert rule.id not in rules_found(counterexample, rule.content_type), counterexample


def test_embedded_blob_is_fresh() -> None:
    blob = ruleset.compile(sorted((ROOT / "src/overread/rules").glob("*.toml")), ROOT / "calibration/calibration.toml")
    assert (ROOT / "csrc/ruleset/default_blob.cpp").read_text() == ruleset.c_source(blob), "stale: run `make rules`"
    assert len(overread.Ruleset.load(blob)) == len(RULES)


GOOD = """[[rule]]
id = "http.x-thing"
title = "Thing"
anchor = ["x-thing"]
nocase = true
after = "[!-~]{2}"
check = "header-line"
reference = "none"
examples = ["a\\r\\nX-Thing: yes\\r\\n"]
counterexamples = ["an x-thing"]
"""


@pytest.mark.parametrize(
    ("change", "line", "key", "says"),
    [
        (("id = ", "name = "), 2, "name", "unknown key"),
        (('"http.x-thing"', '"xx.thing"'), 2, "id", "expected family.name"),
        (('title = "Thing"\n', ""), 1, "title", "missing"),
        (('["x-thing"]', '"x-thing"'), 4, "anchor", "expected list"),
        (('["x-thing"]', '["xt"]'), 4, "anchor", "expected 3 to 48"),
        (('["x-thing"]', "[3]"), 4, "anchor", "list of strings"),
        (('["x-thing"]', '["x-\\u4e00-thing"]'), 4, "anchor", "one byte"),
        (("nocase = true", "nocase = 1"), 5, "nocase", "expected bool"),
        (("[!-~]{2}", "[!-~{2}"), 6, "after", "expected ']'"),
        (("[!-~]{2}", "x{2}"), 6, "after", "expected '['"),
        (("[!-~]{2}", "[~-!]"), 6, "after", "backwards"),
        (("[!-~]{2}", "[!-~]{9999}"), 6, "after", "repeat"),
        (("[!-~]{2}", "[a]{500}[b]{500}"), 6, "after", "at most 512"),
        (('"header-line"', '"magic"'), 7, "check", "expected one of"),
        (('["an x-thing"]', "[]"), 10, "counterexamples", "at least one"),
        (("[[rule]]", "[[rules]]"), 1, "rules", "top-level"),
        (('title = "Thing"', "title = "), 3, "", "not TOML"),
        (('check = "header-line"', 'check = "header-line"\nbuiltin = "raw-nul"'), 4, "anchor", "either"),
        (('check = "header-line"', 'where = ["htm"]'), 7, "where", "content classes"),
    ],
)
def test_each_mistake_names_file_line_and_key(tmp_path: Path, change: tuple[str, str], line: int, key: str, says: str) -> None:
    assert change[0] in GOOD
    pack = tmp_path / "pack.toml"
    pack.write_text(GOOD.replace(*change, 1))
    with pytest.raises(overread.RulesetError) as e:
        ruleset.load([pack])
    assert (e.value.file, e.value.line, e.value.key) == (str(pack), line, key)
    assert says in str(e.value)


def test_unreadable_and_doubled_packs(tmp_path: Path) -> None:
    with pytest.raises(overread.RulesetError, match="cannot be read"):
        ruleset.load([tmp_path / "absent.toml"])
    pack = tmp_path / "pack.toml"
    pack.write_text(GOOD + GOOD)
    with pytest.raises(overread.RulesetError, match="already defined"):
        ruleset.load([pack])


def test_own_pack_is_found(tmp_path: Path) -> None:
    pack = tmp_path / "pack.toml"
    pack.write_text(GOOD)
    blob = ruleset.compile([pack], ROOT / "calibration/calibration.toml")
    found = overread.Scanner(overread.Ruleset.load(blob)).scan(b"a\r\nX-Thing: yes\r\n", "text/plain").findings
    assert [f.rule for f in found] == ["http.x-thing"]


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    path = tmp_path / "pack.toml"
    path.write_text(GOOD)
    return path


def test_from_toml_extends_the_shipped_rules(pack: Path) -> None:
    rules = overread.Ruleset.from_toml(pack)
    assert isinstance(rules, overread.Ruleset)
    assert len(rules) == len(RULES) + 1
    body = b"a\r\nX-Thing: yes\r\nCookie: session=Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\n"
    assert {"http.x-thing", "http.cookie"} <= {f.rule for f in overread.Scanner(rules).scan(body, "text/plain").findings}
    assert overread.Ruleset.from_toml([str(pack)]).rules == rules.rules


def test_from_toml_can_replace_the_shipped_rules(pack: Path) -> None:
    rules = overread.Ruleset.from_toml([pack], extend=False)
    assert [r["id"] for r in rules.rules] == ["http.x-thing"]
    scanner = overread.Scanner(rules)
    body = b"a\r\nX-Thing: yes\r\nCookie: session=Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\n"
    assert [f.rule for f in scanner.scan(body, "text/plain").findings] == ["http.x-thing"]
    # Native verifiers a pack does not name give evidence, but no finding.
    raw = b"text " * 200 + b"\xff\xfe\x00\x01" * 8
    assert scanner.scan(raw, "text/plain").findings == ()
    assert scanner.scan(raw, "text/plain").bits == overread.Scanner().scan(raw, "text/plain").bits > 0


def test_an_own_rule_weighs_what_its_level_was_counted(pack: Path) -> None:
    own = overread.Scanner(overread.Ruleset.from_toml(pack))
    mine, shipped = own.scan(b"a\r\nX-Thing: yes\r\n", "text/plain"), own.scan(b"a\r\nReferer: https://a.example/\r\n", "text/plain")
    assert mine.terms == shipped.terms != ()
    assert [f.bits for f in mine.findings] == [f.bits for f in shipped.findings]


def test_from_toml_takes_another_calibration(pack: Path, tmp_path: Path) -> None:
    # Every weight zero: a calibration that knows nothing.
    text = (ROOT / "calibration/calibration.toml").read_text()
    other = tmp_path / "calibration.toml"
    other.write_text(re.sub(r"(?m)(\bbits\"? = )[0-9.]+", r"\g<1>0.0", text))
    assert other.read_text() != text
    body = b"a\r\nX-Thing: yes\r\n"
    assert overread.Scanner(overread.Ruleset.from_toml(pack)).scan(body, "text/plain").bits > 0
    silent = overread.Scanner(overread.Ruleset.from_toml(pack, other)).scan(body, "text/plain")
    assert (silent.bits, len(silent.findings)) == (0, 1)


def test_shipped_weights_come_back_out_of_the_blob() -> None:
    assert ruleset.compile(ruleset.shipped_packs()) == ruleset.compile(ruleset.shipped_packs(), ROOT / "calibration/calibration.toml")


def test_from_toml_errors(pack: Path, tmp_path: Path) -> None:
    for nothing in ([], iter(())):
        with pytest.raises(overread.RulesetError, match="no rule pack"):
            overread.Ruleset.from_toml(nothing)
    with pytest.raises(overread.RulesetError, match=r"absent\.toml: cannot be read"):
        overread.Ruleset.from_toml(tmp_path / "absent.toml")
    with pytest.raises(overread.RulesetError, match="no calibration"):
        overread.Ruleset.from_toml(pack, tmp_path / "absent.toml")
    doubled = tmp_path / "doubled.toml"
    doubled.write_text(GOOD.replace("http.x-thing", "http.cookie"))
    with pytest.raises(overread.RulesetError, match=r"already defined in .*http\.toml") as e:
        overread.Ruleset.from_toml(doubled)
    assert (e.value.file, e.value.line, e.value.key) == (str(doubled), 2, "id")
    assert len(overread.Ruleset.from_toml(doubled, extend=False)) == 1


def test_a_ruleset_is_bounded(pack: Path) -> None:
    rule = ruleset.load([pack])[0]
    with pytest.raises(overread.RulesetError, match="at most 20000"):
        ruleset.encode([rule] * 20001, [], {})
    with pytest.raises(overread.RulesetError, match="anchors"):
        ruleset.encode([dataclasses.replace(rule, anchor=rule.anchor * 4)] * 20000, [], {})


def test_a_subclass_is_a_ruleset(pack: Path) -> None:
    class Mine(overread.Ruleset):
        pass

    for made in (Mine.default(), Mine.from_toml(pack), Mine.load(ruleset.compile([pack]))):
        assert type(made) is Mine
        assert overread.Scanner(made).scan(b"x").bits == 0


def test_calibration_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "calibration.toml"
    shutil.copy(ROOT / "pyproject.toml", path)
    with pytest.raises(overread.RulesetError, match="no calibration"):
        ruleset.read_calibration(path)
