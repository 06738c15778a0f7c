"""The rules as expressions, for the peers that search for expressions: each anchor with what its rule asks for before and behind it.

It is the smaller task: none of them looks for raw bytes, broken UTF-8 or document ends, or checks what it finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from overread import ruleset

CASELESS, SINGLE_MATCH = 1, 8  # hs_compile.h


@dataclass(frozen=True)
class Expression:
    """An anchor of a rule in the notation that Hyperscan, RE2, YARA-X and Python's re share, in ASCII."""

    text: str
    nocase: bool


def _class(e: ruleset.Element) -> str:
    return "[" + "".join(f"\\x{b:02x}" for b in sorted(e.members)) + "]" + (f"{{{e.min}}}" if e.min > 1 else "")


def of_rules(rules: Sequence[ruleset.Rule]) -> list[Expression]:
    """One expression an anchor, in the order of the rules."""
    rows = []
    for r in rules:
        for a in r.anchor:
            text = "".join(f"\\x{b:02x}" for b in a)
            before = "".join(f"(?:^|{_class(e)})" if e.edge else _class(e) for e in r.before if e.min)
            after = "".join(_class(e) for e in r.after if e.min and not e.edge)
            if r.check == "header-line":
                before, after = "[\\r\\n\\x00]", "[:\\x00]"
            rows.append(Expression(f"{before}{text}{after}", r.nocase))
    return rows


def hyperscan_lines(expressions: Sequence[Expression]) -> str:
    """As the native programs read them: flags, a blank, the expression."""
    return "".join(f"{SINGLE_MATCH | (CASELESS if e.nocase else 0)} {e.text}\n" for e in expressions)
