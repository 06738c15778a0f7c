"""Detectors of one body at a time: overread, a test for control bytes, secret expressions, YARA-X, detect-secrets."""

from __future__ import annotations

import importlib.metadata
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import overread

# Offset of the first sign, or None. What a tool reports without a place counts as found at the body's start.
Find = Callable[[bytes, str], int | None]

# Usual expressions for secrets, as scanners of repositories ship them.
EXPRESSIONS = {
    "aws-key": rb"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "aws-secret": rb"(?i)aws.{0,20}[\"'][0-9a-z/+]{40}[\"']",
    "github": rb"\bgh[pousr]_[A-Za-z0-9]{36}\b",
    "github-fine": rb"\bgithub_pat_[A-Za-z0-9_]{82}\b",
    "gitlab": rb"\bglpat-[A-Za-z0-9_-]{20}\b",
    "slack": rb"\bxox[abprs]-[A-Za-z0-9-]{10,48}",
    "slack-hook": rb"hooks\.slack\.com/services/T[A-Z0-9]{8,}/B[A-Z0-9]{8,}/[A-Za-z0-9]{20,}",
    "stripe": rb"\b[sr]k_live_[A-Za-z0-9]{24,}",
    "google": rb"\bAIza[A-Za-z0-9_-]{35}\b",
    "google-oauth": rb"\bya29\.[A-Za-z0-9_-]{20,}",
    "twilio": rb"\bSK[0-9a-f]{32}\b",
    "sendgrid": rb"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}\b",
    "mailgun": rb"\bkey-[0-9a-f]{32}\b",
    "npm": rb"\bnpm_[A-Za-z0-9]{36}\b",
    "pypi": rb"\bpypi-AgE[A-Za-z0-9_-]{50,}",
    "telegram": rb"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}\b",
    "heroku": rb"(?i)heroku.{0,20}[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "pem": rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----",
    "jwt": rb"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{10,}",
    "bearer": rb"(?i)\bbearer [A-Za-z0-9._~+/=-]{20,}",
    "basic": rb"(?i)authorization: basic [A-Za-z0-9+/=]{8,}",
    "url-password": rb"\b[a-z]{3,10}://[^\s/:@\"'<>]{2,40}:[^\s/:@\"'<>]{3,40}@",
    "session": rb"(?i)\b(?:session(?:id)?|sid|phpsessid|jsessionid)=[A-Za-z0-9%._-]{16,}",
    "password": rb"(?i)\b(?:password|passwd|pwd)[\"']?\s*[:=]\s*[\"'][^\"'\s]{8,64}[\"']",
    "api-key": rb"(?i)\b(?:api[_-]?key|secret|token)[\"']?\s*[:=]\s*[\"'][A-Za-z0-9_-]{16,64}[\"']",
}
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_BINARY = ("image/", "font/", "audio/", "video/", "application/zip", "application/gzip", "application/wasm", "application/pdf", "application/octet-stream")


@dataclass(frozen=True)
class Detector:
    """A tool with its version and options, as the table names it."""

    name: str
    find: Find


def overread_at(bits: float) -> Detector:
    """The product at a threshold, in bits."""
    scanner = overread.Scanner(threshold=bits)

    def find(body: bytes, content_type: str) -> int | None:
        verdict = scanner.scan(body, content_type=content_type)
        return (verdict.first_offset or 0) if verdict.leaked else None

    return Detector(f"overread {overread.__version__}, {bits:g} bits", find)


def control_bytes() -> Detector:
    """Any control byte in what is declared as text."""

    def find(body: bytes, content_type: str) -> int | None:
        found = None if content_type.startswith(_BINARY) else _CONTROL.search(body)
        return found.start() if found else None

    return Detector("control bytes in text", find)


def expressions() -> Detector:
    """The expressions above, with Python's re."""
    all_of_them = [re.compile(e) for e in EXPRESSIONS.values()]

    def find(body: bytes, _: str) -> int | None:
        return min((m.start() for e in all_of_them if (m := e.search(body))), default=None)

    return Detector(f"{len(EXPRESSIONS)} secret expressions, Python re", find)


def yara_x() -> Detector:
    """The same expressions as YARA rules."""
    import yara_x

    def rule(name: str, pattern: str) -> str:
        flags = "i" if pattern.startswith("(?i)") else ""
        text = pattern.removeprefix("(?i)").replace("/", r"\/")
        return f"rule {name.replace('-', '_')} {{ strings: $a = /{text}/{flags} condition: $a }}"

    compiled = yara_x.compile("\n".join(rule(n, e.decode()) for n, e in EXPRESSIONS.items()))

    def find(body: bytes, _: str) -> int | None:
        offsets = [m.offset for r in compiled.scan(body).matching_rules for p in r.patterns for m in p.matches]
        return min(offsets, default=None)

    return Detector(f"YARA-X {importlib.metadata.version('yara-x')}, the same expressions", find)


def detect_secrets() -> Detector:
    """detect-secrets with its default plugins and filters, as its command line runs them on a file."""
    from detect_secrets import SecretsCollection
    from detect_secrets.settings import default_settings

    def find(body: bytes, content_type: str) -> int | None:
        ending = content_type.partition(";")[0].rpartition("/")[2].rpartition("+")[2]
        with tempfile.NamedTemporaryFile(suffix="." + ending) as file, default_settings():
            # A minified file is one line of megabytes, on which its expressions take minutes.
            file.write(b"\n".join(line[i : i + 4096] for line in body.split(b"\n") for i in range(0, len(line) or 1, 4096)))
            file.flush()
            secrets = SecretsCollection()
            secrets.scan_file(file.name)
            numbers = [s.line_number for _, s in secrets]
        return 0 if numbers else None

    return Detector(f"detect-secrets {importlib.metadata.version('detect-secrets')}, defaults, lines cut at 4 KiB", find)
