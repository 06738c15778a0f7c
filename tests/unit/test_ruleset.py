"""Rule packs: every example and counterexample, every kind of mistake, and that the embedded blob is fresh."""

import base64
import dataclasses
import re
import shutil
import struct
from pathlib import Path

import pytest

import overread
from overread import ruleset

ROOT = Path(__file__).resolve().parents[2]
RULES = ruleset.load(ruleset.shipped_packs())


def rules_found(body: bytes, content_type: str) -> set[str]:
    """Rules that report something in the body."""
    return {f.rule for f in overread.Scanner().scan(body, content_type).findings}


def test_at_least_130_rules_with_counterexamples() -> None:
    assert len(RULES) >= 130
    assert all(r.counterexamples for r in RULES)
    # The end of a document is a mark, not a sign; heads are no bodies: their tests are in test_api.
    heads = {f"place.head-{sign}" for sign in ("grammar", "list", "reason", "control", "cookie")}
    # What is another client's no pattern tells: test_registry.
    foreign = {f"foreign.{what}" for what in ("session", "value", "canary")}
    assert {r.id for r in RULES if not r.examples} == {"place.html-end", *heads, *foreign}


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.id)
def test_examples_match_and_counterexamples_do_not(rule: ruleset.Rule) -> None:
    for example in rule.examples:
        assert rule.id in rules_found(example, rule.content_type), example
    for counterexample in rule.counterexamples:
        assert rule.id not in rules_found(counterexample, rule.content_type), counterexample


@pytest.mark.parametrize("rule", [r for r in RULES if r.wide], ids=lambda r: r.id)
def test_wide_rules_find_utf_16(rule: ruleset.Rule) -> None:
    for example in rule.examples:
        for before in (b"", b"\x01", b"a page of text "):
            body = before + example.decode("latin-1").encode("utf-16-le")
            found = [f for f in overread.Scanner().scan(body, rule.content_type).findings if f.rule == rule.id]
            assert found, example
            # Offsets and lengths are those of the body's bytes.
            assert all((f.offset - len(before)) % 2 == 0 and f.length % 2 == 0 and f.offset + f.length <= len(body) for f in found)
    for counterexample in rule.counterexamples:
        assert rule.id not in rules_found(counterexample.decode("latin-1").encode("utf-16-le"), rule.content_type), counterexample


@pytest.mark.parametrize(
    ("body", "group", "level"),
    [
        (b"a" + b"\xef\xbf\xbd" * 3 + b"b", None, 0),
        (b"a" + b"\xef\xbf\xbd" * 4 + b"b", "escaped", 1),
        (b"'" + rb"\x00" * 7 + b"'", None, 0),
        (b"'" + rb"\x00" * 8 + b"'", "escaped", 2),
        (rb"'\x00\x00" + b"' '".join([rb"\x00"] * 20) + b"'", None, 0),  # strings of a table, not one run
        (rb"\0\0`\xa1\xd2\xe14\x7f\0\0\x10", "escaped", 2),
        (b"?q=%0D%0ACookie%3A+sid%3D8f14e45fceea167a&x=1", "http", 2),
        (b"?q=%0D%0ACookie+jar%3A+sid", None, 0),
        (b'<i t="&#13;\nReferer: https://a.example/?a=1&amp;b=2&#13;">', "http", 2),
        (rb'{"log":"GET\r\nX-Forwarded-For: 203.0.113.9\r\n"}', "http", 2),
        (rb'{"log":"\r\nX-Forwarded-For: client, proxy"}', None, 0),
    ],
)
def test_escaped_forms(body: bytes, group: str | None, level: int) -> None:
    terms = overread.Scanner().scan(b"some text " * 20 + body + b" more", "text/plain; charset=utf-8").terms
    assert [(t.group, t.level_index) for t in terms] == ([(group, level)] if group else [])


def test_escaped_evidence_is_capped(pack: Path, tmp_path: Path) -> None:
    # Whatever a calibration counts: 3 bits for U+FFFD, 8 for escaped bytes, and below 22 with HTTP and credentials.
    text = (ROOT / "calibration/calibration.toml").read_text()
    generous = tmp_path / "calibration.toml"
    generous.write_text(re.sub(r"(?m)(\bbits = )[0-9.]+", r"\g<1>40.0", re.sub(r'(?m)^("[a-z0-9-]+" = )[0-9.]+$', r"\g<1>60", text)))
    scanner = overread.Scanner(overread.Ruleset.from_toml(ruleset.shipped_packs(), generous, extend=False))
    assert scanner.scan(b"a" + b"\xef\xbf\xbd" * 9, "text/plain").bits == 3
    assert scanner.scan(rb"\x00" * 9, "text/plain").bits == 8
    both = scanner.scan(rb"\x00" * 9 + b"\r\nCookie: session=Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\nReferer: https://a.example/\r\n", "text/plain")
    assert {t.group for t in both.terms} == {"http", "escaped"}
    assert 17 < both.bits < 22


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"abc" * 30, False),
        (base64.b64encode(b"session" + bytes(8) + b"more"), True),
        (base64.b64encode(b"session" + bytes(7) + b"more"), False),
        (base64.b64encode(b"x" * 8 + struct.pack("<4Q", 0x7F34E1D2A010, 5, 0x7F34E1D2A460, 7)), True),
        (base64.urlsafe_b64encode(b"x" * 8 + struct.pack("<4Q", 0x7F34E1D2A010, 5, 0x7F34E1D2A010, 7)), False),
        (base64.b64encode(b"n; theme=dark\r\nReferer: https://a.example/"), True),
        (base64.b64encode(b"two lines\r\nof text: words"), False),
        (base64.b64encode(b"????>>>>" * 3 + bytes(9)).replace(b"+", b"%2B").replace(b"/", b"%2f").replace(b"=", b"%3D"), True),
        (b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U", False),
    ],
)
def test_a_cookie_that_decodes_to_memory(value: bytes, found: bool) -> None:
    verdict = overread.Scanner().scan(b"", headers=[("Set-Cookie", b"NSC_TASS=" + value + b"; Path=/; Secure")])
    assert [(f.rule, f.name) for f in verdict.findings] == ([("place.head-cookie", "Set-Cookie")] if found else [])
    assert [t.level_index for t in verdict.terms] == ([6] if found else [])


def test_placeholders_are_no_credentials() -> None:
    for text in (b"AKIAIOSFODNN7EXAMPLE ", b"ghp_" + b"0" * 36, b"sk-proj-your_key_here_your_key_here_your_key_here_1", b"glpat-<your token here>"):
        assert not overread.Scanner().scan(b"key: " + text, "text/plain").findings, text


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
        (('["x-thing"]', '["x-thing:"]'), 4, "anchor", "no field name"),
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
        (('check = "header-line"', 'check = "request-line"\nwide = true'), 8, "wide", "in bytes only"),
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


def test_every_text_anchor_has_a_chosen_window() -> None:
    listed = ruleset.chosen_windows()
    rules = ruleset.load(ruleset.shipped_packs())
    shown = ((a, r) for r in rules if r.check != "header-line" for a in r.anchor if a[0] != 0)
    anchors = {(a, r.nocase) for a, r in shown if any(a[i : i + 3].isascii() for i in range(len(a) - 2))}
    assert listed.keys() == anchors, "stale: run `make fingerprints`"
    assert all(0 <= window <= len(text) - 3 and 0 <= bucket < 7 for (text, _), (window, bucket) in listed.items())


def test_anchors_without_a_chosen_window_are_found_all_the_same(tmp_path: Path) -> None:
    pack = tmp_path / "own.toml"
    names = [f"zq{a}{b}" for a in "abcdefghijklmnopqrst" for b in "abcdefghi"] + ["qqq"]  # the last is shorter than a window
    anchors = GOOD.replace('["x-thing"]', str(names)).replace('after = "[!-~]{2}"\n', "").replace('check = "header-line"\n', "")
    pack.write_text(anchors.replace("nocase = true", "").replace("a\\r\\nX-Thing: yes\\r\\n", "qqq").replace("an x-thing", "zq"))
    scanner = overread.Scanner(overread.Ruleset.from_toml(pack, extend=False))
    for name in names:
        for before in (b"", b"ordinary text ", b"zq" * 40):
            for after in (b"", b"\0", b" and more"):
                found = scanner.scan(before + name.encode() + after, "text/plain").findings
                assert (len(before), len(name)) in {(f.offset, f.length) for f in found}, (before, name, after)
