"""overread finds another process's or another client's memory in HTTP responses."""

from ._core import VERSION as __version__
from ._core import Ignores, kernel, kernels
from ._stream import Filter, Scanner, SecretRegistry, Stream, poison
from .control import Control, Feature, State
from .errors import BlobError, ConfigError, KernelError, OverreadError, RulesetError, StreamFinishedError
from .policy import Policy, Request, block_bits
from .verdict import Finding, Term, Verdict

TYPE_CHECKING = False  # typing's own costs a tenth of the whole import
if TYPE_CHECKING:
    from .ruleset import Ruleset
    from .site_counts import SiteCounts

__all__ = [
    "Scanner",
    "Stream",
    "Filter",
    "SecretRegistry",
    "poison",
    "Verdict",
    "Finding",
    "Term",
    "Ruleset",
    "SiteCounts",
    "Policy",
    "Request",
    "Ignores",
    "Control",
    "State",
    "Feature",
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


def __getattr__(name: str) -> object:
    # What compiles rule packs and counts sites costs as much to import as all else: most programs only scan.
    if name == "Ruleset":
        from .ruleset import Ruleset as value
    elif name == "SiteCounts":
        from .site_counts import SiteCounts as value  # type: ignore[assignment] # another class under the same name
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value
