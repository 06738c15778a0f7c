"""Care of a node's registry segment: shares it with the fleet, plants canaries, and tells of both."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .._stream import SecretRegistry
from ..canaries import LEAST_MEMORY, CanaryFile, plant
from ..errors import ConfigError
from . import atomic_file

if TYPE_CHECKING:
    from .fleet import Fleet

METRICS_SECONDS = 5.0


class RegistryAgent:
    """Watches one segment.

    Parameters
    ----------
    segment
        The file; made where there is none, of ``memory`` bytes. One that is there keeps its size.
    key
        The registry's, of 16 bytes.
    memory, life
        As of :class:`overread.SecretRegistry`, equal in all that share the segment.
    redis
        The URL of the store that the fleet shares, and that of a replica to read from, where there is one.
    canaries
        A file of planted tokens, or ``None``.
    metrics
        A file that gets what there is to tell, in Prometheus' text format, or ``None``.

    Raises
    ------
    ConfigError
        When one of them cannot be used, and when another agent is at the segment.
    """

    def __init__(
        self,
        segment: Path,
        key: bytes,
        *,
        memory: int = 0,
        life: float = 0,
        redis: Sequence[str] = (),
        canaries: Path | None = None,
        metrics: Path | None = None,
    ) -> None:
        self.segment, self.canaries, self.metrics = segment, canaries, metrics
        self._key, self._memory, self._life = key, memory, life or 900.0
        self._planted: tuple[object, ...] | None = None  # the state of the file of canaries that the segment was told
        self._live = 0
        self._lock = -1
        self._told = ""  # the fault, once
        self._metrics_due = 0.0
        self.registry = self._open()
        self.fleet: Fleet | None = None
        try:
            if redis:
                from .fleet import Fleet  # redis-py is an extra

                self.fleet = Fleet(self.registry, key, redis[0], self._life, read_from=redis[1] if len(redis) > 1 else None)
            self._plant()
        except ConfigError:
            os.close(self._lock)
            raise

    def look(self) -> bool:
        """One look; whether there is more to do at once."""
        fault = ""
        try:
            self._follow()
            self._plant()
        except ConfigError as error:
            fault = str(error)
        more = self.fleet.exchange() if self.fleet else False
        if self.metrics and time.monotonic() >= self._metrics_due:
            self._metrics_due = time.monotonic() + METRICS_SECONDS
            try:
                atomic_file.write(self.metrics, self.text())
            except OSError as error:
                fault = fault or f"{error.filename}: {error.strerror}"
        if fault and fault != self._told:
            print(f"overread agent: {fault}", file=sys.stderr, flush=True)
        self._told = fault
        return more

    def close(self) -> None:
        """Sends what is there, and lets go of the segment."""
        if self.fleet:
            self.fleet.exchange()
            self.fleet.close()
        os.close(self._lock)

    def text(self) -> str:
        """What there is to tell, in Prometheus' text format."""
        rows: list[tuple[str, str, float]] = []
        for name, count in self.registry.metrics().items():
            gauge = name in ("slots", "live")
            rows.append((f"overread_registry_{name}" + ("" if gauge else "_total"), "gauge" if gauge else "counter", count))
        if self.canaries:
            rows.append(("overread_registry_canaries", "gauge", self._live))
        if self.fleet:
            c = self.fleet.counts
            rows += [
                ("overread_redis_up", "gauge", c.up),
                ("overread_redis_last_exchange_seconds", "gauge", c.exchanged_ms / 1000),
                ("overread_redis_sent_records_total", "counter", c.sent),
                ("overread_redis_sent_bytes_total", "counter", c.sent_bytes),
                ("overread_redis_received_records_total", "counter", c.received),
                ("overread_redis_received_bytes_total", "counter", c.received_bytes),
                ("overread_redis_unsent_records", "gauge", self.fleet.unsent),
                ("overread_redis_dropped_records_total", "counter", c.dropped),
                ("overread_redis_refused_entries_total", "counter", c.refused),
                ('overread_redis_errors_total{reason="away"}', "counter", c.away),
                ('overread_redis_errors_total{reason="tls"}', "counter", c.tls),
                ('overread_redis_errors_total{reason="rejected"}', "counter", c.rejected),
            ]
        lines: list[str] = []
        for name, kind, value in rows:
            head = f"# TYPE {name.partition('{')[0]} {kind}"
            lines += [*([] if head in lines else [head]), f"{name} {float(value):.15g}"]
        return "\n".join(lines) + "\n"

    def _open(self) -> SecretRegistry:
        with suppress(OSError):
            if size := self.segment.stat().st_size:
                self._memory = max(size, LEAST_MEMORY)  # the smallest table does not fill it
        registry = SecretRegistry(segment=self.segment, key=self._key, memory=self._memory, life=self._life)
        # Of two agents each would tell the fleet a half.
        lock = os.open(self.segment, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise ConfigError(f"{self.segment}: another agent is at it") from None
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = lock
        return registry

    def _follow(self) -> None:
        """To the segment that took the old one's place, if there is one."""
        try:
            there = self.segment.stat()
        except OSError:
            return
        ours = os.fstat(self._lock)
        if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino) or not there.st_size:
            return
        self.registry, self._planted = self._open(), None
        if self.fleet:
            self.fleet.use(self.registry)

    def _plant(self) -> None:
        if not self.canaries:
            return
        try:
            found = self.canaries.stat()
        except OSError as error:
            raise ConfigError(f"{self.canaries}: {error.strerror}") from None
        state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode)
        if state == self._planted:
            return
        with CanaryFile(self.canaries) as file:
            self._live = plant(self.registry, file.all())
        # A change in the same tick of the file system's clock would look like none.
        self._planted = state if time.time_ns() - found.st_mtime_ns > 1_000_000_000 else None
