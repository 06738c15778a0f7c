"""Planted tokens: values that stand among real data and belong to nobody, so that a response that shows one shows a leak.

They are kept in a small SQLite file that only its owner can read; a :class:`overread.SecretRegistry` finds them in responses.
"""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
import stat
import string
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from ._stream import Scanner, SecretRegistry
from .errors import ConfigError

LAYOUT = 1  # of the file, in its user_version
_TABLE = """
CREATE TABLE canaries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice
    kind TEXT NOT NULL,
    note TEXT NOT NULL,
    made_ms INTEGER NOT NULL,
    retired_ms INTEGER,
    tokens TEXT NOT NULL  -- one a line
)"""
_SLOTS = 64  # of a registry, for one token: the core stores at most 48 windows of a value, and a table is never filled to its last place
_SLOT = 24  # bytes
_WINDOW = 16  # bytes that the registry looks at together
LEAST_MEMORY = 1 << 16  # bytes of the smallest registry


@dataclass(frozen=True, slots=True)
class Canary:
    """One planted secret: a value, or the two halves of a cloud key; ``retired_ms`` is ``None`` while it is live."""

    id: int
    kind: str
    note: str
    made_ms: int
    retired_ms: int | None
    tokens: tuple[str, ...] = field(repr=False)


def _drawn(alphabet: str, size: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(size))


_LOWER = string.ascii_lowercase + string.digits
_ALNUM = string.ascii_letters + string.digits
# What AWS gives out: ids of 20 characters in base32 behind AKIA, secrets of 40 in base64.
_BASE32 = string.ascii_uppercase + "234567"
KINDS: dict[str, Callable[[str], tuple[str, ...]]] = {
    "session": lambda _: (_drawn(_ALNUM, 32),),
    "cloud-key": lambda _: ("AKIA" + _drawn(_BASE32, 16), _drawn(_ALNUM + "+/", 40)),
    "email": lambda domain: (f"{_drawn(_LOWER, 20)}@{domain}",),
    "row": lambda _: (str(uuid.uuid4()),),
}
OWN = "own"  # the kind of a token that its operator brought


class CanaryFile:
    """A file of planted tokens.

    Parameters
    ----------
    path
        The SQLite file; its mode must be 0600.
    create
        Makes it where there is none.

    Raises
    ------
    ConfigError
        When it is not there, cannot be read or written, is no file of canaries, or can be read by others than its owner.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool = False) -> None:
        self.path = Path(path)
        try:
            descriptor = os.open(self.path, os.O_RDWR | (os.O_CREAT if create else 0) | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "rb") as file:
                found = os.fstat(file.fileno())
        except OSError as error:
            remedy = ": overread canary new makes it" if isinstance(error, FileNotFoundError) and not create else ""
            raise ConfigError(f"{self.path}: {error.strerror}{remedy}") from None
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077:
            raise ConfigError(f"{self.path}: it holds secrets, so it must be a regular file of mode 0600")
        self._db = sqlite3.connect(self.path, timeout=10, isolation_level=None)
        try:
            if create:
                self._make()
            (layout,) = self._ask("PRAGMA user_version").fetchone()
            if layout != LAYOUT:
                raise ConfigError(f"{self.path}: no file of canaries, or one of another version of overread")
        except ConfigError:
            self._db.close()
            raise

    def __enter__(self) -> CanaryFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def new(self, kind: str, note: str = "", *, domain: str = "example.com", token: str | None = None) -> Canary:
        """Keeps a new token of a kind of ``KINDS``, or the one that is given.

        Raises
        ------
        ConfigError
            When a given token has under 64 bits of entropy or is there already, and when the file cannot be written.
        """
        if not re.fullmatch(r"[A-Za-z0-9.-]{1,253}", domain):
            raise ConfigError(f"domain {domain!r}: expected letters, digits, '.' and '-'")
        tokens = (token,) if token is not None else _made(KINDS[kind], domain)
        if token is not None and (not _dense(token) or "\n" in token):
            raise ConfigError("the token has under 64 bits of entropy: it could stand in a response by chance; a token is one line")
        if any(t in canary.tokens for canary in self.all() for t in tokens):
            raise ConfigError("the token is in the file already")
        made_ms = time.time_ns() // 1_000_000
        row = (OWN if token is not None else kind, note, made_ms, "\n".join(tokens))
        added = self._ask("INSERT INTO canaries (kind, note, made_ms, tokens) VALUES (?, ?, ?, ?)", row)
        assert added.lastrowid is not None
        return Canary(added.lastrowid, row[0], note, made_ms, None, tokens)

    def all(self) -> list[Canary]:
        """Every token, retired ones too."""
        rows = self._ask("SELECT id, kind, note, made_ms, retired_ms, tokens FROM canaries ORDER BY id").fetchall()
        return [Canary(number, kind, note, made, retired, tuple(tokens.split("\n"))) for number, kind, note, made, retired, tokens in rows]

    def retire(self, number: int) -> None:
        """A token that may be seen from now on. It stays in the file, for registries that know it must be told.

        Raises
        ------
        ConfigError
            When there is none of this number that is live, and when the file cannot be written.
        """
        now = time.time_ns() // 1_000_000
        if self._ask("UPDATE canaries SET retired_ms = ? WHERE id = ? AND retired_ms IS NULL", (now, number)).rowcount != 1:
            raise ConfigError(f"{self.path}: no live canary {number}; overread canary list names them")

    def _make(self) -> None:
        self._ask("BEGIN IMMEDIATE")
        if self._ask("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            self._ask(_TABLE)
            self._ask(f"PRAGMA user_version = {LAYOUT}")
        self._ask("COMMIT")

    def _ask(self, sql: str, values: Iterable[object] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(sql, tuple(values))
        except sqlite3.Error as error:
            raise ConfigError(f"{self.path}: {error}") from None

    def __repr__(self) -> str:
        return f"<overread.CanaryFile {self.path}>"


def registry_for(canaries: Iterable[Canary], key: bytes | None = None) -> SecretRegistry:
    """A registry that holds the live ones of these, and nothing else."""
    there = list(canaries)
    registry = SecretRegistry(key=key, memory=max(LEAST_MEMORY, sum(len(c.tokens) for c in there) * _SLOTS * _SLOT))
    plant(registry, there)
    return registry


def plant(registry: SecretRegistry, canaries: Iterable[Canary]) -> int:
    """Plants what is live, and retires what is retired, where the registry knows it; how many are live.

    Raises
    ------
    ConfigError
        When a token finds no place.
    """
    live = 0
    for canary in canaries:
        for token in canary.tokens:
            try:
                (registry.plant if canary.retired_ms is None else registry.retire)(token)
            except ValueError:
                if canary.retired_ms is None:  # it was dense enough when it was made
                    raise ConfigError(f"canary {canary.id}: the registry has no place for it: give it more memory") from None
        live += canary.retired_ms is None
    return live


def digests(scanner: Scanner, canary: Canary) -> list[int]:
    """What a finding of a canary may say as its digest: the first one where the whole token was seen, the others where only its end was.

    The scanner has the operator's key, and a registry in which the canary is planted, under the registry's key.
    """
    found: dict[int, None] = {}
    for token in canary.tokens:
        for start in range(len(token)):
            for finding in scanner.scan(token[start:].encode(), "text/plain; charset=utf-8").findings:
                if finding.rule == "foreign.canary":
                    found[finding.digest] = None
    return list(found)


def _made(draw: Callable[[str], tuple[str, ...]], domain: str) -> tuple[str, ...]:
    """Some draws are too even to be told from words and numbers: the next one is not. It costs them under three bits."""
    while not all(map(_dense_at_both_ends, tokens := draw(domain))):
        pass
    return tokens


def _dense_at_both_ends(token: str) -> bool:
    """Also what is cut at one end is found then."""
    text = token.partition("@")[0]
    return _dense(text[:_WINDOW]) and _dense(text[-_WINDOW:])


def _dense(token: str) -> bool:
    """Whether the registry counts it as a secret's, or a part of it."""
    try:
        SecretRegistry(memory=LEAST_MEMORY).plant(token)
    except ValueError:
        return False
    return True
