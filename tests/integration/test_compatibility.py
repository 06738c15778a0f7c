"""Every cell of docs/compatibility.md on the real proxies: the pairs, and with OVERREAD_NGINX_FULL all of them."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import brotli
import pytest
import uvicorn
import zstandard

import overread
from overread import Policy
from overread.proxies.asgi import OverreadMiddleware

from .compatibility import ACTIONS, Cell, cells, outcome, pairs
from .envoy_site import running_envoy
from .nginx_site import FULL_GRID, HTML, LISTEN, MEMORY, PNG, SECRET, STORABLE, Server, seed, started
from .nginx_site import PAGE as HALF
from .processes import free_ports, until

EVENTS = "text/event-stream"
VERSION = {"1.0": "--http1.0", "1.1": "--http1.1", "2": "--http2-prior-knowledge"}
FOREIGN = len(MEMORY) + 512 + 192  # what redaction may mask from the leak on: docs/policy.md

# kind -> content type, and what comes before and after the first bytes have reached the client
EVENT = b"data: hello\n\n"
PAGES: dict[str, tuple[str, bytes, bytes]] = {
    "clean": (HTML, HALF, HALF + b"</body></html>\n"),
    "leak": (HTML, HALF, MEMORY + HALF),
    "image": ("image/png", PNG, b"xy" + MEMORY),
    "clean-events": (EVENTS, EVENT, EVENT * 200),
    "leak-events": (EVENTS, EVENT * 60, b"data: " + MEMORY + b"\n\n" + EVENT * 200),
}


class Zstd:
    def __init__(self) -> None:
        self.made = zstandard.ZstdCompressor().compressobj()

    def packed(self, data: bytes) -> bytes:
        return self.made.compress(data) + self.made.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def end(self) -> bytes:
        return self.made.flush()


class Deflate:
    def __init__(self, wbits: int) -> None:
        self.made = zlib.compressobj(wbits=wbits)

    def packed(self, data: bytes) -> bytes:
        return self.made.compress(data) + self.made.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self.made.flush()


class Brotli:
    def __init__(self) -> None:
        self.made = brotli.Compressor()

    def packed(self, data: bytes) -> bytes:
        return bytes(self.made.process(data) + self.made.flush())

    def end(self) -> bytes:
        return bytes(self.made.finish())


CODERS: dict[str, Callable[[], Any]] = {"gzip": lambda: Deflate(31), "deflate": lambda: Deflate(15), "br": Brotli, "zstd": Zstd}


def partly_decoded(coding: str, data: bytes) -> bytes:
    """What a client reads of a body that may be broken off."""
    if coding == "br":
        return bytes(brotli.Decompressor().process(data))
    if coding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return data if coding == "identity" else zlib.decompressobj(wbits=31 if coding == "gzip" else 15).decompress(data)


@dataclass
class Reply:
    """What the origin sends for /ACTION/CODING/STREAM/KIND/NUMBER."""

    content_type: str
    first: bytes
    rest: bytes
    coding: str
    stream: str
    number: str

    @classmethod
    def to(cls, path: str) -> Reply:
        _, _, coding, stream, kind, number = path.split("/")
        content_type, first, rest = PAGES[kind]
        if coding != "identity":
            coder = CODERS[coding]()
            first = coder.packed(first)
            rest = coder.packed(rest) + coder.end()
        return cls(content_type, first, rest, coding, stream, number)

    @property
    def pauses(self) -> bool:
        return self.stream in ("late", "events")

    @property
    def chunked(self) -> bool:
        return self.stream in ("chunked", "events")

    @property
    def fields(self) -> dict[str, str]:
        fields = {"Content-Type": self.content_type, **STORABLE}
        if self.coding != "identity":
            fields["Content-Encoding"] = self.coding
        if not self.chunked:
            fields["Content-Length"] = str(len(self.first + self.rest))
        return fields


GATES: dict[str, threading.Event] = {}  # number of the request -> its first bytes have reached the client


def go_on(number: str) -> None:
    assert GATES[number].wait(20), "the first bytes never reached the client"


class Origin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        reply = Reply.to(self.path)
        self.send_response(200)
        for name, value in reply.fields.items():
            self.send_header(name, value)
        if reply.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        pieces = [reply.first, reply.rest] if reply.pauses else [reply.first + reply.rest]
        for i, piece in enumerate(pieces):
            if i:
                go_on(reply.number)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if reply.chunked else piece)
        if reply.chunked:
            self.wfile.write(b"0\r\n\r\n")


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The same origin for ASGI."""
    reply = Reply.to(scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": [(n.lower().encode(), v.encode()) for n, v in reply.fields.items()]})
    if not reply.pauses:
        await send({"type": "http.response.body", "body": reply.first + reply.rest})
        return
    await send({"type": "http.response.body", "body": reply.first, "more_body": True})
    await asyncio.to_thread(go_on, reply.number)
    await send({"type": "http.response.body", "body": reply.rest})


@dataclass
class Site:
    """One proxy with a path for each action."""

    port: int
    port2: int  # for HTTP/2
    events: Path
    records: list[dict[str, Any]] = field(default_factory=list)

    def record_of(self, path: str) -> dict[str, Any]:
        def read() -> list[dict[str, Any]]:
            lines = self.events.read_text().splitlines()
            return [json.loads(line) for line in lines if f'"path":"{path}"' in line]

        assert until(read, 10), path
        found = read()
        assert len(found) == 1
        return found[0]


def settings(action: str, line: str, mode: str) -> str:
    made = [mode] if action == "monitor" else []
    name = "block" if action == "monitor" else action
    return "".join(made + [line.format(tier=tier, action=name) for tier in ("strong", "certain")])


@contextmanager
def nginx_site(folder: Path, origin: str) -> Iterator[Site]:
    place = "location {where} {{{{ {lines} proxy_pass {{origin}}; }}}}\n"
    places = ""
    for action in ACTIONS:
        lines = settings(action, "overread_action {tier} {action}; ", "overread monitor; ")
        places += place.format(where=f"/{action}/", lines=lines)
        # Or nginx itself keeps the first bytes until its buffer is full.
        places += place.format(where=f"~ ^/{action}/[a-z]+/(late|events)/", lines=lines + "proxy_buffering off; ")
    text = "proxy_http_version 1.1; overread enforce; overread_types *; overread_events {folder}/events.jsonl; server {{" + LISTEN + places + "}} }}\n"
    with started(folder, origin, text) as nginx:
        yield Site(nginx.port, nginx.port2, folder / "events.jsonl")


@contextmanager
def envoy_site(folder: Path, origin: str) -> Iterator[Site]:
    events = folder / "events.jsonl"
    routes = [(f"/{a}/", settings(a, "action.{tier}={action}\n", "mode=monitor\n")) for a in ACTIONS]
    routes = [(path, text if text.startswith("mode") else "mode=enforce\n" + text) for path, text in routes]
    with running_envoy(folder, origin, f"mode=enforce\nevents={events}", routes, accept_http_10=True) as envoy:
        yield Site(envoy.port, envoy.port, events)


@contextmanager
def asgi_site(folder: Path, origin: str) -> Iterator[Site]:
    events = folder / "events.jsonl"

    def write(event: dict[str, Any]) -> None:
        with events.open("a") as file:
            print(json.dumps(event, separators=(",", ":")), file=file)

    def policy(action: str) -> Policy:
        name = "block" if action == "monitor" else action
        return Policy(mode="monitor" if action == "monitor" else "enforce", action={"strong": name, "certain": name})

    made = {a: OverreadMiddleware(app, policy(a), on_event=write) for a in ACTIONS}

    async def choose(scope: Any, receive: Any, send: Any) -> None:
        await made[scope["path"].split("/")[1]](scope, receive, send)

    (port,) = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(choose, port=port, lifespan="off", ws="none", log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        assert until(lambda: server.started, 20)
        yield Site(port, port, events)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    print("seed", seed)
    server = Server(("127.0.0.1", 0), Origin)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def nginx(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with nginx_site(tmp_path_factory.mktemp("nginx"), origin) as site:
        yield site


@pytest.fixture(scope="module")
def envoy(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with envoy_site(tmp_path_factory.mktemp("envoy"), origin) as site:
        yield site


@pytest.fixture(scope="module")
def asgi(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with asgi_site(tmp_path_factory.mktemp("asgi"), origin) as site:
        yield site


@dataclass
class Answer:
    code: int  # curl's exit code
    status: int
    fields: dict[str, str]
    body: bytes


numbers = itertools.count()


def ask(site: Site, cell: Cell, kind: str, folder: Path) -> tuple[str, Answer]:
    number = str(next(numbers))
    GATES[number] = threading.Event()
    path = f"/{cell.action}/{cell.coding}/{cell.stream}/{kind}/{number}"
    port = site.port2 if cell.http == "2" else site.port
    head = folder / number
    argv = ["curl", "-sN", "-m", "20", VERSION[cell.http], "-D", str(head), f"http://127.0.0.1:{port}{path}"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as run:
        assert run.stdout is not None
        body = run.stdout.read(1)
        GATES[number].set()
        body += run.stdout.read()
        code = run.wait(30)
    lines = head.read_text().splitlines() if head.exists() else [""]
    status = lines[0].split(" ")[1] if lines and lines[0] else "0"
    fields = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines[1:] if line)}
    return path, Answer(code, int(status), fields, body)


def is_unaltered(answer: Answer, reply: Reply) -> None:
    assert (answer.code, answer.status) == (0, 200)
    assert answer.body == reply.first + reply.rest


def is_to_be_stored(answer: Answer, reply: Reply) -> None:
    for name in (*STORABLE, "Content-Type", *(["Content-Encoding"] if reply.coding != "identity" else [])):
        assert answer.fields.get(name.lower()) == reply.fields[name]
    assert "x-robots-tag" not in answer.fields


def obeys(cell: Cell, answer: Answer, reply: Reply, *, container: bool = False) -> None:
    """Holds an answer to a leak to the law."""
    law = outcome(cell, container=container)
    whole = reply.first + reply.rest
    start = whole.find(MEMORY)
    if law.became == "502":
        assert (answer.code, answer.status, answer.fields["cache-control"]) == (0, 502, "no-store")
        assert SECRET not in answer.body
        assert answer.body[:20] not in whole or not answer.body
        return
    assert answer.status == 200
    assert (answer.code == 0) == law.ends_well, answer.code
    if law.no_store:
        assert (answer.fields["cache-control"], answer.fields["x-robots-tag"]) == ("no-store", "noindex, noarchive")
        assert not {"etag", "last-modified", "expires"} & set(answer.fields)
    else:
        is_to_be_stored(answer, reply)
    if law.became == "whole":
        assert answer.body == whole
        return
    assert SECRET not in partly_decoded(cell.coding, answer.body)
    if law.became == "masked":
        assert len(answer.body) == len(whole)
        assert answer.body[:start] == whole[:start]
        assert all(a == b or a == ord("*") for a, b in zip(answer.body, whole, strict=True))
        assert answer.body[start + FOREIGN :] == whole[start + FOREIGN :]
        assert cell.stream == "events" or overread.Scanner().scan(answer.body, reply.content_type).tier == "none"
    else:
        assert whole.startswith(answer.body)
        assert len(answer.body) > 0
        if law.became == "shorter" and container:
            assert answer.body == PNG
        elif law.became == "shorter":
            assert len(answer.body) <= start + 8  # a pointer's low byte may be a letter
            if cell.stream == "length":
                assert int(answer.fields["content-length"]) == len(answer.body)


@pytest.mark.parametrize("cell", list(cells()) if FULL_GRID else pairs(), ids=str)
def test_a_cell(cell: Cell, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    site: Site = request.getfixturevalue(cell.proxy)
    suffix = "-events" if cell.stream == "events" else ""
    clean, answer = ask(site, cell, "clean" + suffix, tmp_path)
    is_unaltered(answer, Reply.to(clean))
    is_to_be_stored(answer, Reply.to(clean))
    kinds = ["leak" + suffix]
    if cell.action == "trim" and not suffix:
        kinds.append("image")
    for kind in kinds:
        path, answer = ask(site, cell, kind, tmp_path)
        container = kind == "image"
        obeys(cell, answer, Reply.to(path), container=container)
        record = site.record_of(path)
        law = outcome(cell, container=container)
        monitors = cell.action == "monitor"
        assert (record["action"], record["mode"], record.get("would")) == (
            law.done,
            "monitor" if monitors else "enforce",
            "block" if monitors else None,
        )
    # Events come in order: the clean page has none by now.
    assert clean not in site.events.read_text()


def test_codings_here_are_what_others_make() -> None:
    for coding, read in (("gzip", gzip.decompress), ("deflate", zlib.decompress), ("br", brotli.decompress)):
        reply = Reply.to(f"/log/{coding}/length/leak/0")
        assert read(reply.first + reply.rest) == HALF + MEMORY + HALF
    reply = Reply.to("/log/zstd/length/leak/0")
    assert zstandard.ZstdDecompressor().stream_reader(reply.first + reply.rest).read() == HALF + MEMORY + HALF
