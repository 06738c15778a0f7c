"""What is found, where and how long, in every rule's example, rebuilt incident and clean look-alike: speed must not change it.

After a change that means to find other things: ``OVERREAD_WRITE_GOLDEN=1 pytest tests/detection/test_golden_findings.py``, then
read the difference.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import overread
from overread import ruleset

from .hard_negatives import NEGATIVES, instances
from .incidents import INCIDENTS, said
from .material import HTML, heap, page, scan, stranger

GOLDEN = Path(__file__).parents[1] / "data/findings.txt"


def line(name: str, verdict: overread.Verdict) -> str:
    found = (f"{f.rule}@{f.part}:{f.offset}+{f.length}" for f in verdict.findings)
    return f"{name}: {verdict.content_class} {verdict.first_offset} {' '.join(found)}".rstrip()


def lines() -> Iterator[str]:
    """One a body."""
    scanner = overread.Scanner()
    for rule in ruleset.load(ruleset.shipped_packs()):
        for i, example in enumerate(rule.examples):
            yield line(f"{rule.id} {i}", scanner.scan(example, rule.content_type))
    for incident in INCIDENTS:
        for i, (_, verdict) in enumerate(said(scanner, incident)[:3]):
            yield line(f"{incident.id} {i}", verdict)
    for negative in NEGATIVES:
        for i, response in zip(range(3), instances(negative), strict=False):
            yield line(f"{negative.id} {i}", scan(scanner, response))
    for seed in range(40):
        rng = random.Random(seed)
        yield line(f"memory {seed}", scanner.scan(page(rng, inside=heap(rng, 40 << seed % 10, stranger(rng).lines())), HTML))


@pytest.mark.parametrize("kernel", [k for k in overread.kernels() if not k.startswith("emulated")])
def test_findings_are_those_of_before(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERREAD_KERNEL", kernel)
    found = list(lines())
    if os.environ.get("OVERREAD_WRITE_GOLDEN"):
        GOLDEN.write_text("\n".join(found) + "\n")
    assert found == GOLDEN.read_text().splitlines()
