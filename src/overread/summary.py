"""The summary of a run over many files: what to look at first."""

from __future__ import annotations

import collections
import heapq
import re
import time
from dataclasses import dataclass, field
from typing import Any

from .scan_files import Report

TOP = 10  # paths listed
TIERS = ("certain", "strong", "weak", "none")


@dataclass
class Summary:
    """Tallies of reports; memory does not grow with their number."""

    scanned: int = 0
    leaks: int = 0
    size: int = 0  # bytes of bodies
    tiers: collections.Counter[str] = field(default_factory=collections.Counter)
    classes: dict[str, list[int]] = field(default_factory=dict)  # files, files from weak on
    rules: collections.Counter[str] = field(default_factory=collections.Counter)  # files that show it
    unread: collections.Counter[str] = field(default_factory=collections.Counter)  # by reason
    top: list[tuple[float, int, str, str]] = field(default_factory=list)  # a heap: bits, minus order, tier, path
    started: float = field(default_factory=time.monotonic)
    unreadable: int = 0

    def add(self, report: Report) -> None:
        """Counts one file."""
        v = report.verdict
        self.scanned += 1
        self.leaks += v.leaked
        self.size += v.body_bytes
        self.tiers[v.tier] += 1
        row = self.classes.setdefault(v.content_class, [0, 0])
        row[0] += 1
        row[1] += v.tier != "none"
        self.rules.update({f.rule for f in v.findings})
        if v.bits > 0:
            entry = (v.bits, -self.scanned, v.tier, report.path)
            if len(self.top) < TOP:
                heapq.heappush(self.top, entry)
            else:
                heapq.heappushpop(self.top, entry)
        if report.unread:
            self.missed(*report.unread)

    def missed(self, *reasons: str) -> None:
        """Counts one file that could not be read, or not wholly."""
        self.unreadable += 1
        self.unread.update({re.sub(r"\d+", "N", reason) for reason in reasons})

    def line(self) -> str:
        """The one line that ends every run."""
        return f"{self.scanned} scanned, {self.leaks} with a leak, {self.unreadable} unreadable"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        seconds = max(1e-6, time.monotonic() - self.started)
        return {
            "scanned": self.scanned,
            "leaks": self.leaks,
            "unreadable": self.unreadable,
            "bytes": self.size,
            "seconds": round(seconds, 3),
            "files_per_second": round(self.scanned / seconds, 1),
            "mb_per_second": round(self.size / seconds / 1e6, 1),
            "tiers": {tier: self.tiers[tier] for tier in TIERS},
            "top": [{"path": path, "bits": bits, "tier": tier} for bits, _, tier, path in sorted(self.top, reverse=True)],
            "classes": {cls: {"files": n, "with_evidence": hits} for cls, (n, hits) in sorted(self.classes.items(), key=lambda item: (-item[1][0], item[0]))},
            "rules": dict(_by_count(self.rules)),
            "unread": dict(_by_count(self.unread)),
        }

    def text(self) -> list[str]:
        """Lines for people; paths are as they came."""
        d = self.to_dict()
        lines = ["summary", "  tiers: " + ", ".join(f"{tier} {self.tiers[tier]:,}" for tier in TIERS)]
        if d["top"]:
            lines += ["  look first at:"] + [f"    {row['bits']:5.1f} bits  {row['tier']:8} {row['path']}" for row in d["top"]]
        classes = [((row["files"], row["with_evidence"]), cls) for cls, row in d["classes"].items()]
        for title, rows in (
            ("content classes (files, from tier weak on)", classes),
            ("rules (files that show them)", [((n,), rule) for rule, n in d["rules"].items()]),
            ("not read, or not wholly (files, why)", [((n,), reason) for reason, n in d["unread"].items()]),
        ):
            if rows:
                widths = [max(len(f"{n:,}") for n in column) for column in zip(*(counts for counts, _ in rows), strict=True)]
                lines.append(f"  {title}:")
                lines += ["    " + "  ".join(f"{n:{w},}" for n, w in zip(counts, widths, strict=True)) + f"  {what}" for counts, what in rows]
        rates = f"{d['files_per_second']:,.0f} files/s, {d['mb_per_second']:,.1f} MB/s"
        return [*lines, f"  {self.size / 1e6:,.1f} MB in {d['seconds']:.1f} s: {rates}"]


def _by_count(counter: collections.Counter[str]) -> list[tuple[str, int]]:
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))
