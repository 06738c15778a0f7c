"""What a share may really be when bodies come in clusters: resampling of whole sources."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

ROUNDS = 1000


def shares(hit: Sequence[tuple[int, int]], sources: int, bodies: int, seed: int = 1) -> list[float]:
    """Shares of resampled sources, sorted: ``hit`` holds hits and bodies of each source with a hit, out of ``sources`` with ``bodies`` in all.

    Each source is drawn a Poisson number of times with mean 1, the limit of drawing many with replacement. Sources without a
    hit only change the total, so the cost is ``ROUNDS`` times the number of sources with one.
    """
    rng = random.Random(seed)
    others = sources - len(hit)
    mean = (bodies - sum(n for _, n in hit)) / others if others > 0 else 0.0
    out = []
    for _ in range(ROUNDS):
        drawn = list(_poisson(rng, len(hit)))
        k = sum(c * hit[i][0] for i, c in enumerate(drawn))
        n = sum(c * hit[i][1] for i, c in enumerate(drawn)) + max(0, sources - sum(drawn)) * mean
        out.append(k / n if n else 0.0)
    return sorted(out)


def _poisson(rng: random.Random, n: int) -> Iterable[int]:
    for _ in range(n):
        k, p = 0, rng.random()
        limit = term = math.exp(-1)
        while p > limit and k < 20:
            k += 1
            term /= k
            limit += term
        yield k


def lower(hit: Sequence[tuple[int, int]], sources: int, bodies: int) -> float:
    """Lower 95 % bound of the share."""
    return shares(hit, sources, bodies)[int(0.05 * ROUNDS)] if hit else 0.0


def upper(hit: Sequence[tuple[int, int]], sources: int, bodies: int) -> float:
    """Upper 95 % bound of the share; 0 when no source has a hit, for then resampling knows nothing."""
    return shares(hit, sources, bodies)[int(0.95 * ROUNDS)] if hit else 0.0
