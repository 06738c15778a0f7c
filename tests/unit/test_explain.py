"""What explain() and `overread rules explain` say, word for word.

Verdicts and weights are made up, so that a new calibration changes no golden file. After a wanted change of the wording:
``OVERREAD_WRITE_GOLDEN=1 pytest tests/unit/test_explain.py``, then read the difference.
"""

import os
from pathlib import Path

import pytest

import overread
from overread import rule_page, ruleset
from overread.ruleset import Weight

from .test_api import HTML, LEAK, PAGE, SECRET

GOLDEN = Path(__file__).resolve().parents[1] / "data/explain"
RAW4 = overread.Term("raw", "memory there", 4, 21.375, "chained", "html", 2, 273154, 1194, 21.375)
RAW2 = overread.Term("raw", "control or NUL bytes", 2, 9.5, "counted", "html", 200, 273154, 1194, 9.5)
CHAINED = overread.Term("http", "header block, CRLF", 4, 10.75, "chained", "text-pool", 1, 8171, 3076, 15.0)
ALONE = overread.Term("http", "header block, CRLF", 4, 15.0, "counted", "html", 0, 273154, 1194, 15.0)
PAIR = overread.Term("http", "header line, LF", 2, 9.97, "capped", "html", 26, 273154, 1194, 12.88)
ADMITTED = overread.Term("http", "header block, CRLF", 4, 17.0, "counted", "html", 0, 10**7, 1194, 21.0)
ALLOW = overread.Term("place", "Allow is no list of methods", 5, 4.1, "capped", "head", 0, 22107, 176, 12.84)


def finding(rule: str, part: str = "body") -> overread.Finding:
    return overread.Finding(rule, rule.partition(".")[0], part, "Allow" if part == "header" else "", 100, 20, 5.0, 1)


def verdict(bits: float, terms: list[overread.Term], findings: list[overread.Finding], dropped: int = 0, exempt: int = 0) -> overread.Verdict:
    tier = "certain" if bits >= 30 else "strong" if bits >= 22 else "weak" if bits >= 14 else "none"
    chance = 1 / (1 + 2 ** (21.654 - bits))
    return overread.Verdict(bits >= 22, bits, chance, tier, 100 if findings else None, 12345, "html", tuple(findings), dropped, tuple(terms), exempt)


VERDICTS = {
    "clean": verdict(0, [], []),
    "chained": verdict(32.125, [RAW4, CHAINED], [finding(r) for r in ("raw.mixed", "raw.nul", "http.host", "http.cookie", "secret.bearer")], 7),
    "typed": verdict(21.9, [RAW4, CHAINED], [finding("raw.nul"), finding("http.host")]),
    "typed-and-head": verdict(26.0, [RAW4, CHAINED, ALLOW], [finding("place.head-list", "header"), finding("raw.nul"), finding("http.host")]),
    "another-cap": verdict(20.0, [RAW4], [finding("raw.nul")]),
    "pair": verdict(19.47, [RAW2, PAIR], [finding("raw.nul"), finding("http.host"), finding("http.host")]),
    "http-cap": verdict(17.0, [ADMITTED], [finding("http.host")]),
    "own-request": verdict(15.0, [ALONE], [finding("http.host")], exempt=3),
    "container": verdict(21.375, [RAW4], [finding("raw.nul"), finding("place.png-tail")], exempt=1),
    "weightless": verdict(0, [], [finding("http.host")]),
}


def compare(name: str, text: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("OVERREAD_WRITE_GOLDEN"):
        path.write_text(text + "\n")
    assert text + "\n" == path.read_text()


@pytest.mark.parametrize("name", VERDICTS)
def test_explain_word_for_word(name: str) -> None:
    compare(name, VERDICTS[name].explain())


def test_every_golden_file_is_compared() -> None:
    assert {p.stem for p in GOLDEN.glob("*.txt")} == {*VERDICTS, *(f"rule-{name}" for name in PAGES)}


@pytest.mark.parametrize("body", [PAGE, LEAK, PAGE + b"\0\0" + PAGE, PAGE + b"\r\nHost: a.example\r\nCookie: a=b\r\n" + PAGE])
def test_the_last_line_is_the_sum_of_the_terms(body: bytes) -> None:
    verdict = overread.Scanner().scan(body, HTML, headers=[("Allow", "GET,HEAD,,:09:44 GMT")])
    last = verdict.explain().splitlines()[-1]
    assert last.startswith("  sum: ")
    left, _, right = last.removeprefix("  sum: ").removesuffix(" bits").rpartition(" = ")
    total = 0.0
    for part in left.replace(" - ", " + -").split(" + "):
        total += float(part)
    assert total == pytest.approx(float(right), abs=0.03)
    assert float(right) == pytest.approx(verdict.bits, abs=0.006)


def test_own_request_is_counted_and_explained() -> None:
    request = overread.Request("GET", "/echo", [("Cookie", f"session={SECRET}; theme=dark")])
    body = PAGE + f"\r\nCookie: session={SECRET}; theme=dark\r\n".encode() + PAGE
    scanner = overread.Scanner()
    verdict = scanner.scan(body, HTML, request=request)
    assert (verdict.bits, verdict.findings) == (0, ())
    assert verdict.exempt >= 1
    assert verdict.to_dict()["exempt"] == verdict.exempt
    assert "of the client's own request" in verdict.explain()
    assert scanner.scan(body, HTML).exempt == 0
    stream = scanner.stream(HTML, request=request)
    for i in range(len(body)):
        stream.feed(body[i : i + 1])
    assert stream.finish() == verdict
    head = scanner.scan(PAGE, HTML, headers=[("Location", "/a b c d")], request=overread.Request("GET", "/", [("X", "/a b c d")]))
    assert (head.bits, head.exempt) == (0, 1)


def made_rule(**change: object) -> ruleset.Rule:
    values = {
        "id": "http.x-thing", "family": "http", "title": "Thing", "reference": "RFC 1, section 2", "anchor": (b"x-thing", b"\x00x\xff"), "nocase": True,
        "wide": False,
        "before": (), "after": (), "check": "header-line", "builtin": "none", "where": ("html", "css"), "content_type": "text/html",
        "examples": (b"a\r\nX-Thing: \x1b[31m'\"\\\r\n", b"x" * 300 + b"\x00end"), "counterexamples": (b"an x-thing\x7f\xc3\xa9",), "file": "", "line": 1,
    }  # fmt: skip
    return ruleset.Rule(**(values | change))  # type: ignore[arg-type]


WEIGHTS = [
    Weight("html", "http", 2, 12.88, 273154, 26, 1194, "counted", "html"),
    Weight("css", "http", 2, 12.5, 585784, 84, 3065, "counted", "text-pool"),
    Weight("js", "http", 2, 12.5, 585784, 84, 3065, "counted", "text-pool"),
    Weight("html", "http", 3, 14.99, 273154, 0, 1194, "counted", "html"),
    Weight("css", "http", 3, 0.0, 0, 0, 0, "counted", "css"),
    Weight("html", "http", 1, 11.25, 273154, 80, 1194, "counted", "html"),
    Weight("html", "raw", 3, 15.4, 273154, 2, 1194, "counted", "html"),
    Weight("html", "raw", 4, 21.38, 273154, 2, 1194, "chained", "html"),
    Weight("head", "place", 5, 12.84, 22107, 0, 176, "counted", "head"),
]
PAGES = {
    "header": made_rule(),
    "raw": made_rule(id="raw.x", family="raw", anchor=(), check="none", builtin="raw-mixed"),
    "head": made_rule(id="place.x", family="place", anchor=(), check="none", builtin="head-list", examples=()),
    "mark": made_rule(id="place.y", family="place", check="html-end"),
}


@pytest.mark.parametrize("name", PAGES)
def test_rule_page_word_for_word(name: str) -> None:
    compare(f"rule-{name}", rule_page.page(PAGES[name], WEIGHTS))


def test_a_check_that_is_not_named_may_reach_any_level() -> None:
    page = rule_page.page(made_rule(check="something-new"), WEIGHTS)
    assert [line for line in page.splitlines() if line.startswith("  level")] == [
        "  level 1 of http: credential or log line",
        "  level 2 of http: header line, LF or escaped",
        "  level 3 of http: header line, CRLF",
    ]


def test_every_shipped_rule_shows_its_weights_and_no_raw_byte() -> None:
    weights = ruleset.decode_weights(overread._core.default_blob())[0]
    for rule in ruleset.load(ruleset.shipped_packs()):
        page = rule_page.page(rule, weights)
        assert "  level " in page or rule.check == "html-end", rule.id
        assert all(c == "\n" or c.isprintable() for c in page), rule.id
        assert rule.reference in page


def test_levels_of_the_pages_are_those_the_core_gives() -> None:
    """Every shipped example reaches a level that its rule's page lists."""
    scanner = overread.Scanner()
    for rule in ruleset.load(ruleset.shipped_packs()):
        levels = rule_page._LEVELS.get(rule.builtin if rule.builtin != "none" else rule.check)
        group = "http" if rule.family in ("http", "secret") else rule.family
        for example in rule.examples:
            terms = [t for t in scanner.scan(example, rule.content_type).terms if t.group == group]
            if levels is not None and len({f.rule for f in scanner.scan(example, rule.content_type).findings}) == 1:
                assert {t.level_index for t in terms} <= set(levels), (rule.id, example)


def test_level_names() -> None:
    assert overread._core.level_name(0, 1) == "broken UTF-8"
    for group, level in ((0, 0), (0, 9), (3, 1), (-1, 1), (2, 1 << 20)):
        assert overread._core.level_name(group, level) is None
