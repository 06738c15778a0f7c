"""Bounds of rates from counts (Clopper-Pearson), and the bits they support. The one implementation: calibration uses it too."""

from __future__ import annotations

import math

Z95 = 1.6449  # of the one-sided 95 % bound
MANY = 2000  # hits from which the normal limit is exact to four digits


def _log_choose(n: int, k: int) -> float:
    """Logarithm of the binomial coefficient; a sum, because differences of lgamma lose digits where n is ten billion."""
    return math.fsum(math.log((n - i + 1) / i) for i in range(1, k + 1))


def _tail(log_choose: float, k: int, n: int, p: float, step: int) -> float:
    """Probability of at most k hits (step -1, p >= k / n) or at least k (step 1, p <= k / n): the terms fall from k on."""
    odds = p / (1 - p)
    total = term = 1.0
    i = k
    while term > 1e-17 * total:
        if step < 0:
            term *= i / ((n - i + 1) * odds)
        else:
            term *= (n - i) / (i + 1) * odds
        total += term
        i += step
    return math.exp(log_choose + k * math.log(p) + (n - k) * math.log1p(-p)) * total


def _check(k: int, n: int) -> None:
    if not 0 <= k <= n or n == 0:
        raise ValueError(f"need 0 <= k <= n and n > 0, found k={k}, n={n}")


def upper_bound(k: int, n: int, confidence: float = 0.95) -> float:
    """One-sided upper Clopper-Pearson bound of a rate seen k times in n.

    Raises
    ------
    ValueError
        When not 0 <= k <= n or n is 0.
    """
    _check(k, n)
    if k == n:
        return 1.0
    if k > MANY:
        p = k / n
        return min(1.0, p + Z95 * math.sqrt(p * (1 - p) / n) + 1 / n)
    low, high, log_choose = k / n, 1.0, _log_choose(n, k)
    for _ in range(60):
        middle = (low + high) / 2
        if _tail(log_choose, k, n, middle, -1) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def lower_bound(k: int, n: int, confidence: float = 0.95) -> float:
    """One-sided lower Clopper-Pearson bound of a rate seen k times in n.

    Raises
    ------
    ValueError
        When not 0 <= k <= n or n is 0.
    """
    _check(k, n)
    if k == 0:
        return 0.0
    if k == n:
        return float((1 - confidence) ** (1 / n))
    if k > MANY:
        p = k / n
        return max(0.0, p - Z95 * math.sqrt(p * (1 - p) / n) - 1 / n)
    low, high, log_choose = 0.0, k / n, _log_choose(n, k)
    for _ in range(60):
        middle = (low + high) / 2
        # So many hits are improbable at a rate below the bound: it is refuted.
        if _tail(log_choose, k, n, middle, 1) < 1 - confidence:
            low = middle
        else:
            high = middle
    return low


def bits_of(k: int, n: int) -> float:
    """Credit in bits that k hits in n support, rounded down to hundredths so that no weight exceeds its bound; 0 when n is 0."""
    return math.floor(-math.log2(upper_bound(k, n)) * 100) / 100 if n else 0.0
