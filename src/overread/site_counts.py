"""Site calibration: what an operator's own clean traffic shows, counted, and the weights that it lowers.

The file holds counts only: no byte, path or rule. It is UTF-8 text, one JSON object a line. The first line is the head::

    {"overread_site_counts": 1, "versions": ["0.1.0"], "first": 1767225600, "last": 1767312000, "responses": 1000}

``overread_site_counts`` is the schema; ``versions`` those of the overreads that counted; ``first`` and ``last`` the time span in
seconds since 1970 (null while nothing was counted). Every further line is a cell: of ``n`` responses of the class, ``k``
reached this level of the group or a higher one::

    {"class": "html", "group": "raw", "level": 1, "k": 3, "n": 1000}

``n`` of class ``head`` counts response heads. The levels of group ``pair`` are bits: ``k`` responses reached as many with
signs of two groups whose meeting the packages did not count. ``n`` of group ``http-given-raw`` counts the responses that reached raw level
3. A cell that is absent was not counted. Counts of files with equal schema add up, cell by cell.

Counts only ever lower a weight. A count without a hit says less of leaks than it seems: a million answers may be one page,
asked for a million times by whoever wants its signs to weigh more. A hit is a fact, and a weight that denies it is wrong.
"""

from __future__ import annotations

import collections
import json
import math
import os
import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _core
from .bounds import bits_of, lower_bound
from .errors import ConfigError, RulesetError
from .ruleset import GROUPS, Ruleset, Weight, decode_weights, replace_weights

if TYPE_CHECKING:
    from typing import Self

    from .verdict import Verdict

SCHEMA = 1
MAX_COUNT = 2**53  # larger ones are no exact JSON numbers
YEAR_9999 = 253402300799  # the last time that has a name
AFTER_TEXT = 3  # raw level of bytes after text or behind a container's end; there the chained level and http-given-raw start
CONTAINER_TAIL = 3  # place level of such bytes behind a container's end
CONTAINERS = ("png", "jpeg", "gif", "webp", "woff", "woff2")
_HEAD = {"overread_site_counts": int, "versions": list, "first": (int, type(None)), "last": (int, type(None)), "responses": int}
_CELL = {"class": str, "group": str, "level": int, "k": int, "n": int}

PAIR_BITS = range(14, 25)  # from tier weak on; no pair cap is higher

Cell = tuple[str, str, int]  # content class, group, level


def known_cells() -> list[Cell]:
    """Every class, group and level that the shipped weights tell apart, and the bits of pairs."""
    weights, caps = decode_weights(_core.default_blob())
    return [(w.cls, w.group, w.level) for w in weights] + [(cls, "pair", bits) for cls in caps for bits in PAIR_BITS]


class SiteCounts:
    """Counts of an operator's own traffic, taken to be clean.

    Every method may be called by several threads at once; ``add`` takes about two microseconds, more where signs
    were found. Memory is bounded: one
    cell a class, group and level.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cells: dict[Cell, tuple[int, int]] = {}  # merged and loaded: k, n
        self._n: collections.Counter[tuple[str, str]] = collections.Counter()  # counted here, by class and group
        self._k: collections.Counter[Cell] = collections.Counter()
        self._responses = 0
        self._first = self._last = 0.0  # 0: nothing was counted
        self.versions = {_core.VERSION}  # of the overreads that counted

    def add(self, verdict: Verdict, *, head: bool = False) -> None:
        """Counts one response.

        An empty body says nothing of bodies and is not counted as one.

        Parameters
        ----------
        verdict
            Of the whole response.
        head
            Whether the scan was given the response's head.
        """
        now = time.time()
        cls = verdict.content_class
        with self._lock:
            self._first = self._first or now
            self._last = now
            self._responses += 1
            if verdict.body_bytes:
                self._n[cls, ""] += 1
            if head:
                self._n["head", ""] += 1
            raw = http = 0
            for term in verdict.terms:
                if term.content_class == "head":
                    self._reach("head", term.group, term.level_index)
                    continue
                self._reach(cls, term.group, term.level_index)
                if term.group == "raw":
                    raw = term.level_index
                elif term.group == "http":
                    http = term.level_index
            if raw >= AFTER_TEXT:
                self._n[cls, "http-given-raw"] += 1
                self._reach(cls, "http-given-raw", http)
            if raw and cls in CONTAINERS:
                # The core reports no place term there: raw bytes of a container count behind its end only.
                self._reach(cls, "place", CONTAINER_TAIL)
            if verdict.body_bytes and any(term.basis == "capped" for term in verdict.terms):
                for bits in PAIR_BITS:
                    self._k[cls, "pair", bits] += verdict.bits >= bits

    def _reach(self, cls: str, group: str, level: int) -> None:
        for reached in range(1, level + 1):
            self._k[cls, group, reached] += 1

    @property
    def responses(self) -> int:
        """Responses counted."""
        return self._responses

    @property
    def span(self) -> tuple[float, float] | None:
        """Time of the first and the last response, seconds since 1970; None when nothing was counted."""
        return (self._first, self._last) if self._first else None

    def per_day(self) -> float:
        """Responses a day, as they were counted between the first and the last.

        Raises
        ------
        ConfigError
            When that is less than an hour: too little to speak of days.
        """
        first, last = self.span or (0.0, 0.0)
        if last - first < 3600:
            raise ConfigError(f"{last - first:.0f} s from the first response to the last, expected an hour or more")
        return self.responses * 86400 / (last - first)

    def cells(self) -> dict[Cell, tuple[int, int]]:
        """(k, n) of every cell with n above 0."""
        with self._lock:
            out = {}
            for cell in known_cells():
                cls, group, _ = cell
                k, n = self._cells.get(cell, (0, 0))
                k, n = k + self._k[cell], n + self._n[cls, group if group == "http-given-raw" else ""]
                if n:
                    out[cell] = (k, n)
            return out

    def merge(self, other: SiteCounts) -> None:
        """Adds other counts to these; the other ones stay as they are."""
        cells, responses, span = other.cells(), other.responses, other.span
        with self._lock:
            for cell, (k, n) in cells.items():
                mine = self._cells.get(cell, (0, 0))
                self._cells[cell] = (mine[0] + k, mine[1] + n)
            self._responses += responses
            self.versions |= other.versions
            if span:
                self._first = min(self._first or span[0], span[0])
                self._last = max(self._last, span[1])

    def save(self, path: Path | str) -> None:
        """Writes the counts; a file of that name is replaced at once, never half.

        Raises
        ------
        OSError
            When it cannot be written.
        """
        first, last = (int(self.span[0]), math.ceil(self.span[1])) if self.span else (None, None)
        lines = [json.dumps({"overread_site_counts": SCHEMA, "versions": sorted(self.versions), "first": first, "last": last, "responses": self.responses})]
        lines += [json.dumps({"class": c, "group": g, "level": level, "k": k, "n": n}) for (c, g, level), (k, n) in self.cells().items()]
        part = Path(f"{path}.{os.getpid()}.part")
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
        part.replace(path)

    @classmethod
    def load(cls, paths: Path | str | Iterable[Path | str]) -> Self:
        """The sum of one file or several.

        Raises
        ------
        RulesetError
            When one cannot be read or is malformed; ``file``, ``line`` and ``key`` say where.
        """
        total = cls()
        total.versions = set()
        for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
            total.merge(_read(cls(), Path(path)))
        return total

    def __repr__(self) -> str:
        return f"<overread.SiteCounts of {self.responses} responses>"


def _read(counts: SiteCounts, path: Path) -> SiteCounts:
    name = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        raise RulesetError(f"cannot be read: {e.strerror}", file=name) from None
    except UnicodeDecodeError as e:
        raise RulesetError(f"found a byte that is no UTF-8 at {e.start}, expected JSON lines", file=name) from None
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise RulesetError('found an empty file, expected {"overread_site_counts": 1, ...} in line 1', file=name, line=1)
    head = _object(name, *lines[0], _HEAD, "overread_site_counts")
    number = lines[0][0]
    if not all(isinstance(v, str) and re.fullmatch(r"[0-9A-Za-z.+-]{1,40}", v) for v in head["versions"]):
        raise RulesetError(f"found {_short(head['versions'])}, expected a list of versions", file=name, line=number, key="versions")
    if (head["first"] is None) != (head["last"] is None):
        raise RulesetError("found null beside a time, expected two times or null twice", file=name, line=number, key="last")
    for key, least in (("first", 0), ("last", head["first"])):
        if head[key] is not None and not least <= head[key] <= YEAR_9999:
            raise RulesetError(f"found {_short(head[key])}, expected seconds since 1970, at least {least}", file=name, line=number, key=key)
    _counts(name, number, head, "responses")
    known = set(known_cells())
    classes = {c for c, _, _ in known}
    for number, line in lines[1:]:
        row = _object(name, number, line, _CELL, "class")
        cell = (row["class"], row["group"], row["level"])
        if cell[0] not in classes:
            raise RulesetError(f"found {cell[0]!r}, expected one of {', '.join(sorted(classes))}", file=name, line=number, key="class")
        groups = [g for g in (*GROUPS, "pair") if any(k[:2] == (cell[0], g) for k in known)]
        if cell[1] not in groups:
            raise RulesetError(f"found {cell[1]!r}, expected, for {cell[0]}, one of {', '.join(groups)}", file=name, line=number, key="group")
        levels = sorted(k[2] for k in known if k[:2] == cell[:2])
        if cell[2] not in levels:
            raise RulesetError(f"found {cell[2]}, expected a level of {', '.join(map(str, levels))}", file=name, line=number, key="level")
        if cell in counts._cells:
            raise RulesetError(f"found {cell[0]}, {cell[1]}, level {cell[2]} a second time, expected each once", file=name, line=number, key="level")
        _counts(name, number, row, "k", "n")
        if row["k"] > row["n"]:
            raise RulesetError(f"found {row['k']}, expected at most n, {row['n']}", file=name, line=number, key="k")
        counts._cells[cell] = (row["k"], row["n"])
    counts.versions = set(head["versions"])
    counts._responses = head["responses"]
    counts._first, counts._last = float(head["first"] or 0), float(head["last"] or 0)
    return counts


def _object(file: str, number: int, line: str, keys: Mapping[str, Any], first: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise RulesetError(f"found no JSON object, expected one with {', '.join(keys)}", file=file, line=number)
    if "overread_site_counts" in keys and row.get(first) != SCHEMA:
        raise RulesetError(f"found {_short(row.get(first))}, expected schema {SCHEMA}", file=file, line=number, key=first)
    for key, kind in keys.items():
        if key not in row:
            raise RulesetError(f"found nothing, expected {_kind(kind)}", file=file, line=number, key=key)
        if not isinstance(row[key], kind) or isinstance(row[key], bool):
            raise RulesetError(f"found {_short(row[key])}, expected {_kind(kind)}", file=file, line=number, key=key)
    for key in row:
        if key not in keys:
            raise RulesetError(f"found an unknown key, expected {', '.join(keys)}", file=file, line=number, key=_short(key))
    return row


def _counts(file: str, number: int, row: Mapping[str, Any], *keys: str) -> None:
    for key in keys:
        if not 0 <= row[key] <= MAX_COUNT:
            raise RulesetError(f"found {_short(row[key])}, expected 0 to {MAX_COUNT}", file=file, line=number, key=key)


def _kind(kind: Any) -> str:
    names = {str: "a text", int: "a whole number", list: "a list"}
    return names[kind] if isinstance(kind, type) else "a whole number or null"


def _short(value: object) -> str:
    # Errors are printed: a hostile value must neither flood nor steer the terminal.
    text = json.dumps(value) if isinstance(value, int) and abs(value) < 10**30 else ascii(value)[:40] if not isinstance(value, int) else "a huge number"
    return re.sub(r"\s+", " ", text)


@dataclass(frozen=True)
class Change:
    """One weight that the site's counts lowered: from ``before`` to ``after`` bits, because of ``k`` in ``n``."""

    cls: str
    group: str
    level: int
    before: float
    after: float
    k: int
    n: int
    why: str


def lower(weights: Iterable[Weight], counts: SiteCounts) -> tuple[list[Weight], list[Change]]:
    """Weights as the site's counts leave them, in the same order, and what changed.

    A weight of t bits claims that at most 2**-t of clean responses reach its level.

    - Where the lower 95 % bound of the site's k / n is above that, the site contradicts: the weight becomes what the site's own
      upper bound supports. Without a hit the lower bound is 0, so no n, however small or large, contradicts anything.
    - Else, when the weight was counted, package and site are one sample: their sum may support less, never more.
    - What is chained to a lowered weight (raw level 4 to 3) falls with it.
    """
    cells = counts.cells()
    given = list(weights)
    out = list(given)
    changes: dict[int, Change] = {}
    third: dict[str, tuple[Weight, Weight]] = {}  # raw level 3 before and after, by class
    for i in sorted(range(len(given)), key=lambda i: given[i].level):
        w = given[i]
        k, n = cells.get((w.cls, w.group, w.level), (0, 0))
        new, why = w, ""
        if k and lower_bound(k, n) > 2.0**-w.bits:
            new = replace(w, bits=min(w.bits, bits_of(k, n)), k=_u32(k), n=_u32(n), sources=1, basis="counted", counted=w.cls)
            why = "the site contradicts it"
        elif k and w.basis == "counted" and w.n:
            both = bits_of(w.k + k, w.n + n)
            if both < w.bits:
                new, why = replace(w, bits=both, k=_u32(w.k + k), n=_u32(w.n + n), sources=w.sources + 1), "packages and site together"
        if w.group == "raw" and w.level == AFTER_TEXT:
            third[w.cls] = (w, new)
        if w.group == "raw" and w.level == AFTER_TEXT + 1 and w.cls in third:
            before, after = third[w.cls]
            chained = max(0.0, w.bits - (before.bits - after.bits))
            if chained < new.bits:
                new, why = replace(w, bits=chained, k=after.k, n=after.n, sources=after.sources, counted=after.counted), "chained to level 3"
        if new.bits < w.bits - 1e-9:
            out[i] = new
            changes[i] = Change(w.cls, w.group, w.level, w.bits, new.bits, k, n, why)
    return out, [changes[i] for i in sorted(changes)]


def lower_pairs(pair_cap: Mapping[str, float], counts: SiteCounts) -> tuple[dict[str, float], list[Change]]:
    """Caps of what two groups add up to, as the site's counts leave them: where pairs of t bits are commoner than 2**-t."""
    cells = counts.cells()
    out, changes = dict(pair_cap), []
    for cls, cap in pair_cap.items():
        for bits in PAIR_BITS:
            k, n = cells.get((cls, "pair", bits), (0, 0))
            supported = bits_of(k, n) if k else cap
            if bits <= cap and supported < out[cls] and lower_bound(k, n) > 2.0**-bits:
                out[cls] = supported
                changes.append(Change(cls, "pair", bits, cap, supported, k, n, "two groups meet more often than that"))
    return out, changes


def _u32(count: int) -> int:
    return min(count, 2**32 - 1)  # what a blob's row holds; the bits rest on the full count


def strongest(weights: Iterable[Weight]) -> float:
    """Bits of the strongest evidence that a body can show: the highest raw level and the highest sign chained to it."""
    best: dict[tuple[str, str], float] = {}
    for w in weights:
        best[w.cls, w.group] = max(w.bits, best.get((w.cls, w.group), 0.0))
    return max((bits + best.get((cls, "http-given-raw"), 0.0) for (cls, group), bits in best.items() if group == "raw"), default=0.0)


def calibrated(counts: SiteCounts, blob: bytes | None = None) -> tuple[bytes, list[Change]]:
    """A compiled ruleset under the weights that the counts leave, and what they lowered.

    Parameters
    ----------
    counts
        The site's.
    blob
        The ruleset to start from; the shipped one by default.

    Raises
    ------
    BlobError
        When the blob is damaged.
    """
    base = _core.default_blob() if blob is None else blob
    Ruleset.load(base)
    weights, pair_cap = decode_weights(base)
    weights, changes = lower(weights, counts)
    pair_cap, more = lower_pairs(pair_cap, counts)
    lowered = replace_weights(base, weights, pair_cap)
    Ruleset.load(lowered)
    return lowered, changes + more


def report(counts: SiteCounts, changes: list[Change]) -> str:
    """What was counted and what it lowered, for people."""
    lines = [f"{counts.responses:,} responses{_span(counts)}"]
    if others := counts.versions - {_core.VERSION}:
        lines.append(f"counted by overread {', '.join(sorted(others))}; this is {_core.VERSION}: where rules changed, count again")
    bodies = {cls: n for (cls, group, _), (_, n) in counts.cells().items() if group != "http-given-raw"}
    lines += [f"  {cls}: {n:,}; without a hit that many support {bits_of(0, n):.1f} bits" for cls, n in sorted(bodies.items())]
    if not changes:
        return "\n".join([*lines, "nothing contradicts the weights: they stay as they are"])
    lines.append(f"{len(changes)} weights and caps lowered; a hit that was a leak lowers them too: look at what was counted before using them")
    table = [("class", "group", "level", "bits", "k of n", "why")]
    table += [(c.cls, c.group, str(c.level), f"{c.before:.2f} -> {c.after:.2f}", f"{c.k:,} of {c.n:,}", c.why) for c in changes]
    widths = [max(len(row[i]) for row in table) for i in range(5)]
    lines += ["  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=False)) + "  " + row[5] for row in table]
    return "\n".join(lines)


def _span(counts: SiteCounts) -> str:
    if counts.span is None:
        return ""
    return ", " + " to ".join(time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(t)) for t in counts.span)
