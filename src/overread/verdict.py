"""What a scan says. Nothing here ever holds a scanned byte."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """One sign: where it stands and what its level is worth alone, never its bytes.

    Attributes
    ----------
    rule
        Id of the rule, ``family.name``; ``overread rules explain`` tells what it is.
    family
        ``raw``, ``http``, ``secret`` or ``place``.
    part
        ``body``, ``header``, ``status`` (the reason phrase) or ``trailer``.
    name
        The field, when part is ``header`` or ``trailer``: at most its first 31 bytes; else empty.
    offset, length
        Bytes, from the start of that part (of a header: of its value).
    bits
        What the sign's level is worth alone. The verdict is not the sum over findings: signs of one group count once.
    digest
        Keyed with a random key of the scanner: equal bytes give equal digests within one scanner, and nothing can be
        looked up from outside; 0 where a sign covers a region and no single value.
    """

    rule: str
    family: str
    part: str
    name: str
    offset: int
    length: int
    bits: float
    digest: int


@dataclass(frozen=True, slots=True)
class Term:
    """One term of the sum: ``k`` of ``n`` clean bodies of ``content_class`` reached this level of the group.

    Attributes
    ----------
    group
        ``raw``, ``http`` or ``place``: signs of one group are not independent, so only the highest level counts.
    level, level_index
        The level reached, in words and as its number from 1; docs/evidence.md lists them.
    bits
        What it adds after chains and caps; may be 0.
    basis
        ``counted``; ``chained``: counted on bodies in which the first sign already holds; ``capped``: limited by a cap.
    content_class
        Class the count comes from; ``text-pool`` when it is borrowed from all text.
    k, n, sources
        Clean bodies that reached the level, clean bodies counted, and packages they came from.
    """

    group: str
    level: str
    level_index: int
    bits: float
    basis: str
    content_class: str
    k: int
    n: int
    sources: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Evidence that a response holds foreign memory, with the findings and terms behind it. Immutable.

    Attributes
    ----------
    leaked
        ``bits`` reach the scanner's threshold: an alarm.
    bits
        Evidence: at most one in 2**bits clean responses shows as much.
    probability
        Of a leak, under the prior of one in 3,300,000 responses: an upper estimate.
    tier
        ``none``, ``weak`` (from 14 bits), ``strong`` (22) or ``certain`` (30), whatever the threshold.
    first_offset
        Where the first finding of the body starts, in bytes; None when the body shows none.
    body_bytes
        Bytes scanned.
    content_class
        What the body was taken for, by its type or its first bytes; ``encoded`` when the head names a content coding:
        coded bytes are not judged as text.
    findings
        Sorted by part (head, body, trailers), offset and rule; at most 16, and 4 of one rule.
    findings_dropped
        Further signs. They count as evidence.
    terms
        The sum behind ``bits``, one a group.
    """

    leaked: bool
    bits: float
    probability: float
    tier: str
    first_offset: int | None
    body_bytes: int
    content_class: str
    findings: tuple[Finding, ...]
    findings_dropped: int
    terms: tuple[Term, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; digests as 16 hexadecimal digits."""
        data = asdict(self)
        for f in data["findings"]:
            f["digest"] = f"{f['digest']:016x}"
        return data

    def explain(self) -> str:
        """The sum in words, one term a line."""
        lines = [f"{self.bits:.1f} bits, tier {self.tier}, content class {self.content_class}"]
        for t in self.terms:
            lines.append(f"  {t.group}: {t.level}: {t.bits:+.1f} bits, {t.basis}, {t.k} of {t.n:,} clean bodies ({t.content_class}, {t.sources} sources)")
        if not self.terms:
            lines.append("  no sign")
        lines.append(f"  prior: one leak in 3,300,000 responses (-21.7 bits), so the probability of a leak is {self.probability:.2g}")
        return "\n".join(lines)
