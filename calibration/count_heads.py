"""Counts clean response heads: which signs fire on heads that real servers sent."""

from __future__ import annotations

import collections
import concurrent.futures
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .bodies import PER_PACKAGE, download
from .heads import heads

HEAD_LEVELS = (4, 5, 6)  # of the place group, behind those of bodies
CHECKED = {"allow", "location", "date", "last-modified", "set-cookie"}  # fields whose grammar the scanner checks


@dataclass
class HeadRow:
    """A scanned head: what makes it distinct, who sent it, the level reached and each sign as rule and field."""

    digest: bytes
    source: str
    level: int
    signs: tuple[tuple[str, str], ...]
    fields: tuple[str, ...]


def scan_heads(registry: str, name: str, cache: Path) -> tuple[str, list[HeadRow], collections.Counter[str]]:
    """File name, distinct heads and what was skipped of one package: at most ``PER_PACKAGE`` a source, those whose digests are lowest."""
    import overread

    scanner = overread.Scanner(hold=0)
    skipped: collections.Counter[str] = collections.Counter()
    path = download(registry, name, cache)
    if path is None:
        return "", [], skipped
    rows: dict[str, dict[bytes, HeadRow]] = collections.defaultdict(dict)
    for head in heads(path, skipped):
        digest = hashlib.sha256(repr((head.status, head.reason, head.headers)).encode()).digest()[:10]
        verdict = scanner.scan(b"", status=head.status, reason=head.reason, headers=head.headers)
        level = max((t.level_index for t in verdict.terms if t.group == "place" and t.level_index in HEAD_LEVELS), default=0)
        signs = tuple({(f.rule, f.name.lower()) for f in verdict.findings if f.part != "body"})
        checked = {n.decode("latin-1").lower() for n, _ in head.headers} & CHECKED
        rows[head.source][digest] = HeadRow(digest, head.source, level, signs, (*checked, *(["reason"] if head.reason else [])))
    return f"{registry}:{path.name}", [of[d] for of in rows.values() for d in sorted(of)[:PER_PACKAGE]], skipped


@dataclass
class HeadCounts:
    """Distinct heads: how many, of whom, how many reached each level; the files read; which signs fired on which fields."""

    n: int = 0
    sources: set[str] = field(default_factory=set)
    k: collections.Counter[int] = field(default_factory=collections.Counter)
    files: list[str] = field(default_factory=list)
    report: list[str] = field(default_factory=list)


def count_heads(packages: Sequence[tuple[str, str]], cache: Path, jobs: int, limit: int) -> HeadCounts:
    """Counts the heads of every package."""
    total = HeadCounts()
    report = total.report
    seen: set[bytes] = set()
    signs: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    fields: collections.Counter[str] = collections.Counter()
    skipped: collections.Counter[str] = collections.Counter()
    with concurrent.futures.ProcessPoolExecutor(jobs) as pool:
        # In the order of the list: of heads that two packages share the same one counts every time.
        for (registry, name), job in [(p, pool.submit(scan_heads, *p, cache)) for p in packages]:
            try:
                file, rows, left = job.result()
            except Exception as e:
                report.append(f"left out: {registry}:{name} ({type(e).__name__}: {e})")
                continue
            if not rows:
                report.append(f"left out: {registry}:{name} ({'no heads' if file else 'not found'})")
                continue
            total.files.append(file)
            skipped.update(left)
            for row in rows:
                if row.digest in seen or (limit and total.n >= limit):
                    continue
                seen.add(row.digest)
                total.n += 1
                total.sources.add(row.source)
                fields.update(row.fields)
                for level in HEAD_LEVELS:
                    total.k[level] += row.level >= level
                for sign in row.signs:
                    signs[sign].append(row.source)
    report.append(f"{total.n:,} heads of {len(total.sources)} sources; not read: {dict(skipped)}")
    report += [f"field {name}: in {n:,} heads" for name, n in sorted(fields.items())]
    report += [f"sign {rule} {name or 'reason'}: {len(of)} heads of {', '.join(sorted(set(of))[:5])}" for (rule, name), of in sorted(signs.items())]
    return total
