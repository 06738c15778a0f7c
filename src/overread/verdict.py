"""What a scan says. Nothing here ever holds a scanned byte."""

from __future__ import annotations

from dataclasses import asdict, dataclass

TYPE_CHECKING = False  # typing's own costs a tenth of the whole import
if TYPE_CHECKING:
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
        The field, when part is ``header`` or ``trailer``: at most its first 31 bytes; else empty, and so for a field whose name may itself
        be a secret.
    offset, length
        Bytes, from the start of that part (of a header: of its value, or of its name where that is the secret).
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
        ``raw``, ``http``, ``place`` or ``foreign``: signs of one group are not independent, so only the highest level counts.
    level, level_index
        The level reached, in words and as its number from 1; docs/evidence.md lists them.
    bits
        What it adds after chains and caps; may be 0.
    basis
        ``counted``; ``chained``: counted on bodies in which the first sign already holds; ``capped``: limited by a cap; ``constructed``: from
        chance of our own.
    content_class
        Class the count comes from; ``text-pool`` when it is borrowed from all text.
    k, n, sources
        Clean bodies that reached the level, clean bodies counted, and packages they came from.
    alone
        What the level is worth in bits where no other group shows anything.
    collision, semantic
        Of basis ``constructed``, where ``n`` is the number of live fingerprints and ``k`` that of the response's look-ups: bits against
        chance, and against an honest reason for such a value to be there. The smaller one counts. Else 0.
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
    alone: float
    collision: float = 0.0
    semantic: float = 0.0


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
        Bytes scanned: of a coded body those it decodes to, which offsets count, too.
    content_class
        What the body was taken for, by its type or its first bytes; ``encoded`` when the head names a content coding and
        nothing was decoded: coded bytes are not judged as text.
    findings
        Sorted by part (head, body, trailers), offset and rule; at most 16, and 4 of one rule.
    findings_dropped
        Further signs. They count as evidence.
    terms
        The sum behind ``bits``, one a group.
    exempt
        Signs left out because they consist wholly of values of the client's own request.
    decode
        What became of a ``Content-Encoding``: ``none`` (there is none), ``ok``, ``trailing`` (bytes behind the coded data were
        scanned as they are), and where a part could not be judged ``truncated``, ``broken``, ``bomb`` (beyond a bound) or
        ``unknown`` (a coding that is not decoded).
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
    exempt: int = 0
    decode: str = "none"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; digests as 16 hexadecimal digits."""
        data = asdict(self)
        for f in data["findings"]:
            f["digest"] = f"{f['digest']:016x}"
        return data

    def explain(self) -> str:
        """What counted, what was capped or ignored and why, in plain words, one thing a line; the last line is the sum."""
        lines = [f"{self.bits:.1f} bits, tier {self.tier}, content class {self.content_class}, {self.body_bytes:,} bytes{', a leak' if self.leaked else ''}"]
        if self.decode in _UNJUDGED:
            lines.append(f"  not judged: {_UNJUDGED[self.decode]}")
        total = 0.0
        for t in self.terms:
            total += t.bits
            signs = sorted({f.rule for f in self.findings if _belongs(f, t)})
            lines += [
                f"  counted: {t.group}: {t.level}: {t.bits:+.1f} bits" + (f" of {t.alone:.1f}" if t.alone - t.bits >= 0.05 else ""),
                *([f"    signs: {', '.join(signs)}"] if signs else []),
                f"    {_count_in_words(t)}",
                *([f"    capped: {_cap_in_words(t)}"] if t.alone - t.bits >= 0.05 else []),
            ]
        if not self.terms:
            lines.append("  nothing counts")
        loose = sorted({f.rule for f in self.findings if not any(_belongs(f, t) for t in self.terms)})
        if loose:
            raw = any(t.group == "raw" for t in self.terms)
            why = "the raw bytes behind a document's end are the same sign and count already" if raw else "its group weighs nothing in this class"
            lines.append(f"  ignored: {', '.join(loose)}: {why}")
        more = len(self.findings) + self.findings_dropped - len(self.terms) - len(loose)
        if more > 0:
            lines.append(f"  ignored: {more} further {'sign' if more == 1 else 'signs'}: of a group only the highest level counts, and once")
        if self.exempt:
            lines.append(f"  ignored: {self.exempt} {'sign' if self.exempt == 1 else 'signs'} made wholly of the client's own request")
        cut = total - self.bits
        if cut >= 0.005:
            heads = sum(t.bits for t in self.terms if t.content_class == "head")
            typed = abs(self.bits - heads - _TYPED) < 0.005
            why = "a visitor could have typed all of the body's evidence, and typed text stays below 22" if typed else "docs/evidence.md lists the caps"
            lines.append(f"  capped: {-cut:.1f} bits: {why}")
        chance = "more than 0.99" if self.probability > 0.99 else f"{self.probability:.2g}"
        lines.append(f"  prior: one leak in 3,300,000 responses (-21.7 bits), so the probability of a leak is {chance}")
        terms = " + ".join(f"{t.bits:.2f}" for t in self.terms) or "0"
        lines.append(f"  sum: {terms}{f' - {cut:.2f}' if cut >= 0.005 else ''} = {self.bits:.2f} bits")
        return "\n".join(lines)


_UNJUDGED = {
    "truncated": "what the coded body lacks at its end",
    "broken": "the coded body from where it cannot be decoded",
    "bomb": "the coded body behind the bound it passes",
    "unknown": "the body, whose content coding is not decoded",
}
_TYPED = 21.9  # csrc/evidence: what evidence that visitors can type is cut to
_GROUP = {"raw": "raw", "http": "http", "secret": "http", "place": "place", "foreign": "foreign"}  # of each family


def _belongs(finding: Finding, term: Term) -> bool:
    if term.group == "foreign":
        return finding.family == "foreign"
    return _GROUP.get(finding.family) == term.group and (finding.part != "body") == (term.content_class == "head")


def _count_in_words(term: Term) -> str:
    if term.basis == "constructed":
        return (
            f"constructed: {term.collision:.1f} bits against chance (96 - log2 of {term.n:,} fingerprints - log2 of {term.k:,} look-ups), "
            f"{term.semantic:.1f} against an honest reason: the smaller one"
        )
    what = "heads" if term.content_class == "head" else "bodies"
    seen = f"{term.k:,} of {term.n:,} clean {what} ({term.content_class}, {term.sources:,} sources)"
    if term.basis != "chained":
        return f"counted: {seen} show as much"
    if term.group == "raw":
        return f"chained: {seen} show raw bytes there; that they look like memory was counted where they do"
    return f"chained: {seen} that hold such raw bytes show as much"


def _cap_in_words(term: Term) -> str:
    if term.basis == "chained":
        return "where raw bytes stand after text or a document's end, such a sign is less of a surprise"
    if term.basis == "capped":
        return "groups whose meeting was not counted add up only to what bodies that show two groups support"
    return "HTTP heads and credentials together stay at or below 17 bits"
