"""`overread selftest --through URL`: proof that the filter is in the path, decodes and blocks."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from . import _core
from .errors import ConfigError

PARAMETER = "overread_test"
HEADER = "Overread-Test"
SECONDS = 20
MOST = 16 << 20  # bytes of an answer that are read

CODINGS = ("identity", "gzip")


def new_key(path: Path) -> None:
    """Writes a new key, 32 hexadecimal digits, that only the file's owner can read.

    Raises
    ------
    ConfigError
        When the file is there already, or cannot be written.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(16) + "\n")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def read_key(path: Path, *, private: bool = False) -> bytes:
    """The 16 bytes of a key file; ``private``: one that only its owner may read.

    Raises
    ------
    ConfigError
        When the file cannot be read, may be read by others, or holds no key.
    """
    try:
        with path.open() as file:
            if private and os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigError(f"{path}: others may read it: its mode must be 0600")
            text = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or 'no text'}") from None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 16:
        raise ConfigError(f"{path}: expected 32 hexadecimal digits, as overread selftest --new-key writes them")
    return key


def token(key: bytes) -> str:
    """A new token under a key of 16 bytes, which a filter with this key knows when a response echoes it."""
    return _core.test_token(key)


@dataclass(frozen=True)
class Outcome:
    """What came of one request: ``blocked``, ``cut``, ``passed`` (the echo came through) or ``silent`` (the page echoes nothing)."""

    coding: str
    result: str
    status: int
    id: str

    @property
    def line(self) -> str:
        """In words."""
        if self.result == "blocked":
            return f"blocked: status {self.status}, event {self.id}"
        if self.result == "passed":
            return f"NOT BLOCKED: the echo came through with status {self.status}: the filter is not in the path, has another key, or only monitors"
        return f"no proof: the page answered with status {self.status} and did not echo the token; choose one that shows its query or headers"


def through(url: str, key: bytes) -> list[Outcome]:
    """Asks for ``url`` with a token in its query and in a header, plain and coded; a connection that is cut is a proof only where
    the same request without the token comes to its end.

    Raises
    ------
    ConfigError
        When the URL cannot be used, or nothing answers there.
    """
    outcomes = []
    for coding in CODINGS:
        outcome = _ask(url, token(key), coding)
        if outcome.result == "cut":
            whole = _ask(url, "", coding).result != "cut"
            outcome = replace(outcome, result="blocked" if whole else "silent")
        outcomes.append(outcome)
    return outcomes


def _ask(url: str, sent: str, coding: str) -> Outcome:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--through {url!r}: expected http://host[:port]/path or https://")
    query = "&".join(filter(None, [parts.query, f"{PARAMETER}={sent}" if sent else ""]))
    import http.client  # a quarter of the command line's start, for the only command that needs it
    import ssl

    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=SECONDS, context=ssl.create_default_context())
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=SECONDS)
    try:
        headers = {"Accept-Encoding": coding} | ({HEADER: sent} if sent else {})
        connection.request("GET", (parts.path or "/") + (f"?{query}" if query else ""), headers=headers)
        answer = connection.getresponse()
        ident = answer.getheader("overread-id") or ""
        try:
            body = answer.read(MOST)
        except TimeoutError:
            return Outcome(coding, "silent", answer.status, "")
        except (http.client.HTTPException, OSError):
            return Outcome(coding, "cut", answer.status, "of a connection that was cut")
        if answer.length and len(body) < MOST:  # a short body is no error of read()
            return Outcome(coding, "cut", answer.status, "of a connection that was cut")
    except (http.client.HTTPException, OSError, ssl.SSLError) as error:
        raise ConfigError(f"--through {url}: {error or type(error).__name__}") from None
    finally:
        connection.close()
    if answer.status == 502 and ident:
        return Outcome(coding, "blocked", answer.status, ident)
    # A coded echo is looked for as the scanner decodes it.
    field = answer.getheader("content-encoding") or ""
    return Outcome(coding, "passed" if sent and _echoes(body, field, sent) else "silent", answer.status, ident)


def _echoes(body: bytes, field: str, sent: str) -> bool:
    if not field:
        return sent.encode() in body
    spans = _core._Excerpts(field.encode(), [(0, MOST)])
    spans.feed(body)
    return any(sent.encode() in piece for piece in spans.finish())
