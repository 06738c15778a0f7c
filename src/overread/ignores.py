"""`overread ignores`: which lines of what is ignored are expired, or hit nothing, by a filter's metrics."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError

SECONDS = 10
# nginx's page has the line as a label; Envoy's, behind its own prefix, the same.
_SAMPLE = re.compile(r'^(?:\w*_)?overread_(ignored_total|ignore_expired)\{([^}]*\bignore="((?:[^"\\]|\\.)*)"[^}]*)\}\s+([0-9.e+]+)', re.M)


@dataclass(slots=True)
class Line:
    """One line, how often it took something out of a response since the filter started, and whether its day is over."""

    text: str
    hits: int = 0
    expired: bool = False


def read(source: str) -> list[Line]:
    """The lines of a metrics page, a URL or a file.

    Raises
    ------
    ConfigError
        When it cannot be read.
    """
    try:
        if source.startswith(("http://", "https://")):
            with urllib.request.urlopen(source, timeout=SECONDS) as answer:
                text = answer.read().decode("utf-8", "replace")
        else:
            text = Path(source).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else getattr(error, "strerror", None) or error
        raise ConfigError(f"{source}: {reason}") from None
    found: dict[str, Line] = {}
    for name, _, label, value in _SAMPLE.findall(text):
        line = found.setdefault(label, Line(re.sub(r"\\(.)", r"\1", label)))
        if name == "ignored_total":
            line.hits += int(float(value))
        else:
            line.expired |= float(value) > 0
    return list(found.values())


def report(lines: list[Line]) -> list[str]:
    """One line each: expired ones first, then those that never hit."""
    order = sorted(lines, key=lambda line: (not line.expired, line.hits > 0))
    return [
        f"{'expired' if line.expired else 'in force' if line.hits else 'never hit'}: {line.text}" + (f" ({line.hits} responses)" if line.hits else "")
        for line in order
    ]
