"""ASGI middleware: scans every HTTP response of an application before it leaves.

Pure ASGI on :class:`overread.Filter`. The head is held until the first decision; a response that is stopped before its
first byte becomes a 502, a later one is cut by raising, which makes the server close without the final chunk.

What the application has read of the request when it starts the response, up to 64 KiB of body, counts as the client's
own and is exempt. A scanner with a registry observes it, with the response's own fields, as what a client sent and was given, so that it is found in
another's response; `owner` says whose it is. File extensions (``pathsend``, ``zerocopysend``) are read here and leave as body bytes. Where trailers
follow, the end of the body waits for them: what they show can still stop it. Early hints pass unscanned.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from .._stream import Filter, Scanner
from ..policy import Policy, Request
from ..site_counts import SiteCounts

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("overread")
_FILE_CHUNK = 1 << 16  # bytes of a file body read at a time
_OWN_BODY = 1 << 16  # bytes of a request body known as the client's own; the core takes no more


class ResponseCut(ConnectionAbortedError):
    """Raised into the server so that it closes the connection in mid-response."""


class OverreadMiddleware:
    """Wraps an ASGI application.

    Parameters
    ----------
    app
        The application.
    policy
        Mode, tier to block from, hold bytes and hold time; the default monitors and never alters a byte.
    scanner
        Shared by all responses; by default one with the shipped rules.
    on_event
        Called with one dict an alarm; it holds no scanned byte and no query string.
    counts
        Where every finished or stopped response is counted, for ``overread calibrate --site``; saving it is the caller's.
    owner
        Whose response it is: the name of the cookie that holds the session, or what tells it from the scope when the response starts. It stands
        for the client in the scanner's registry, and events carry its digest under the scanner's key. Empty or ``None``: the registry takes the
        request's strongest secret.
    """

    def __init__(
        self,
        app: App,
        policy: Policy | None = None,
        scanner: Scanner | None = None,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        counts: SiteCounts | None = None,
        owner: str | Callable[[Scope], str | bytes | None] | None = None,
    ) -> None:
        self.app = app
        self.policy = policy or Policy()
        self.scanner = scanner or Scanner()
        self.counts = counts
        self.owner_of = _from_cookie(owner) if isinstance(owner, str) else owner
        self.on_event = on_event or (lambda event: log.warning("overread %s", event))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection; anything but HTTP passes through."""
        if scope["type"] != "http" or self.policy.mode == "off":
            await self.app(scope, receive, send)
            return
        response = _Response(self, scope, receive, send)
        try:
            await self.app(scope, response.receive, response.send)
        finally:
            response.cancel_timer()
        if response.cut:
            raise ResponseCut("overread cut this response")


class _Response:
    """State of one response: the filter that decides, and what goes to the server."""

    def __init__(self, middleware: OverreadMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
        self.m = middleware
        self.scope = scope
        self.source = receive
        self.out = send
        self.own_body = bytearray()
        self.head: Message | None = None
        self.enforce = middleware.policy.mode == "enforce"
        self.head_out = self.body_out = self.over = self.stopped = self.cut = False
        self.filter: Filter | None = None
        self.trailers: list[tuple[bytes, bytes]] = []
        self.owner: str | bytes = b""
        self.timer: asyncio.Task[None] | None = None
        # The hold timer and the application both send: one at a time, or bytes would change places.
        self.lock = asyncio.Lock()

    async def receive(self) -> Message:
        """Takes the place of the server's ``receive``: the message goes on as it is, at once."""
        message = await self.source()
        if self.filter is None and message["type"] == "http.request":
            self.own_body += message.get("body", b"")[: _OWN_BODY - len(self.own_body)]
        return message

    async def send(self, message: Message) -> None:
        """Takes the place of the server's ``send``."""
        async with self.lock:
            await self.take(message)

    async def take(self, message: Message) -> None:
        """Handles one message; the lock is held."""
        kind = message["type"]
        if self.stopped:
            return
        if kind == "http.response.start":
            await self.start(message)
        elif kind == "http.response.body":
            await self.body(message.get("body", b""), message.get("more_body", False))
        elif kind == "http.response.pathsend":
            with open(message["path"], "rb") as file:
                await self.file(file.fileno(), None, None, False)
        elif kind == "http.response.zerocopysend":
            fd = message["file"] if isinstance(message["file"], int) else message["file"].fileno()
            await self.file(fd, message.get("offset"), message.get("count"), message.get("more_body", False))
        elif kind == "http.response.trailers" and self.filter is not None:
            self.trailers += message.get("headers", ())
            if not message.get("more_trailers", False):
                held = self.filter.trailers(self.trailers)
                held += self.filter.end()
                if await self.obey(held, True):
                    await self.out({"type": "http.response.trailers", "headers": self.trailers, "more_trailers": False})
        else:
            await self.out(message)

    async def file(self, fd: int, offset: int | None, count: int | None, more: bool) -> None:
        async for chunk in _read(fd, offset, count):
            await self.body(chunk, True)
            if self.stopped:
                return
        if not more:
            await self.body(b"", False)

    async def start(self, message: Message) -> None:
        self.head = message
        query = self.scope.get("query_string", b"")
        path = self.scope.get("raw_path") or self.scope["path"].encode()
        request = Request(self.scope["method"], path + (b"?" + query if query else b""), tuple(self.scope.get("headers", ())), bytes(self.own_body))
        self.own_body.clear()
        self.ask_for_owner()
        self.filter = self.m.scanner.filter(
            self.m.policy, status=message["status"], headers=tuple(message.get("headers", ())), request=request, owner=self.owner or None
        )
        if self.filter.verb != "pass":
            await self.stop()
        elif self.filter.head_ready:
            await self.release_head()

    def ask_for_owner(self) -> None:
        if self.m.owner_of is None:
            return
        try:
            self.owner = self.m.owner_of(self.scope) or b""
        except Exception:
            # Nor may this take the site down: the registry then takes the request's strongest secret.
            log.exception("overread: the owner of a response could not be told")

    async def body(self, data: bytes, more: bool) -> None:
        assert self.filter is not None
        assert self.head is not None
        ready = self.filter.body(data)
        last = not more and not self.head.get("trailers", False)
        if last and self.filter.verb == "pass":
            ready += self.filter.end()
        if await self.obey(ready, last, trailing=not more) and self.filter.hold_ms and self.timer is None:
            self.timer = asyncio.create_task(self.flush_later(self.filter.hold_ms / 1000))

    async def obey(self, ready: bytes, last: bool, *, trailing: bool = False) -> bool:
        """Sends what may leave; False when the response is over before its end."""
        assert self.filter is not None
        verb = self.filter.verb
        if verb in ("block", "cut"):
            await self.stop()
            return False
        if verb == "end":
            await self.shorten(ready)
            return False
        if self.filter.head_ready:
            await self.release_head()
        ends = last or (trailing and not self.enforce)
        if (ready or ends or not self.enforce) and not self.body_out:
            self.body_out = ends
            await self.out({"type": "http.response.body", "body": ready, "more_body": not ends})
        if last:
            self.over = True
            self.report()
        return True

    async def shorten(self, ready: bytes) -> None:
        """The body is what has left and ``ready``, also where the head has not left and says otherwise."""
        assert self.head is not None
        assert self.filter is not None
        self.over = self.stopped = True
        self.report()
        fixed = any(bytes(n).lower() == b"content-length" for n, _ in self.head.get("headers", ()))
        late = self.head_out and (fixed or bool(self.head.get("trailers", False)))
        if not self.head_out:
            await self.release_head(length=len(ready))
        await self.out({"type": "http.response.body", "body": ready, "more_body": late})
        if late:
            self.cut = True
            raise ResponseCut("overread shortened this response")

    async def flush_later(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        async with self.lock:
            self.timer = None
            if self.filter is not None and not self.over:
                await self.obey(self.filter.flush(), False)

    def cancel_timer(self) -> None:
        """Ends the hold timer, if one runs."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    async def release_head(self, length: int | None = None) -> None:
        if self.head_out:
            return
        assert self.head is not None
        assert self.filter is not None
        self.head_out = True
        if length is None and not self.filter.no_store:
            await self.out(self.head)
            return
        fields = [(bytes(n), bytes(v)) for n, v in self.filter.headers]  # type: ignore[arg-type] # ASGI has bytes
        if length is not None:
            fields = [(n, v) for n, v in fields if n.lower() != b"content-length"]
            fields.append((b"content-length", str(length).encode()))
        await self.out({**self.head, "headers": fields, "trailers": False} if length is not None else {**self.head, "headers": fields})

    async def stop(self) -> None:
        assert self.filter is not None
        self.over = self.stopped = True
        if not self.head_out:
            self.filter.unsent()
        self.report()
        if self.head_out:
            self.cut = True
            raise ResponseCut("overread cut this response")
        text = f"The response was withheld because it seemed to hold another client's data.\nReference: {self.filter.id}\n".encode()
        head = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode()), (b"cache-control", b"no-store")]
        head.append((b"overread-id", self.filter.id.encode()))
        await self.out({"type": "http.response.start", "status": 502, "headers": head})
        await self.out({"type": "http.response.body", "body": b"" if self.scope["method"] == "HEAD" else text})

    def report(self) -> None:
        """Counts the verdict where the operator wants counts, and hands on the event that is due."""
        assert self.filter is not None
        if self.m.counts is not None:
            self.m.counts.add(self.filter.verdict(), head=True)
        if not self.filter.wants_event:
            return
        hosts = [bytes(v) for n, v in self.scope.get("headers", ()) if bytes(n).lower() == b"host"]
        path = self.scope["path"].encode()
        line = self.filter.event("asgi", self.scope["method"], hosts[0] if hosts else b"", path, unix_ms=int(time.time() * 1000), owner=self.owner)
        if not line:
            return  # left out, as the policy says
        try:
            self.m.on_event(json.loads(line))
        except Exception:
            # A broken event sink must not take the site down.
            log.exception("overread: the event of response %s could not be delivered", self.filter.id)


def _from_cookie(name: str) -> Callable[[Scope], bytes]:
    """The first cookie of that name."""
    prefix = name.encode() + b"="

    def owner(scope: Scope) -> bytes:
        pairs = (pair.strip() for n, v in scope.get("headers", ()) if bytes(n).lower() == b"cookie" for pair in bytes(v).split(b";"))
        return next((pair[len(prefix) :] for pair in pairs if pair.startswith(prefix)), b"")

    return owner


async def _read(fd: int, offset: int | None, count: int | None) -> AsyncIterator[bytes]:
    """Pieces of an open file, from its position or from ``offset``; ``count`` bytes, or all."""
    left = count
    while left is None or left > 0:
        size = _FILE_CHUNK if left is None else min(left, _FILE_CHUNK)
        chunk = await (asyncio.to_thread(os.read, fd, size) if offset is None else asyncio.to_thread(os.pread, fd, size, offset))
        if not chunk:
            return
        yield chunk
        offset = None if offset is None else offset + len(chunk)
        left = None if left is None else left - len(chunk)
