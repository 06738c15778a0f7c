"""An origin whose visitors sign in, and which then shows to one what is another's, in plain valid text; and what memory holds."""

from __future__ import annotations

import random
import re
import string
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import overread

from .nginx_site import ROOT, Server

CANARY = re.compile(rb"oc[0-9a-f]{44}")
LETTERS = string.ascii_letters + string.digits
TOP = "<!DOCTYPE html>\n<html><head><title>Harbour Books</title></head>\n<body><h1>Orders</h1>\n"
TEXT = "<p>Thank you, your parcel is on its way.</p>\n" * 20
END = "</body></html>\n"


_CHANCE = random.Random(7)


def new_session() -> str:
    """A session whose beginning the registry keeps; of one in 270 it keeps no piece, or none that a page shows."""
    while True:
        drawn = "".join(_CHANCE.choices(LETTERS, k=32))
        with suppress(ValueError):
            overread.SecretRegistry(memory=1 << 16).plant(drawn[:16])
            return drawn


class Recorder:
    """Reads as the stream does, and keeps what was read."""

    def __init__(self, stream: Any, seen: bytearray) -> None:
        self.stream, self.seen = stream, seen

    def readline(self, *limit: int) -> bytes:
        line: bytes = self.stream.readline(*limit)
        self.seen += line
        return line

    def read(self, *size: int) -> bytes:
        data: bytes = self.stream.read(*size)
        self.seen += data
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@dataclass
class Shop:
    """`/login?as=NAME` issues a session; `/shown` has what the test put there; `/hold` waits."""

    url: str = ""
    sessions: dict[str, str] = field(default_factory=dict)
    shown: str = ""  # stands in the middle of /shown
    held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    seen: bytearray = field(default_factory=bytearray)  # every byte of every request

    def cookie(self, name: str) -> str:
        return f"session={self.sessions[name]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    shop: Shop

    def setup(self) -> None:
        super().setup()
        self.rfile = Recorder(self.rfile, self.shop.seen)  # type: ignore[assignment] # of the stream's methods those that are used

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, body: str, content_type: str = "text/html; charset=utf-8", **fields: str) -> None:
        data = body.encode()
        self.send_response(200)
        for name, value in ({"Content-Type": content_type, "Content-Length": str(len(data))} | fields).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        shop = self.shop
        if parts.path == "/login":
            name = parse_qs(parts.query)["as"][0]
            session = shop.sessions[name] = new_session()
            self.answer(TOP + TEXT + END, Set_Cookie=f"session={session}; Path=/; HttpOnly; SameSite=Lax")
        elif parts.path == "/token":
            name = parse_qs(parts.query)["as"][0]
            session = shop.sessions[name] = new_session()
            self.answer(f'{{"access_token": "{session}", "token_type": "Bearer"}}\n', "application/json")
        elif parts.path in ("/shown", "/page-shown"):
            self.answer(TOP + TEXT + f"<p>Last parcel: {shop.shown} </p>\n" + TEXT + END)
        elif parts.path in ("/hold", "/hold-and-show"):
            shop.held.set()
            shop.release.wait(20)
            self.answer(TOP + TEXT + (shop.shown if parts.path == "/hold-and-show" else "") + END)
        else:
            self.answer(TOP + TEXT + END)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()


@contextmanager
def running_shop() -> Iterator[Shop]:
    shop = Shop()
    server = Server(("127.0.0.1", 0), type("ShopHandler", (Handler,), {"shop": shop}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    shop.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield shop
    finally:
        shop.release.set()
        server.shutdown()
        server.server_close()


def writable_memory(pid: int | str) -> Iterator[bytes]:
    """The pieces of a process's memory that it may write to."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            start, end = (int(part, 16) for part in span.split("-"))
            if not rights.startswith("rw") or "[v" in line:
                continue
            try:
                memory.seek(start)
                yield memory.read(end - start)
            except (OSError, ValueError):
                continue


def held_canaries(shop: Shop, ask: Callable[[], object], processes: Iterable[int | str]) -> tuple[set[bytes], bytes]:
    """What the memory of processes holds while a request that the shop holds is under way, and the memory around its canaries."""
    shop.held.clear()
    shop.release.clear()
    client = threading.Thread(target=ask)
    client.start()
    try:
        assert shop.held.wait(10)
        found: set[bytes] = set()
        around = b""
        for process in processes:
            for piece in writable_memory(process):
                for match in CANARY.finditer(piece):
                    found.add(match[0])
                    around += piece[max(0, match.start() - 64) : match.end() + 200] + b"\n"
        return found, around
    finally:
        shop.release.set()
        client.join(20)


def the_canary_of(shop: Shop, cookie: str, held: tuple[set[bytes], bytes]) -> str:
    """The one of a request with that cookie. Its memory has it before and behind the Cookie's value, as a server's own; the shop got none."""
    (canary,), around = held
    assert b"cookie: overread-canary=" + canary + b"; " + cookie.encode() + b"\0overread-canary: " + canary + b"\r\n\0" in around
    assert cookie.encode() in shop.seen
    assert canary not in shop.seen
    assert b"overread" not in shop.seen.lower()
    return canary.decode()


def documented_metrics() -> set[str]:
    """The registry's, without the common prefix."""
    return set(re.findall(r"`overread_(registry_\w+)`", (ROOT / "docs/policy.md").read_text()))


def pieces_of(value: str, size: int = 12) -> Iterator[bytes]:
    """Every substring of so many bytes."""
    data = value.encode()
    for i in range(len(data) - size + 1):
        yield data[i : i + size]
