"""Upper bounds of rates from counts: the package's own, so that there is one implementation."""

from overread.bounds import bits_of, upper_bound

__all__ = ["bits_of", "upper_bound"]
