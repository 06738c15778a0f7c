"""Copies between a node's registry and a stream in Redis or Valkey that all nodes of a fleet share. Only keyed fingerprints go there."""

from __future__ import annotations

import random
import secrets
import ssl
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._stream import SecretRegistry
from ..errors import ConfigError
from .batch import RECORD, Batch, Sealer

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError:
    raise ConfigError("sharing a registry needs redis-py: pip install 'overread[cluster]'") from None

FIELD = b"b1"  # of a stream's entry: a batch, and the number of its layout
BATCH = 1 << 16  # bytes of records in one
HELD = 64  # batches that are on their way at most, 4 MiB: what comes after waits in the registry
READ = 64  # batches asked for at once
SECONDS = 5.0  # of an answer
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # between tries; the last one again and again
AHEAD_MS = 60_000  # what a batch may be from the future: the store's clock may have been set


@dataclass
class Counts:
    """What was exchanged since the agent began."""

    up: bool = False
    sent: int = 0  # records
    sent_bytes: int = 0
    received: int = 0  # records of others
    received_bytes: int = 0  # of all entries that were read, one's own too
    dropped: int = 0  # records that could not be sent while they lived
    refused: int = 0  # entries that are no batch, or are sealed under another key
    away: int = 0  # tries that got no answer
    tls: int = 0  # tries that ended with TLS: what is wrong there does not pass by itself
    rejected: int = 0  # and those that were answered with an error
    exchanged_ms: int = 0  # when the last one succeeded


class Fleet:
    """One node's end of the stream.

    While the store is away nothing is taken out of the registry, which marks what changed: it waits there, as long as it lives.

    Parameters
    ----------
    key
        The registry's, of 16 bytes.
    url
        As redis-py takes it: ``redis://``, ``rediss://`` or ``unix://``.
    read_from
        The URL of a replica to read from: what one server sends to all nodes may be more than its link takes. By default ``url``.
    life
        Seconds, the registry's: what is older is trimmed from the stream.

    Raises
    ------
    ConfigError
        When the URL, or a file of TLS that it names, cannot be used. The URL is not shown: it may hold a password.
    """

    def __init__(self, registry: SecretRegistry, key: bytes, url: str, life: float, *, read_from: str | None = None) -> None:
        self.counts = Counts()
        self.stream = f"overread:registry:{registry.key_id}"
        self._life_ms = round(life * 1000)
        self._sealer = Sealer(key)
        self._node = secrets.token_bytes(8)
        self._held: deque[tuple[int, bytes]] = deque()  # when it was taken out, and the sealed batch
        self._failed = 0  # tries in a row
        self._told = ""  # why, once
        self._again = 0.0  # not before
        self._ahead_ms: int | None = None  # how far this node's clock is ahead of the store's
        self.use(registry)
        self._redis = _client(url)
        self._reader = _client(read_from) if read_from else self._redis

    def use(self, registry: SecretRegistry) -> None:
        """Another registry from now on, which has everything to learn."""
        self.registry = registry
        self._last = b"0"

    @property
    def unsent(self) -> int:
        """Records that were taken out of the registry and are not sent yet."""
        return sum(_records_in(sealed) for _, sealed in self._held)

    def exchange(self) -> bool:
        """Sends and takes what is there, and bounded much of it; whether there is more. Never raises for what the store does."""
        if time.monotonic() < self._again:
            return False
        asked = self._redis
        try:
            if self._ahead_ms is None:
                self._tell_time(self._redis.time())
            more, refusal = self._send()
            asked = self._reader
            more |= self._receive()
            if refusal:
                raise refusal
        except redis.RedisError as error:
            self._fail(error, asked)
            return False
        if not self.counts.up:
            print(f"overread agent: sharing through {self.stream}", flush=True)
        self.counts.up, self.counts.exchanged_ms, self._failed, self._told = True, _now_ms(), 0, ""
        return more

    def close(self) -> None:
        """Ends the connection."""
        self._redis.close()
        self._reader.close()

    def _tell_time(self, told: tuple[int, int]) -> None:
        seconds, micros = told
        self._ahead_ms = _now_ms() - (seconds * 1000 + micros // 1000)

    @property
    def _store_ms(self) -> int:
        assert self._ahead_ms is not None
        return _now_ms() - self._ahead_ms

    def _send(self) -> tuple[bool, redis.RedisError | None]:
        """Whether there is more, and why the store took no more."""
        now = self._store_ms
        while self._held and now - self._held[0][0] > self._life_ms:
            self.counts.dropped += _records_in(self._held.popleft()[1])
        more = self._take_out(now)
        # What was refused is tried again with one batch.
        sealed = [s for _, s in self._held][: 1 if self._failed else None]
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        for batch in sealed:
            pipe.xadd(self.stream, {FIELD: batch}, minid=now - self._life_ms, approximate=False)
        if sealed:
            pipe.pexpire(self.stream, 2 * self._life_ms)
        answers = pipe.execute(raise_on_error=False)
        if isinstance(answers[0], redis.RedisError):
            return False, answers[0]
        self._tell_time(answers[0])
        for batch, answer in zip(sealed, answers[1:], strict=False):
            if isinstance(answer, redis.RedisError):
                return False, answer
            self._held.popleft()
            self.counts.sent += _records_in(batch)
            self.counts.sent_bytes += len(batch)
            if _place(answer) < _place(self._last):
                self._last = b"0"  # the stream was made anew, by a clock that is behind
        return more or bool(self._held), None

    def _take_out(self, now: int) -> bool:
        while len(self._held) < HELD:
            records = self.registry.export_changed(most=BATCH)
            if records:
                self._held.append((now, self._sealer.seal(Batch(self._node, now, records))))
            if len(records) < BATCH // 2:  # the whole table was looked at
                return False
        return True

    def _receive(self) -> bool:
        answer = self._reader.xread({self.stream: self._last}, count=READ)
        entries = answer[0][1] if answer else []
        for place, fields in entries:
            self._last = place
            self._take(fields.get(FIELD) if len(fields) == 1 else None)
        return len(entries) == READ

    def _take(self, sealed: bytes | None) -> None:
        self.counts.received_bytes += len(sealed or b"")
        batch = self._sealer.open(sealed) if sealed else None
        late = self._store_ms - batch.unix_ms if batch else 0
        if batch is None or late < -AHEAD_MS:
            self.counts.refused += 1
        elif batch.node != self._node and late <= self._life_ms:
            self.registry.import_changed(batch.records, unix_ms=_now_ms() - max(0, late))
            self.counts.received += len(batch.records) // RECORD

    def _fail(self, error: redis.RedisError, asked: Any) -> None:
        away = isinstance(error, redis.ConnectionError | redis.TimeoutError) and not isinstance(error, redis.AuthenticationError)
        if away and (fault := _tls_fault(error, asked)):
            self.counts.tls += 1
            what = fault
        elif away:
            self.counts.away += 1
            what = "Redis: no answer"
        else:
            self.counts.rejected += 1
            what = f"Redis: {str(error).partition(' ')[0] or type(error).__name__}"  # the code: OOM, READONLY, NOAUTH
        if what != self._told:
            print(f"overread agent: {what}; the registry goes on by itself", file=sys.stderr, flush=True)
        self._told = what
        self.counts.up = False
        # Nodes that lost it together do not come back together.
        self._again = time.monotonic() + WAITS[min(self._failed, len(WAITS) - 1)] * random.uniform(0.5, 1)
        self._failed += 1


def _client(url: str) -> Any:  # what redis-py's calls are said to return changes from version to version
    try:
        client = redis.Redis.from_url(
            url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS, protocol=2, decode_responses=False, retry=Retry(NoBackoff(), 0)
        )
        # What an option is for only a connection knows; it connects when it is used.
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
    except (ValueError, TypeError, redis.RedisError):
        raise ConfigError("the URL of Redis: expected redis://, rediss:// or unix:// with options that redis-py knows") from None
    if fault := _file_fault(client.connection_pool.connection_kwargs):
        raise ConfigError(f"the URL of Redis: {fault}")
    return client


def _file_fault(options: Mapping[str, Any]) -> str:
    """What is wrong with the files of TLS that a URL names, and the remedy; redis-py reads them when it connects."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    certificate, key, password = (options.get(f"ssl_{name}") for name in ("certfile", "keyfile", "password"))
    if (folder := options.get("ssl_ca_path")) and not Path(folder).is_dir():
        return f"ssl_ca_path={folder}: not a folder; expected one of CA certificates, as `openssl rehash` leaves it"
    if authorities := options.get("ssl_ca_certs"):
        wanted = "expected a PEM file of the CA that signed the server's certificate"
        try:
            context.load_verify_locations(cafile=authorities)
        except ssl.SSLError:
            return f"ssl_ca_certs={authorities}: no certificate in PEM form; {wanted}"
        except OSError as error:
            return f"ssl_ca_certs={authorities}: {error.strerror}; {wanted}"
    if certificate or key:
        wanted = "expected this client's certificate and its key in PEM form"
        for name, file in (("ssl_certfile", certificate), ("ssl_keyfile", key)):
            try:
                if file:
                    with Path(file).open("rb"):
                        pass
            except OSError as error:
                return f"{name}={file}: {error.strerror}; {wanted}"
        try:
            # Without a word OpenSSL would ask the terminal for one.
            context.load_cert_chain(certificate or "", key, password=lambda: str(password or ""))
        except (OSError, ValueError):
            return f"ssl_certfile={certificate}, ssl_keyfile={key}: not a certificate with its key, or another ssl_password; {wanted}"
    return ""


def _tls_fault(error: BaseException | None, client: Any) -> str:
    """Why there was no answer where TLS is to blame, without anything of the URL's credentials; else empty."""
    options = client.connection_pool.connection_kwargs
    place = f"Redis at {options.get('host', 'localhost')}:{options.get('port', 6379)}: TLS failed: "
    if fault := _file_fault(options):  # it was there when the agent began
        return place + fault
    while error and not isinstance(error, ssl.SSLError):  # redis-py puts an error of its own in front
        error = error.__cause__ or error.__context__
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return ""  # it went away
    if isinstance(error, ssl.SSLCertVerificationError):
        authorities = options.get("ssl_ca_certs") or options.get("ssl_ca_path") or "the system's CAs"
        return f"{place}the certificate does not verify against {authorities}: {error.verify_message}"
    return place + (error.reason or type(error).__name__) if isinstance(error, ssl.SSLError) else ""


def _records_in(sealed: bytes) -> int:
    return len(sealed) // RECORD - 1  # head and seal are 32 bytes


def _place(entry: bytes) -> tuple[int, int]:
    """The order of a stream's entries."""
    ms, _, number = entry.partition(b"-")
    return int(ms), int(number or 0)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
