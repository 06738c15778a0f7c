"""What is raced from Python. Every peer gets the same expressions, is told once, and is then called on one body at a time."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import hyperscan
import re2
import yara_x

import overread
from benchmarks import expressions
from overread import ruleset


@dataclass(frozen=True)
class Contender:
    """One scanner: ``run`` is what is timed; ``found`` says which expressions (for overread: rules) a body holds."""

    name: str
    version: str
    options: str
    run: Callable[[bytes], object]
    found: Callable[[bytes], set[str]] | None = None  # None: it reads bytes and looks for nothing
    most: int = 4 << 20  # bytes of one type that it is given


def ours(content_type: str) -> Contender:
    """``Scanner.scan``."""
    scanner = overread.Scanner()

    def found(body: bytes) -> set[str]:
        verdict = scanner.scan(body, content_type)
        return {f.rule for f in verdict.findings} if verdict.bits >= 14 else set()

    return Contender("overread", overread.__version__, f"default rules, kernel {scanner.kernel}", lambda b: scanner.scan(b, content_type), found)


def pypi_hyperscan(rows: Sequence[expressions.Expression]) -> Contender:
    """hyperscan of PyPI. From 0.8 on the library in it is Vectorscan: Hyperscan itself ends at 5.4.2."""
    flags = [hyperscan.HS_FLAG_SINGLEMATCH | (hyperscan.HS_FLAG_CASELESS if e.nocase else 0) for e in rows]
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(expressions=[e.text.encode() for e in rows], ids=list(range(len(rows))), elements=len(rows), flags=flags)
    hits: list[int] = []

    def on_match(number: int, *_: object) -> None:
        hits.append(number)

    def found(body: bytes) -> set[str]:
        hits.clear()
        database.scan(body, match_event_handler=on_match)
        return {str(i) for i in hits}

    info = database.info().decode().strip()
    library = "Vectorscan" if int(re.search(r"Version: 5\.4\.(\d+)", info)[1]) > 2 else "Hyperscan"  # type: ignore[index] # no version ends the run
    return Contender(
        "hyperscan",
        f"PyPI {importlib.metadata.version('hyperscan')}, {library}, {info}",
        "HS_MODE_BLOCK, SINGLEMATCH, CASELESS where the rule is",
        lambda b: database.scan(b, match_event_handler=on_match),
        found,
    )


def yara(rows: Sequence[expressions.Expression]) -> Contender:
    """YARA-X, one rule an expression."""
    rules = (f"rule r{i} {{ strings: $a = /{e.text}/{'i' if e.nocase else ''} condition: $a }}" for i, e in enumerate(rows))
    scanner = yara_x.Scanner(yara_x.compile("\n".join(rules)))
    version = importlib.metadata.version("yara-x")
    return Contender("yara-x", f"PyPI {version}", "defaults, one Scanner", scanner.scan, lambda b: {r.identifier[1:] for r in scanner.scan(b).matching_rules})


def re2_set(rows: Sequence[expressions.Expression]) -> Contender:
    """RE2's set of expressions, searched anywhere."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = 256 << 20  # bytes; with too little it gives up and reports nothing
    patterns = re2.Set.SearchSet(options)
    for e in rows:
        patterns.Add(f"(?i:{e.text})" if e.nocase else e.text)
    patterns.Compile()
    version = importlib.metadata.version("google-re2")
    return Contender("re2 set", f"PyPI {version}", "SearchSet, LATIN1, max_mem 256 MiB", patterns.Match, lambda b: {str(i) for i in patterns.Match(b)})


def python_re(rows: Sequence[expressions.Expression]) -> Contender:
    """Python's own, expression by expression: joined to one it would say only which comes first."""
    searches = [re.compile(e.text.encode(), re.IGNORECASE if e.nocase else 0).search for e in rows]

    def run(body: bytes) -> list[re.Match[bytes] | None]:
        return [search(body) for search in searches]

    found = lambda b: {str(i) for i, m in enumerate(run(b)) if m}  # noqa: E731 - one of several that are chosen among
    # At a fifth of a megabyte a second, four of them would take all the time there is.
    return Contender("re", f"Python {platform.python_version()}", "one search an expression, on the first 64 KiB", run, found, most=64 << 10)


def contenders(content_type: str) -> list[Contender]:
    """All of them, for bodies of one type."""
    rows = expressions.of_rules(ruleset.load(ruleset.shipped_packs()))
    libc = " ".join(platform.libc_ver())
    return [
        ours(content_type),
        pypi_hyperscan(rows),
        yara(rows),
        re2_set(rows),
        python_re(rows),
        Contender("memcpy", libc, "bytearray(body)", bytearray),
        Contender("memchr", libc, "body.find of a byte that text has not", lambda b: b.find(b"\1")),
    ]


def check(planted: bytes, raced: Sequence[Contender]) -> dict[str, int]:
    """How many rules or expressions each finds in a planted body.

    Raises
    ------
    AssertionError
        When one finds nothing, or a peer other expressions than the other peers: its speed would be that of another task.
    """
    found = {c.name: c.found(planted) for c in raced if c.found}
    assert all(found.values()), f"nothing found by {[n for n, ids in found.items() if not ids]}"
    peers = {n: ids for n, ids in found.items() if n != "overread"}
    assert len({frozenset(ids) for ids in peers.values()}) == 1, peers
    return {name: len(ids) for name, ids in found.items()}
