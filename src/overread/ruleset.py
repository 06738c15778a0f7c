"""Rule packs: TOML to a checked model to the blob the core loads, and :class:`Ruleset`, the door to all of it.

The blob's layout is documented in ``csrc/ruleset/ruleset.h``. Everything here runs once, at compile time; the core
never sees TOML.
"""

from __future__ import annotations

import functools
import os
import re
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _core
from .errors import RulesetError

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import Buffer

FAMILIES = ("raw", "http", "secret", "place", "foreign")
CHECKS = (
    "none",
    "header-line",
    "request-line",
    "status-line",
    "jwt",
    "entropy",
    "github-crc",
    "basic",
    "session-cookie",
    "pem",
    "html-end",
    "field",
    "letters",
    "replacement-run",
    "escaped-run",
    "escaped-header",
)
BUILTINS = (
    "none",
    "raw-utf8",
    "raw-control",
    "raw-nul",
    "raw-pointer-pair",
    "raw-after-text",
    "raw-mixed",
    "json-tail",
    "html-tail",
    "png-tail",
    "jpeg-tail",
    "gif-tail",
    "json-string-break",
    "head-grammar",
    "head-reason",
    "head-control",
    "webp-tail",
    "font-tail",
    "png-break",
    "jpeg-break",
    "head-list",
    "head-cookie",
    "raw-file",
    "foreign-session",
    "foreign-value",
    "foreign-canary",
)
CLASSES = (
    "html",
    "js",
    "css",
    "json",
    "svg",
    "xml",
    "text",
    "event-stream",
    "legacy",
    "utf16",
    "png",
    "jpeg",
    "gif",
    "webp",
    "woff",
    "woff2",
    "ttf",
    "wasm",
    "pdf",
    "archive",
    "other",
    "head",
    "text-pool",
    "container-pool",
)
GROUPS = ("raw", "http", "place", "http-given-raw", "escaped")
BASES = ("counted", "chained", "capped")
MAX_REPEAT = 512
MAX_BEFORE = 64
MIN_ANCHOR, MAX_ANCHOR = 3, 48
FIELD_NAME = re.compile(rb"[A-Za-z0-9!#$'*+.^_`|~-]+")
WIDE_BEHIND = 96  # characters that a rule for UTF-16 may read back, as csrc/ruleset/ruleset.h has it
NARROW_CHECKS = ("request-line", "field", "replacement-run", "escaped-run", "escaped-header")
MAX_RULES, MAX_ENTRIES = 20000, 60000  # as csrc/ruleset/load.cpp checks them

_KEYS: dict[str, type] = {
    "id": str,
    "title": str,
    "anchor": list,
    "nocase": bool,
    "before": str,
    "after": str,
    "check": str,
    "builtin": str,
    "wide": bool,
    "where": list,
    "reference": str,
    "content_type": str,
    "examples": list,
    "counterexamples": list,
}
_REQUIRED = ("id", "title", "reference", "examples", "counterexamples")


@dataclass(frozen=True)
class Element:
    """One run of a byte class: between ``min`` and ``max`` bytes; ``edge``: the body's edge satisfies it too."""

    members: frozenset[int]
    min: int
    max: int
    edge: bool


@dataclass(frozen=True)
class Rule:
    """A checked rule. ``anchor`` is empty when a native verifier (``builtin``) finds the sign."""

    id: str
    family: str
    title: str
    reference: str
    anchor: tuple[bytes, ...]
    nocase: bool
    before: tuple[Element, ...]
    after: tuple[Element, ...]
    check: str
    builtin: str
    wide: bool
    where: tuple[str, ...]
    content_type: str
    examples: tuple[bytes, ...]
    counterexamples: tuple[bytes, ...]
    file: str
    line: int


def shipped_packs() -> list[Path]:
    """Paths of the rule packs in the package, sorted by name."""
    return sorted((Path(__file__).parent / "rules").glob("*.toml"))


@dataclass(frozen=True)
class _Lines:
    """The lines of one ``[[rule]]``, its heading first, which is line ``number`` (from 1) of the pack."""

    number: int
    text: Sequence[str]

    def of(self, key: str) -> int:
        """Line of a key; of the heading when the key is absent."""
        return self.number + next((i for i, line in enumerate(self.text) if re.match(rf"\s*{re.escape(key)}\s*=", line)), 0)


def _lines_of_rules(text: str, count: int) -> list[_Lines]:
    """The lines of each rule. Cut once: a pack of ten thousand rules is not read ten thousand times."""
    lines = text.splitlines()
    headings = [i for i, line in enumerate(lines) if line.strip().startswith("[[rule]]")]
    cut = [_Lines(i + 1, lines[i:end]) for i, end in zip(headings, [*headings[1:], len(lines)], strict=True)]
    return (cut + [_Lines(1, ())] * count)[:count]  # `rule = [{...}]` has no headings


def _latin1(text: str) -> bytes:
    return text.encode("latin-1")


_ESCAPES = {"n": 10, "r": 13, "t": 9, "f": 12, "0": 0}


def parse_sequence(text: str) -> tuple[Element, ...]:
    r"""Byte-class sequence from its notation.

    ``[A-Za-z0-9_-]{16,64}`` is a run of 16 to 64 of these bytes; ``[^...]`` negates; ``\xNN``, ``\n``, ``\r``, ``\t``,
    ``\\``, ``\]`` and ``\-`` are escapes; ``{n}`` is exactly n, no braces exactly one. A leading ``^`` lets the start of
    the body stand for the first element, a trailing ``$`` its end for the last.

    Raises
    ------
    ValueError
        With the column and what was expected there.
    """
    elements: list[Element] = []
    i = 0
    start_edge = text.startswith("^")
    if start_edge:
        i = 1
    end_edge = text.endswith("$")
    stop = len(text) - end_edge

    def one(at: int) -> tuple[int, int]:
        if text[at] != "\\":
            if ord(text[at]) > 255:
                raise ValueError(f"column {at + 1}: {text[at]!r} is no byte")
            return ord(text[at]), at + 1
        if at + 1 >= stop:
            raise ValueError(f"column {at + 1}: escape is cut off")
        e = text[at + 1]
        if e == "x":
            digits = text[at + 2 : at + 4]
            if not re.fullmatch("[0-9a-fA-F]{2}", digits):
                raise ValueError(f"column {at + 1}: \\x wants two hexadecimal digits, found {digits!r}")
            return int(digits, 16), at + 4
        return _ESCAPES.get(e, ord(e)), at + 2

    while i < stop:
        if text[i] != "[":
            raise ValueError(f"column {i + 1}: expected '[', found {text[i]!r}")
        i += 1
        negate = i < stop and text[i] == "^"
        i += negate
        members: set[int] = set()
        while i < stop and text[i] != "]":
            low, i = one(i)
            if i + 1 < stop and text[i] == "-" and text[i + 1] != "]":
                high, i = one(i + 1)
                if high < low:
                    raise ValueError(f"column {i}: range runs backwards")
                members.update(range(low, high + 1))
            else:
                members.add(low)
        if i >= stop:
            raise ValueError(f"column {i + 1}: expected ']'")
        i += 1
        minimum = maximum = 1
        if m := re.compile(r"\{(\d+)(?:,(\d+))?\}").match(text, i):
            minimum = int(m[1])
            maximum = int(m[2]) if m[2] else minimum
            i = m.end()
        elif i < stop and text[i] == "{":
            raise ValueError(f"column {i + 1}: expected {{n}} or {{n,m}}")
        if not (minimum <= maximum and 1 <= maximum <= MAX_REPEAT):
            raise ValueError(f"column {i}: repeat must be 0 <= n <= m <= {MAX_REPEAT}, found {{{minimum},{maximum}}}")
        chosen = frozenset(range(256)) - members if negate else frozenset(members)
        if not chosen:
            raise ValueError(f"column {i}: the class matches no byte")
        elements.append(Element(chosen, minimum, maximum, False))
    if (start_edge or end_edge) and not elements:
        raise ValueError("'^' and '$' stand beside a class")
    if start_edge:
        elements[0] = Element(elements[0].members, elements[0].min, elements[0].max, True)
    if end_edge:
        elements[-1] = Element(elements[-1].members, elements[-1].min, elements[-1].max, True)
    return tuple(elements)


def load(paths: Iterable[Path | str]) -> list[Rule]:
    """Checked rules of TOML packs, in the order given.

    Raises
    ------
    RulesetError
        Naming file, line, key, what was found and what was expected.
    """
    rules: list[Rule] = []
    seen: dict[str, str] = {}
    for path in paths:
        rules.extend(_load_pack(Path(path), seen))
    if not rules:
        raise RulesetError("no rule pack given", file="", line=0, key="")
    return rules


def _load_pack(path: Path, seen: dict[str, str]) -> list[Rule]:
    import tomllib  # not at the top: `import overread` alone compiles nothing

    name = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        raise RulesetError(f"cannot be read: {e.strerror}", file=name, line=0, key="") from None
    except UnicodeDecodeError as e:
        raise RulesetError(f"byte {e.start} is no UTF-8; a pack is UTF-8 text", file=name, line=0, key="") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        m = re.search(r"line (\d+)", str(e))
        raise RulesetError(f"not TOML: {e}", file=name, line=int(m[1]) if m else 0, key="") from None
    for key in data:
        if key != "rule":
            raise RulesetError(f"unknown top-level key {key!r}; expected [[rule]] tables", file=name, line=1, key=key)
    tables = data.get("rule")
    if not isinstance(tables, list) or not tables:
        raise RulesetError("no [[rule]] table found; a pack has at least one", file=name, line=1, key="rule")
    return [_check_rule(t, name, lines, seen) for t, lines in zip(tables, _lines_of_rules(text, len(tables)), strict=True)]


def _check_rule(table: Mapping[str, Any], file: str, lines: _Lines, seen: dict[str, str]) -> Rule:
    def fail(key: str, message: str) -> RulesetError:
        return RulesetError(message, file=file, line=lines.of(key), key=key)

    for key, value in table.items():
        if key not in _KEYS:
            raise fail(key, f"unknown key {key!r}; expected one of {', '.join(_KEYS)}")
        if not isinstance(value, _KEYS[key]):
            raise fail(key, f"found {type(value).__name__}, expected {_KEYS[key].__name__}")
        if isinstance(value, list) and not all(isinstance(v, str) for v in value):
            raise fail(key, "expected a list of strings")
    for key in _REQUIRED:
        if key not in table:
            raise fail(key, f"{key!r} is missing")
    rule_id: str = table["id"]
    if not re.fullmatch(r"(raw|http|secret|place|foreign)\.[a-z0-9-]{1,60}", rule_id):
        raise fail("id", f"found {rule_id!r}, expected family.name with a family of {', '.join(FAMILIES)}")
    if rule_id in seen:
        raise fail("id", f"{rule_id!r} is already defined in {seen[rule_id]}")
    seen[rule_id] = file
    check = table.get("check", "none")
    if check not in CHECKS:
        raise fail("check", f"found {check!r}, expected one of {', '.join(CHECKS)}")
    builtin = table.get("builtin", "none")
    if builtin not in BUILTINS:
        raise fail("builtin", f"found {builtin!r}, expected one of {', '.join(BUILTINS[1:])}")
    anchors = table.get("anchor", [])
    if bool(anchors) == (builtin != "none"):
        raise fail("anchor", "a rule has either anchors or a builtin verifier")
    where = table.get("where", list(CLASSES[:21]))
    for w in where:
        if w not in CLASSES[:21]:
            raise fail("where", f"found {w!r}, expected content classes of {', '.join(CLASSES[:21])}")
    encoded: dict[str, tuple[bytes, ...]] = {}
    for key in ("anchor", "examples", "counterexamples"):
        try:
            encoded[key] = tuple(_latin1(v) for v in table.get(key, []))
        except UnicodeEncodeError:
            raise fail(key, "each character stands for one byte; expected U+0000 to U+00FF") from None
    for a in encoded["anchor"]:
        if not MIN_ANCHOR <= len(a) <= MAX_ANCHOR:
            raise fail("anchor", f"found {len(a)} bytes, expected {MIN_ANCHOR} to {MAX_ANCHOR}")
        if check == "header-line" and not FIELD_NAME.fullmatch(a):
            raise fail("anchor", f"{a!r} is no field name (RFC 9110, section 5.6.2, without % and &)")
    if not table["counterexamples"]:
        raise fail("counterexamples", "expected at least one text that must not match")
    sequences: dict[str, tuple[Element, ...]] = {}
    for key in ("before", "after"):
        try:
            sequences[key] = parse_sequence(table.get(key, ""))
        except ValueError as e:
            raise fail(key, str(e)) from None
    for key, most in (("before", MAX_BEFORE), ("after", MAX_REPEAT)):
        total = sum(e.max for e in sequences[key])
        if total > most:
            raise fail(key, f"reaches over {total} bytes, expected at most {most}")
    # Header names stand in the heaps of Java, .NET and Node as UTF-16; other rules say so themselves.
    wide = bool(table.get("wide", check == "header-line"))
    if wide and (not anchors or check in NARROW_CHECKS):
        raise fail("wide", f"a rule with the check {check!r} is looked for in bytes only")
    if wide and max(map(len, encoded["anchor"])) + max(2, sum(e.max for e in sequences["before"])) > WIDE_BEHIND:
        raise fail("wide", f"anchor and 'before' reach over more than {WIDE_BEHIND} characters")
    return Rule(
        rule_id,
        rule_id.partition(".")[0],
        table["title"],
        table["reference"],
        encoded["anchor"],
        bool(table.get("nocase", False)),
        sequences["before"],
        sequences["after"],
        check,
        builtin,
        wide,
        tuple(where),
        table.get("content_type", "text/plain; charset=utf-8"),
        encoded["examples"],
        encoded["counterexamples"],
        file,
        lines.of("id"),
    )


@dataclass(frozen=True)
class Weight:
    """One row of the weight table: ``bits`` for a class, group and level, with the count behind it."""

    cls: str
    group: str
    level: int
    bits: float
    n: int
    k: int
    sources: int
    basis: str
    counted: str


def read_calibration(path: Path | str) -> tuple[list[Weight], dict[str, float]]:
    """Weights and pair caps (bits by class) of a calibration file.

    Raises
    ------
    RulesetError
        When the file is no calibration.
    """
    import tomllib

    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        weights = [
            Weight(
                w["class"],
                w["group"],
                w["level"],
                float(w["bits"]),
                w["n"],
                w["k"],
                w["sources"],
                w.get("basis", "counted"),
                w.get("counted", w["class"]),
            )
            for w in data["weight"]
        ]
        return weights, {k: float(v) for k, v in data["pair_cap"].items()}
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as e:
        raise RulesetError(f"no calibration: {e}", file=str(path), line=0, key="") from None


@functools.cache
def chosen_windows() -> dict[tuple[bytes, bool], tuple[int, int]]:
    """Where in an anchor (its bytes, whether its case is free) the kernel looks, and in which bucket. Others are placed on loading."""
    rows = (line.split() for line in (Path(__file__).parent / "fingerprints.txt").read_text("ascii").splitlines() if not line.startswith("#"))
    return {(bytes.fromhex(text), nocase == "1"): (int(window), int(bucket)) for text, nocase, window, bucket in rows}


def encode(rules: Sequence[Rule], weights: Sequence[Weight], pair_cap: Mapping[str, float]) -> bytes:
    """Blob of checked rules and weights; equal input gives equal bytes."""
    placed = chosen_windows()
    strings = bytearray(b"\0")
    if len(rules) > MAX_RULES:
        raise RulesetError(f"{len(rules)} rules; a ruleset holds at most {MAX_RULES}", file=rules[-1].file, line=rules[-1].line, key="")
    index: dict[bytes, int] = {}

    def put(data: bytes) -> int:
        if data not in index:
            index[data] = len(strings)
            strings.extend(data)
        return index[data]

    classes: dict[frozenset[int], int] = {}
    elements: list[bytes] = []
    anchors: list[bytes] = []
    rule_rows: list[bytes] = []

    def sequence(items: Sequence[Element]) -> tuple[int, int]:
        first = len(elements)
        for e in items:
            cls = classes.setdefault(e.members, len(classes))
            elements.append(struct.pack("<4H", cls, e.min, e.max, int(e.edge)))
        return first, len(items)

    for number, r in enumerate(rules):
        before, after = sequence(r.before), sequence(r.after)
        where = sum(1 << CLASSES.index(w) for w in r.where)
        texts = [put(t.encode("utf-8") + b"\0") for t in (r.id, r.title, r.reference)]
        rule_rows.append(
            struct.pack(
                "<3I2BHI4HI",
                *texts,
                FAMILIES.index(r.family),
                CHECKS.index(r.check),
                BUILTINS.index(r.builtin),
                where,
                *before,
                *after,
                int(r.wide),
            )
        )
        for a in r.anchor:
            window, bucket = placed.get((a, r.nocase), (0, -1)) if r.check != "header-line" else (0, -1)
            anchors.append(struct.pack("<I2H3Bx", put(a), len(a), number, int(r.nocase), bucket + 1, window))
    for what, count in (("anchors", len(anchors)), ("byte classes", len(classes)), ("sequence elements", len(elements))):
        if count > MAX_ENTRIES:
            raise RulesetError(f"{count} {what} in all packs; a ruleset holds at most {MAX_ENTRIES}", file="", line=0, key="")
    strings.extend(b"\0")
    bitmaps = [bytes(sum(1 << b for b in range(8) if i * 8 + b in members) for i in range(32)) for members in classes]
    weight_rows = [
        struct.pack(
            "<4BfIIIB3x",
            CLASSES.index(w.cls),
            GROUPS.index(w.group),
            w.level,
            BASES.index(w.basis),
            w.bits,
            w.n,
            w.k,
            w.sources,
            CLASSES.index(w.counted),
        )
        for w in weights
    ]
    parameters = [struct.pack("<If", CLASSES.index(c), v) for c, v in sorted(pair_cap.items())]
    sections = [
        (bytes(strings), len(strings)),
        *((b"".join(rows), len(rows)) for rows in (bitmaps, elements, anchors, rule_rows, weight_rows, parameters)),
    ]
    header_size = 24 + 8 * len(sections)
    table, body, offset = b"", b"", header_size
    for data, count in sections:
        pad = -offset % 8
        body += b"\0" * pad + data
        table += struct.pack("<2I", offset + pad, count)
        offset += pad + len(data)
    tail = table + body
    return struct.pack("<8s4I", b"OVRBLOB1", 2, offset, zlib.crc32(tail), 0) + tail


def decode_weights(blob: bytes) -> tuple[list[Weight], dict[str, float]]:
    """Weights and pair caps of a blob the core accepts: what :func:`encode` was given, bits rounded to 32-bit floats."""
    sections = [struct.unpack_from("<2I", blob, 24 + 8 * i) for i in range(7)]
    (at, count), (caps_at, caps) = sections[5], sections[6]
    weights = []
    for i in range(count):
        cls, group, level, basis, bits, n, k, sources, counted = struct.unpack_from("<4BfIIIB", blob, at + 24 * i)
        weights.append(Weight(CLASSES[cls], GROUPS[group], level, bits, n, k, sources, BASES[basis], CLASSES[counted]))
    pairs = [struct.unpack_from("<If", blob, caps_at + 8 * i) for i in range(caps)]
    return weights, {CLASSES[c]: value for c, value in pairs}


def replace_weights(blob: bytes, weights: Sequence[Weight], pair_cap: Mapping[str, float]) -> bytes:
    """A blob with other weights and pair caps in the rows it has; rules and all else stay as they are.

    Raises
    ------
    ValueError
        When the rows are not those of the blob: other classes, groups or levels.
    """
    old, caps = decode_weights(blob)
    if [(w.cls, w.group, w.level) for w in old] != [(w.cls, w.group, w.level) for w in weights] or caps.keys() != pair_cap.keys():
        raise ValueError("the weights are not for the rows of this blob")
    out = bytearray(blob)
    at, _, caps_at, _ = struct.unpack_from("<4I", blob, 24 + 8 * 5)
    for i, cls in enumerate(caps):
        struct.pack_into("<f", out, caps_at + 8 * i + 4, pair_cap[cls])
    for i, w in enumerate(weights):
        struct.pack_into("<Bf3IB", out, at + 24 * i + 3, BASES.index(w.basis), w.bits, w.n, w.k, w.sources, CLASSES.index(w.counted))
    struct.pack_into("<I", out, 16, zlib.crc32(bytes(out[24:])))
    return bytes(out)


def compile(paths: Iterable[Path | str], calibration: Path | str | None = None) -> bytes:  # noqa: A001 - the verb of the field
    """Blob of TOML packs under a calibration file; under the shipped weights when none is given.

    Raises
    ------
    RulesetError
        When a pack or the calibration is malformed.
    """
    weights, pair_cap = decode_weights(_core.default_blob()) if calibration is None else read_calibration(calibration)
    return encode(load(paths), weights, pair_cap)


class Ruleset(_core.Ruleset):
    """Compiled rules and weights: the shipped ones, own packs, or a blob. Immutable; safe to share between threads."""

    @classmethod
    def default(cls) -> Self:
        """The shipped rules."""
        return cls()

    @classmethod
    def load(cls, blob: Buffer) -> Self:
        """Rules of a compiled blob (``overread rules compile``); safe on damaged or hostile bytes.

        Raises
        ------
        BlobError
            When the blob is truncated, damaged or of another version.
        """
        return cls(blob)

    @classmethod
    def from_toml(cls, paths: Path | str | Iterable[Path | str], calibration: Path | str | None = None, *, extend: bool = True) -> Self:
        """Rules of own TOML packs.

        A rule says where a sign is; what it is worth is never in a pack. A match counts as a sign of its kind (a header
        line, a credential, ...), and the kind's level weighs what ``calibration`` counted for it.

        Parameters
        ----------
        paths
            One pack or several.
        calibration
            Weights as ``make calibrate`` writes them; by default the shipped ones.
        extend
            Add the packs to the shipped rules (the default), or use them alone. An id that is already shipped is an
            error: to change a shipped rule, give changed copies of the packs and ``extend=False``.

        Raises
        ------
        RulesetError
            When a pack or the calibration cannot be read or is malformed; ``file``, ``line`` and ``key`` say where.
        """
        packs = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
        if not packs:
            raise RulesetError("no rule pack given")
        return cls(compile([*shipped_packs(), *packs] if extend else packs, calibration))


def c_source(blob: bytes) -> str:
    """C++ source that embeds a blob in the core."""
    rows = [", ".join(f"{b}" for b in blob[i : i + 24]) + "," for i in range(0, len(blob), 24)]
    return (
        "// Generated by `make rules` from src/overread/rules/*.toml and calibration/calibration.toml. Do not edit.\n"
        '#include "ruleset/ruleset.h"\n\nnamespace overread {\n\n// clang-format off\nalignas(8) const uint8_t DEFAULT_BLOB[] = {\n'
        + "\n".join(rows)
        + "\n};\n// clang-format on\nconst size_t DEFAULT_BLOB_SIZE = sizeof DEFAULT_BLOB;\n\n}  // namespace overread\n"
    )
