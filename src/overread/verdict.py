"""What a scan says. Nothing here ever holds a scanned byte."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """One sign: where it stands and what its level is worth alone, never its bytes.

    ``offset`` and ``length`` are bytes inside ``part`` (``body``, ``status`` or ``header``, then ``name`` is the field).
    ``digest`` is keyed with a random key of the scanner: equal bytes give equal digests within one process; 0 where a
    sign covers a region and no single value.
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
    """One term of the sum: ``k`` of ``n`` clean bodies of ``content_class`` reached this level of the group."""

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
    """Evidence that a response holds foreign memory, in bits, with the findings and terms behind it."""

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
