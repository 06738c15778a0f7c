"""A Redis server of a test's own: Debian's, on a free port of the loopback interface, with all it keeps in a folder."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

from .processes import end, free_ports, ready

SERVER = shutil.which("redis-server") or "/usr/bin/redis-server"


@dataclass
class RedisSite:
    """One server; ``stop`` and ``start`` keep its port and its files."""

    folder: Path
    options: tuple[str, ...] = ()
    port: int = field(default_factory=lambda: free_ports(1)[0])
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        argv = [SERVER, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "", "--daemonize", "no", *self.options]
        self.process = ready(argv, self.folder, ".*Ready to accept connections")

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self.process:
            end(self.process, how, 10)
            self.process = None

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=10)

    @property
    def connected(self) -> int:
        """Clients, this one aside."""
        with self.client() as client:
            return len(client.client_list()) - 1


@contextmanager
def running_redis(folder: Path, *options: str) -> Iterator[RedisSite]:
    site = RedisSite(folder, options)
    site.start()
    try:
        yield site
    finally:
        site.stop()
