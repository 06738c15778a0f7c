"""overread finds another process's or another client's memory in HTTP responses."""

from ._core import VERSION as __version__
from ._core import kernel, kernels
from ._stream import Scanner, Stream
from .errors import BlobError, ConfigError, KernelError, OverreadError, RulesetError, StreamFinishedError
from .policy import Policy, Request, block_bits
from .ruleset import Ruleset
from .site_counts import SiteCounts
from .verdict import Finding, Term, Verdict

__all__ = [
    "Scanner",
    "Stream",
    "Verdict",
    "Finding",
    "Term",
    "Ruleset",
    "SiteCounts",
    "Policy",
    "Request",
    "block_bits",
    "kernels",
    "kernel",
    "OverreadError",
    "RulesetError",
    "BlobError",
    "KernelError",
    "ConfigError",
    "StreamFinishedError",
    "__version__",
]
