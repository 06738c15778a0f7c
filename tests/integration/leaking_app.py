"""A small ASGI application with a buffer that is never cleared: served by the ASGI tests on uvicorn."""

import asyncio
import os
import random
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

from overread import Policy
from overread.proxies.asgi import OverreadMiddleware
from tests.integration.heavy import heavy_scanner

rng = random.Random(int(os.environ["OVERREAD_TEST_SEED"]))
SECRET = "".join(rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789", k=32))
PAGE = b"<html><body>" + b"<p>An ordinary paragraph of an ordinary page.</p>\n" * 40
POINTER = 0x7F0000000000 + rng.randrange(1 << 36) * 16
MEMORY = (
    b"".join((POINTER + 16 * i).to_bytes(8, "little") for i in (0, 3, 9, 12))
    + b"\xff\xfe\x03\0\0\0"
    + f"\r\nCookie: session={SECRET}\r\nReferer: https://shop.example/cart\r\nUser-Agent: Mozilla/5.0\r\n\r\n".encode()
)
FILE = tempfile.NamedTemporaryFile(suffix=".html", delete=False)  # noqa: SIM115 - lives as long as the server
FILE.write(PAGE * 40 + b"</body></html>")
FILE.close()

BOARD: list[bytes] = []


Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Any, send: Send) -> None:
    """Pages by path."""
    if scope["type"] != "http":
        return
    path = scope["path"]
    html = [(b"content-type", b"text/html; charset=utf-8")]

    async def reply(status: int, headers: list[tuple[bytes, bytes]], *chunks: bytes, pause: float = 0) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await asyncio.sleep(pause)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    if path == "/leak":
        await reply(200, html, PAGE, MEMORY, PAGE)
    elif path == "/late-leak":
        await reply(200, html, PAGE * 30, MEMORY, PAGE, pause=0.05)
    elif path == "/events":
        events = [(b"content-type", b"text/event-stream")]
        await reply(200, events, *(b"data: %d\n\n" % i for i in range(4)), pause=0.4)
    elif path == "/file":
        await send({"type": "http.response.start", "status": 200, "headers": html})
        await send({"type": "http.response.pathsend", "path": FILE.name})
    elif path == "/empty":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
    elif path == "/echo":
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        BOARD.append(body)
        await reply(200, html, body)
    elif path == "/board":
        await reply(200, html, BOARD[-1])
    elif path == "/pipe":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        while True:
            message = await receive()
            await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": message.get("more_body", False)})
            if not message.get("more_body"):
                break
    elif path == "/unchanged":
        await send({"type": "http.response.start", "status": 304, "headers": [(b"etag", b'"1"')]})
        await send({"type": "http.response.body", "body": b""})
    elif path in ("/bad-head", "/bad-head-events"):
        kind = b"text/event-stream" if path.endswith("events") else b"text/html; charset=utf-8"
        await reply(200, [(b"content-type", kind), (b"allow", b"GET,HEAD,OPTIONS,,HEAD,:09:44 GMT")], b"data: 1\n\n")
    elif path == "/slow":
        await reply(200, html, PAGE, PAGE, b"</body></html>", pause=0.2)
    else:
        await reply(200, html, PAGE, b"</body></html>")


def log_event(event: dict[str, Any]) -> None:
    """One line an event, where the test reads it."""
    print("EVENT", event, flush=True)


guarded = OverreadMiddleware(app, Policy(mode="enforce", block_from="strong"), on_event=log_event)
watched = OverreadMiddleware(app, Policy(mode="monitor"), on_event=log_event)
heavy = OverreadMiddleware(app, Policy(mode="enforce", block_from="weak"), scanner=heavy_scanner(), on_event=log_event)
