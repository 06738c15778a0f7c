"""ASGI middleware: scans every HTTP response of an application before it leaves.

Pure ASGI on :class:`overread.Stream`. The head is held until the first decision; a response that is stopped before its
first byte becomes a 502, a later one is cut by raising, which makes the server close without the final chunk.

What the application has read of the request when it starts the response, up to 64 KiB of body, counts as the client's
own and is exempt. File extensions (``pathsend``, ``zerocopysend``) are read here and leave as body bytes. Where trailers
follow, the end of the body waits for them: what they show can still stop it. Early hints pass unscanned.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from .._stream import Scanner, Stream
from ..policy import Policy, Request
from ..site_counts import SiteCounts
from ..verdict import Verdict

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("overread")
_FILE_CHUNK = 1 << 16  # bytes of a file body read at a time
_OWN_BODY = 1 << 16  # bytes of a request body known as the client's own; the core takes no more
# As the core has it: these are never delayed. Other types wait for the first decision.
_FLOWING = (b"text/event-stream", b"application/grpc", b"multipart/x-mixed-replace")
_LINES = (b"ndjson", b"jsonl", b"json-seq")


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
        Shared by all responses; by default one with the policy's hold.
    on_event
        Called with one dict an alarm; it holds no scanned byte and no query string.
    counts
        Where every finished or stopped response is counted, for ``overread calibrate --site``; saving it is the caller's.
    """

    def __init__(
        self,
        app: App,
        policy: Policy | None = None,
        scanner: Scanner | None = None,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        counts: SiteCounts | None = None,
    ) -> None:
        self.app = app
        self.policy = policy or Policy()
        enforcing = self.policy.mode == "enforce"
        self.scanner = scanner or Scanner(threshold=self.policy.block_bits, hold=self.policy.hold if enforcing else 0)
        self.counts = counts
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
        if response.stopped and response.head_out:
            raise ResponseCut("overread cut this response")


class _Response:
    """State of one response: what is held, and the stream that decides."""

    def __init__(self, middleware: OverreadMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
        self.m = middleware
        self.scope = scope
        self.source = receive
        self.out = send
        self.own_body = bytearray()
        self.enforce = middleware.policy.mode == "enforce"
        self.block_bits = middleware.policy.block_bits
        self.id = secrets.token_hex(8)
        self.head: Message | None = None
        self.head_out = self.stopped = self.finished = False
        self.stream: Stream | None = None
        self.held = bytearray()
        self.trailers: list[tuple[bytes, bytes]] = []
        self.sent = 0
        self.timer: asyncio.Task[None] | None = None
        # The hold timer and the application both send: one at a time, or bytes would change places.
        self.lock = asyncio.Lock()

    async def receive(self) -> Message:
        """Takes the place of the server's ``receive``: the message goes on as it is, at once."""
        message = await self.source()
        if self.stream is None and message["type"] == "http.request":
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
            self.start(message)
            assert self.stream is not None
            if self.enforce and self.stream.bits >= self.block_bits:
                # The head alone decides, also where it would not wait for a body.
                self.finished = True
                await self.stop(self.verdict())
            elif not self.enforce or self.flows():
                await self.release_head()
        elif kind == "http.response.body":
            await self.body(message.get("body", b""), message.get("more_body", False))
        elif kind == "http.response.pathsend":
            with open(message["path"], "rb") as file:
                await self.file(file.fileno(), None, None, False)
        elif kind == "http.response.zerocopysend":
            fd = message["file"] if isinstance(message["file"], int) else message["file"].fileno()
            await self.file(fd, message.get("offset"), message.get("count"), message.get("more_body", False))
        elif kind == "http.response.trailers" and self.stream is not None and not self.finished:
            self.trailers += message.get("headers", ())
            if not message.get("more_trailers", False):
                self.stream.trailers(self.trailers)
                await self.end()
                if not self.stopped:
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

    def flows(self) -> bool:
        """Event streams and their like must leave at once."""
        assert self.head is not None
        fields = [(bytes(n).lower(), bytes(v).strip().lower()) for n, v in self.head.get("headers", ())]
        types = [v for n, v in fields if n == b"content-type"]
        return (b"x-accel-buffering", b"no") in fields or any(v.startswith(_FLOWING) or any(word in v for word in _LINES) for v in types)

    def start(self, message: Message) -> None:
        self.head = message
        query = self.scope.get("query_string", b"")
        path = self.scope.get("raw_path") or self.scope["path"].encode()
        request = Request(self.scope["method"], path + (b"?" + query if query else b""), tuple(self.scope.get("headers", ())), bytes(self.own_body))
        self.own_body.clear()
        self.stream = self.m.scanner.stream(status=message["status"], headers=tuple(message.get("headers", ())), request=request)

    async def body(self, data: bytes, more: bool) -> None:
        assert self.stream is not None
        assert self.head is not None
        released = self.stream.feed(data)
        trailing = not more and self.head.get("trailers", False)
        if not self.enforce:
            await self.out({"type": "http.response.body", "body": data, "more_body": more})
            if not more and not trailing:
                await self.end()
            return
        self.held += data
        # The policy's tier decides, whatever threshold the scanner was made with.
        if self.stream.bits >= self.block_bits:
            self.finished = True
            await self.stop(self.verdict())
        elif not more and not trailing:
            await self.end()
        else:
            await self.release(released)
            if self.held and self.timer is None:
                self.timer = asyncio.create_task(self.flush_later())

    async def end(self) -> None:
        """Body and trailers are complete: the last decision."""
        assert self.stream is not None
        self.finished = True
        verdict = self.verdict()
        if self.enforce and verdict.bits >= self.block_bits:
            await self.stop(verdict)
            return
        if self.enforce:
            await self.release_head()
            await self.out({"type": "http.response.body", "body": bytes(self.held), "more_body": False})
        if verdict.tier != "none":
            self.event("log", verdict)

    def verdict(self) -> Verdict:
        """The stream's verdict, counted where the operator wants counts."""
        assert self.stream is not None
        verdict = self.stream.finish()
        if self.m.counts is not None:
            self.m.counts.add(verdict, head=True)
        return verdict

    async def release(self, released: int) -> None:
        n = released - self.sent
        if n <= 0:
            return
        await self.release_head()
        piece = bytes(self.held[:n])
        del self.held[:n]
        self.sent = released
        await self.out({"type": "http.response.body", "body": piece, "more_body": True})

    async def flush_later(self) -> None:
        await asyncio.sleep(self.m.policy.hold_ms / 1000)
        async with self.lock:
            self.timer = None
            if self.stream is not None and not self.stopped and not self.finished:
                await self.release(self.stream.flush())

    def cancel_timer(self) -> None:
        """Ends the hold timer, if one runs."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    async def release_head(self) -> None:
        if not self.head_out:
            assert self.head is not None
            self.head_out = True
            await self.out(self.head)

    async def stop(self, verdict: Verdict) -> None:
        self.stopped = True
        self.held.clear()
        self.event("cut" if self.head_out else "block", verdict)
        if self.head_out:
            raise ResponseCut("overread cut this response")
        text = f"The response was withheld because it seemed to hold another client's data.\nReference: {self.id}\n".encode()
        head = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode()), (b"cache-control", b"no-store")]
        await self.out({"type": "http.response.start", "status": 502, "headers": head})
        await self.out({"type": "http.response.body", "body": b"" if self.scope["method"] == "HEAD" else text})

    def event(self, action: str, verdict: Verdict) -> None:
        data = verdict.to_dict()
        event = {"schema": 1, "id": self.id, "unix_ms": int(time.time() * 1000), "proxy": "asgi", "mode": self.m.policy.mode, "action": action}
        event |= {"method": self.scope["method"], "path": self.scope["path"], "status": self.head["status"] if self.head else 0}
        event |= {k: data[k] for k in ("tier", "bits", "content_class", "decode", "body_bytes", "terms", "findings")}
        try:
            self.m.on_event(event)
        except Exception:
            # A broken event sink must not take the site down.
            log.exception("overread: the event of response %s could not be delivered", self.id)


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
