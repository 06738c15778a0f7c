"""Upper bounds of rates from counts."""

from __future__ import annotations

import math


def upper_bound(k: int, n: int, confidence: float = 0.95) -> float:
    """One-sided upper Clopper-Pearson bound of a rate seen k times in n.

    Raises
    ------
    ValueError
        When not 0 <= k <= n or n is 0.
    """
    if not 0 <= k <= n or n == 0:
        raise ValueError(f"need 0 <= k <= n and n > 0, found k={k}, n={n}")
    if k == n:
        return 1.0

    def at_most_k(p: float) -> float:
        # Binomial CDF in logarithms: n may be half a million.
        logs = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p) for i in range(k + 1)]
        top = max(logs)
        return math.exp(top) * sum(math.exp(v - top) for v in logs)

    if k > 2000:  # the normal limit is exact to four digits there
        p = k / n
        return min(1.0, p + 1.6449 * math.sqrt(p * (1 - p) / n) + 1 / n)
    low, high = k / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if middle <= 0 or at_most_k(middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high
