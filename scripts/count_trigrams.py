"""Counts the three-byte sequences of web text for the choice of fingerprints: ``python scripts/count_trigrams.py NAME...``.

Each name is a file of many bodies of one kind, joined; every file weighs the same. Writes csrc/ruleset/trigrams.cpp: the
8,192 commonest sequences, each with its rate on a logarithmic scale. A wrong rate costs speed, never a finding.
"""

from __future__ import annotations

import collections
import math
import sys
from pathlib import Path

KEPT = 8192
OUT = Path(__file__).resolve().parents[1] / "csrc/ruleset/trigrams.cpp"
HEAD = """// Written by scripts/count_trigrams.py from HTML, JS, CSS, JSON, SVG and plain text as shipped in Debian and npm packages.
#include "ruleset/trigrams.h"

namespace overread {

// clang-format off
const uint32_t TRIGRAMS[TRIGRAM_COUNT] = {
"""


def main(names: list[str]) -> int:
    """Writes the table."""
    rate: collections.Counter[bytes] = collections.Counter()
    for name in names:
        data = Path(name).read_bytes()
        counted = collections.Counter(zip(data, data[1:], data[2:], strict=False))
        for three, n in counted.items():
            rate[bytes(three)] += n / len(data) / len(names)  # type: ignore[assignment] # a share, not a count
    # The byte above the three is 8 log2 of the rate in 2^24 windows.
    rows = [(int.from_bytes(t, "little"), min(255, max(0, round(8 * math.log2(r * 2**24))))) for t, r in rate.most_common(KEPT)]
    words = [f"0x{t | r << 24:08x}," for t, r in sorted(rows)]
    lines = ["".join(words[i : i + 14]) for i in range(0, len(words), 14)]
    OUT.write_text(HEAD + "\n".join(lines) + "\n};\n// clang-format on\n\n}  // namespace overread\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
