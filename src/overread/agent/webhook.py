"""Calls to the receivers of an agent's messages."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import itertools
import queue
import re
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from types import TracebackType
from urllib.parse import urlsplit

from ..errors import ConfigError

SECONDS = 5.0  # of one call
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)  # between tries; the last one again and again
MOST = 1000  # messages that wait for one receiver


class Webhooks:
    """Sends messages to each receiver, in order, and each again until it answers with 2xx.

    With a key each call carries ``Overread-Signature: sha256=`` and the HMAC-SHA256 of its body in hexadecimal digits. Redirects are not
    followed, and no answer is read.

    Raises
    ------
    ConfigError
        When an address is no http or https URL.
    """

    def __init__(self, urls: Sequence[str], key: bytes | None = None) -> None:
        for number, url in enumerate(urls, 1):
            try:
                parts = urlsplit(url)
                good = parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"[^!-~]", url)
            except ValueError:
                good = False
            if not good:  # and not shown: it may hold a token
                raise ConfigError(f"webhook {number}: expected an http or https URL of printable ASCII characters")
        self._key = key
        self._stop = threading.Event()
        self._queues: list[queue.Queue[bytes | None]] = [queue.Queue(MOST) for _ in urls]
        self._threads = [threading.Thread(target=self._work, args=(url, q), daemon=True) for url, q in zip(urls, self._queues, strict=True)]
        self._opener = urllib.request.build_opener(_NoRedirects)
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Webhooks:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def send(self, message: bytes) -> None:
        """Queues a message for every receiver; never waits."""
        for waiting in self._queues:
            try:
                waiting.put_nowait(message)
            except queue.Full:
                print("overread agent: webhook: too many messages wait, one is lost", file=sys.stderr, flush=True)

    @property
    def idle(self) -> bool:
        """Whether every receiver has had every message."""
        return all(waiting.unfinished_tasks == 0 for waiting in self._queues)

    def close(self) -> None:
        """Ends the threads: messages that wait get one more try each."""
        self._stop.set()
        for waiting in self._queues:
            with contextlib.suppress(queue.Full):
                waiting.put_nowait(None)
        for thread in self._threads:
            thread.join(SECONDS + 1)

    def _work(self, url: str, waiting: queue.Queue[bytes | None]) -> None:
        name = urlsplit(url).hostname  # never the path or the query: they may hold a token
        while (message := waiting.get()) is not None:
            for pause in itertools.chain(WAITS, itertools.repeat(WAITS[-1])):
                fault = self._call(url, message)
                if fault is None:
                    waiting.task_done()
                    break
                print(f"overread agent: webhook {name}: {fault}", file=sys.stderr, flush=True)
                if self._stop.wait(pause):
                    break
        waiting.task_done()

    def _call(self, url: str, message: bytes) -> str | None:
        request = urllib.request.Request(url, message, {"Content-Type": "application/json", "User-Agent": "overread-agent"}, method="POST")
        if self._key is not None:
            request.add_header("Overread-Signature", "sha256=" + hmac.new(self._key, message, hashlib.sha256).hexdigest())
        try:
            with self._opener.open(request, timeout=SECONDS) as answer:
                return None if 200 <= answer.status < 300 else f"status {answer.status}"
        except urllib.error.HTTPError as error:
            return f"status {error.code}"
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            return type(reason).__name__ if isinstance(reason, Exception) else "cannot be reached"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None
