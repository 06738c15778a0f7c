"""Errors. A leak is not an error: it is a Verdict."""


class OverreadError(Exception):
    """Base of every error this package defines."""


class RulesetError(OverreadError, ValueError):
    """A rule pack or calibration is malformed; ``file``, ``line`` (from 1, 0 when unknown) and ``key`` say where."""

    def __init__(self, message: str, *, file: str = "", line: int = 0, key: str = "") -> None:
        place = file + (f":{line}" if line else "")
        super().__init__(": ".join(p for p in (place, key, message) if p))
        self.file, self.line, self.key = file, line, key


class BlobError(OverreadError, ValueError):
    """A compiled ruleset is truncated, damaged or of another version."""


class KernelError(OverreadError, ValueError):
    """The named kernel is unknown or this CPU lacks its instructions."""


class ConfigError(OverreadError, ValueError):
    """A policy or proxy setting is out of range."""


class StreamFinishedError(OverreadError, RuntimeError):
    """A stream was used after ``finish()``."""
