"""What ``overread rules explain`` prints: a rule, the levels it can reach and what they weigh, its examples made safe."""

from __future__ import annotations

from collections.abc import Iterable

from . import _core
from .bounds import upper_bound
from .ruleset import GROUPS, Rule, Weight

START, END = 60, 100  # bytes shown of a longer example: what matters stands at its end
_LINE = (2, 3, 4, 6)  # of the http group: LF line, CRLF line, CRLF block, with a credential inside
_ESCAPES = {9: "\\t", 10: "\\n", 13: "\\r", 92: "\\\\"}
# Levels of its group that a check or a native verifier can give; csrc/stream and csrc/verify decide. What is not named here
# may reach any level of its group.
_LEVELS: dict[str, tuple[int, ...]] = {
    "header-line": (*_LINE[:3], 5, 6),
    "request-line": _LINE,
    "status-line": _LINE,
    **dict.fromkeys(("none", "jwt", "entropy", "github-crc", "basic", "session-cookie", "pem", "letters"), (1, 6)),
    "html-end": (),
    "raw-utf8": (1, 3, 4),
    **dict.fromkeys(("raw-control", "raw-nul"), (2, 3, 4)),
    "raw-pointer-pair": (2, 3, 4),
    "raw-after-text": (3, 4),
    "raw-mixed": (4,),
    "raw-file": (1, 2, 3),
    "html-tail": (1,),
    **dict.fromkeys(("json-tail", "json-string-break", "png-break", "jpeg-break"), (2,)),
    **dict.fromkeys(("png-tail", "jpeg-tail", "gif-tail", "webp-tail", "font-tail"), (1, 3)),
    "head-grammar": (4,),
    "head-list": (5,),
    **dict.fromkeys(("head-reason", "head-control", "head-cookie"), (6,)),
}

# What csrc/evidence gives the levels of the foreign group, which no clean body counts: bits against an honest reason.
FOREIGN = {
    "foreign-value": ((1, 12, "a client sent it, or it was seen outside its cookie, or many share it"),),
    "foreign-session": ((2, 24, "the server issued it to one client"), (3, 30, "in a cookie that no script may read")),
    "foreign-canary": ((4, 40, "nothing but a leak shows it"),),
}


def printable(data: bytes) -> str:
    r"""Bytes as they would stand in a Python literal: ASCII as it is, all else as ``\n``, ``\r``, ``\t`` or ``\xNN``."""
    if len(data) > START + END:
        return f"{printable(data[:START])} ... {printable(data[-END:])} ({len(data)} bytes)"
    return "".join(chr(b) if 0x20 <= b < 0x7F and b != 0x5C else _ESCAPES.get(b, f"\\x{b:02x}") for b in data)


def page(rule: Rule, weights: Iterable[Weight]) -> str:
    """Everything there is to say about a rule, under these weights."""
    group = "http" if rule.family in ("http", "secret") else rule.family
    lines = [f"{rule.id}: {rule.title}", f"  family     {rule.family}", f"  group      {group}: of a response's signs in it only the highest level counts"]
    if rule.anchor:
        lines.append(f"  anchors    {', '.join(printable(a) for a in rule.anchor)}{' (any case)' if rule.nocase else ''}")
        lines.append(f"  check      {rule.check}")
    else:
        lines.append(f"  found by   the native verifier {rule.builtin}")
    lines += [f"  classes    {', '.join(_classes(rule))}", f"  reference  {rule.reference}"]
    levels = _LEVELS.get(rule.builtin if rule.builtin != "none" else rule.check)
    rows = [w for w in weights if w.group == group and w.cls in _classes(rule) and (levels is None or w.level in levels)]
    for level in sorted({w.level for w in rows}):
        lines.append(f"  level {level} of {group}: {_core.level_name(GROUPS.index(group), level)}")
        table = [("class", "bits", "k", "n", "sources", "95 % bound", "basis")]
        for w in rows:
            if w.level == level:
                bound = f"{upper_bound(w.k, w.n):.3g}" if w.n else "-"
                table.append(
                    (w.cls, f"{w.bits:.2f}", f"{w.k:,}", f"{w.n:,}", f"{w.sources:,}", bound, w.basis + (f", {w.counted}" if w.counted != w.cls else ""))
                )
        widths = [max(len(row[i]) for row in table) for i in range(6)]
        for row in table:
            numbers = "  ".join(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False))
            lines.append(f"    {row[0].ljust(widths[0])}  {numbers}  {row[6]}")
    if any(w.basis == "chained" for w in rows):
        lines.append("  chained: k, n and bound are those of level 3; what the bits have above that was counted where level 3 holds")
    if group == "http" and rows:
        lines.append("  behind raw bytes after text or a document's end a sign adds less: there the weights of http-given-raw apply")
    if rule.family == "foreign":
        lines += [f"  level {level} of foreign: {bits:.0f} bits where {when}" for level, bits, when in FOREIGN[rule.builtin]]
    elif not rows:
        lines.append("  weighs nothing: it marks a place, or no class it looks at has a weight for it")
    for name, texts in (("matches", rule.examples), ("not", rule.counterexamples)):
        lines += [f"  {name.ljust(9)}  {printable(text)}" for text in texts]
    return "\n".join(lines)


def _classes(rule: Rule) -> tuple[str, ...]:
    return ("head",) if rule.builtin.startswith("head-") else rule.where
