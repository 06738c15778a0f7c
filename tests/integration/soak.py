"""nginx and Envoy with the filter under load and mishap for some seconds: mixed pages, one leak in 1,000, clients that are slow or give up, origins
that break off, reloads, killed workers.

Every clean byte arrives, every leak is stopped, no worker crashes, memory stays, and no request fails but for a reason of ours.

Usage: python -m tests.integration.soak nginx|envoy SECONDS [SEED]
"""

from __future__ import annotations

import asyncio
import gzip
import http.client
import itertools
import json
import math
import os
import random
import re
import secrets
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import brotli
import zstandard
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset

from . import nginx_site
from .envoy_site import running_envoy
from .nginx_site import LISTEN, Nginx
from .processes import end, free_ports, until

HTML = "text/html; charset=utf-8"
PAGES = 120
LARGEST = 300_000  # bytes
LEAK_EVERY = 1000  # requests
MAY_GROW = 8 << 10  # KiB between two moments without a request, of any process; allocators settle late
CLIENTS = 6
TEXT_BEFORE = 100  # bytes of a page before what leaks in it
CODERS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": lambda body: gzip.compress(body, mtime=0),
    "deflate": zlib.compress,
    "br": lambda body: bytes(brotli.compress(body, quality=4)),
    "zstd": lambda body: bytes(zstandard.ZstdCompressor().compress(body)),
}
DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": lambda body: zlib.decompressobj(wbits=31).decompress(body),
    "deflate": lambda body: zlib.decompressobj().decompress(body),
    "br": lambda body: bytes(brotli.Decompressor().process(body)),
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
}


@dataclass(frozen=True)
class Page:
    content_type: str
    coding: str
    chunked: bool
    plain: bytes
    body: bytes  # coded
    leak: bytes  # the page with memory in it, coded
    cuts: tuple[int, ...]  # where the origin begins another write
    pause: float  # before each of them, seconds


class Book:
    """The pages of a seed: the same for the origin and for who checks."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.secret = "".join(rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789", k=32)).encode()
        self.memory = nginx_site.memory(self.secret, 0x7F0000000000 + rng.randrange(1 << 36) * 16)
        self.pages = [self.page(rng, i) for i in range(PAGES)]
        # What a body begins with in its first bytes is no foreign thing in a page: docs/detection.md.
        self.leaking = [i for i, page in enumerate(self.pages) if len(page.plain) > 4 * TEXT_BEFORE]

    def page(self, rng: random.Random, number: int) -> Page:
        size = 0 if number == 0 else int(math.exp(rng.uniform(3, math.log(LARGEST))))
        if number % 4 == 1:
            content_type = "application/json"
            plain = json.dumps([{"id": n, "name": f"item {rng.randrange(10**6)}"} for n in range(size // 34)]).encode()
        else:
            content_type = HTML
            lines = (b"<p>Paragraph %d of page %d: %d.</p>\n" % (n, number, rng.randrange(10**9)) for n in range(size // 44))
            plain = b"<html><body>" + b"".join(lines) + b"</body></html>\n" if size else b""
        coding = rng.choice(("identity", *CODERS))
        at = rng.randrange(min(TEXT_BEFORE, len(plain)), len(plain) + 1)
        body = CODERS[coding](plain) if plain else b""
        cuts = sorted(rng.randrange(len(body)) for _ in range(rng.randrange(6))) if body else []
        leak = CODERS[coding](plain[:at] + self.memory + plain[at:])
        return Page(content_type, coding, rng.random() < 0.5, plain, body, leak, tuple(cuts), rng.choice((0, 0, 0, 0.002, 0.06)))


# ---- the origin: a process of its own ----


async def answer(book: Book, rng: random.Random, target: str, out: asyncio.StreamWriter) -> bool:
    """Whether the connection goes on."""
    _, _, kind, number = target.split("?")[0].split("/")
    page = book.pages[int(number)]
    body = page.leak if kind == "leak" else page.body
    if kind == "garbage":
        # A first line that is no status line would be HTTP/0.9 to nginx, which passes it on as it is.
        out.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\0" + rng.randbytes(200) + b"\r\n\r\n")
        return False
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {page.content_type}\r\nCache-Control: max-age=60\r\n"
    if page.coding != "identity":
        head += f"Content-Encoding: {page.coding}\r\n"
    # A body that is to break off is promised longer than it is.
    promised = len(body) + (1000 if kind in ("short", "reset") else 0)
    head += "Transfer-Encoding: chunked\r\n\r\n" if page.chunked else f"Content-Length: {promised}\r\n\r\n"
    out.write(head.encode())
    cuts = [0, *page.cuts, len(body)] if kind != "leak" else [0, len(body)]
    for start, stop in itertools.pairwise(cuts):
        if start and page.pause:
            await out.drain()
            await asyncio.sleep(page.pause)
        if out.is_closing():
            return False
        if stop > start:
            out.write(b"%x\r\n%s\r\n" % (stop - start, body[start:stop]) if page.chunked else body[start:stop])
    if kind == "spoiled" and page.chunked:
        out.write(b"zz\r\n")
        return False
    if kind == "short":
        return False
    if kind == "reset":
        await out.drain()
        out.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        out.transport.abort()
        return False
    if page.chunked:
        out.write(b"0\r\n\r\n")
    await out.drain()
    return True


async def serve(port: int, seed: int) -> None:
    book, rng = Book(seed), random.Random(seed)

    async def connection(source: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await source.readuntil(b"\r\n\r\n")
                if not await answer(book, rng, head.split(b" ", 2)[1].decode(), out):
                    break
            await out.drain()
        out.close()

    server = await asyncio.start_server(connection, "127.0.0.1", port)
    async with server:
        print("ready", flush=True)
        await server.serve_forever()


@contextmanager
def origin(seed: int) -> Iterator[str]:
    (port,) = free_ports(1)
    argv = [sys.executable, "-m", __spec__.name, "origin", str(port), str(seed)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True, cwd=Path(__file__).resolve().parents[2])
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield f"http://127.0.0.1:{port}"
    finally:
        end(process, signal.SIGTERM, 10)
        process.stdout.close()


# ---- the clients ----


class Broken(Exception):
    """The response broke off; so far these bytes."""


@dataclass
class Stream:
    """What came of a response over HTTP/2."""

    status: int = 0
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False


GOAWAY = 7  # RFC 9113, section 6.8


def whole_frames(data: bytes) -> tuple[list[bytes], bytes]:
    """And what is left (RFC 9113, section 4.1)."""
    frames, at = [], 0
    while len(data) >= at + 9 and len(data) >= (stop := at + 9 + int.from_bytes(data[at : at + 3], "big")):
        frames.append(data[at:stop])
        at = stop
    return frames, data[at:]


def streams(port: int, paths: list[str]) -> list[Stream]:
    """The paths over one connection. curl 7.88 takes some streams that are reset for complete: its pull request 10715."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    connection = H2Connection(H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    asked: dict[int, Stream] = {}
    for path in paths:
        number = connection.get_next_available_stream_id()
        asked[number] = Stream()
        connection.send_headers(number, [(":method", "GET"), (":path", path), (":scheme", "https"), (":authority", "demo")], end_stream=True)
    left = set(asked)
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 20) as plain, context.wrap_socket(plain) as sock:
        sock.sendall(connection.data_to_send())
        received = b""
        while left and (data := sock.recv(65536)):
            frames, received = whole_frames(received + data)
            # A worker that is to end says so, then answers what it was asked; h2 4 refuses all that follows a GOAWAY.
            for event in connection.receive_data(b"".join(frame for frame in frames if frame[3] != GOAWAY)):
                if isinstance(event, ResponseReceived):
                    asked[event.stream_id].status = int(dict(event.headers)[":status"])
                elif isinstance(event, DataReceived):
                    asked[event.stream_id].body += event.data
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    asked[event.stream_id].ended = True
                    left.discard(event.stream_id)
                elif isinstance(event, StreamReset):
                    left.discard(event.stream_id)
            sock.sendall(connection.data_to_send())
    return list(asked.values())


@dataclass
class Load:
    """Clients, and what they find."""

    book: Book
    port: int
    tls_port: int  # for HTTP/2
    places: tuple[str, ...]
    folder: Path
    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)
    failed: list[tuple[float, float, str]] = field(default_factory=list)  # requests that may have been under a killed worker
    lock: threading.Lock = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    next_leak: int = LEAK_EVERY // 10
    busy: int = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        jobs: list[Callable[[random.Random], None]] = [self.ordinary] * (CLIENTS - 3) + [self.slow, self.impatient, self.multiplexed]
        threads = [threading.Thread(target=self.repeat, args=(job, self.seed + i)) for i, job in enumerate(jobs)]
        self.go.set()
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            self.go.set()
            for thread in threads:
                thread.join(60)
                if thread.is_alive():
                    self.fault("a client hangs")

    def repeat(self, job: Callable[[random.Random], None], seed: int) -> None:
        rng = random.Random(seed)
        while not self.stop.is_set():
            self.go.wait()
            with self.lock:
                self.busy += 1
            try:
                job(rng)
            except Exception as e:
                self.fault(f"{job.__name__}: {e!r}")
            finally:
                with self.lock:
                    self.busy -= 1

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """No request is under way."""
        self.go.clear()
        if not until(lambda: self.busy == 0, 30):
            self.fault("clients do not come to rest")
        yield
        self.go.set()

    def fault(self, what: str) -> None:
        with self.lock:
            self.faults.append(what)

    def draw(self, rng: random.Random, *, leaks: bool = True) -> tuple[str, str, Page]:
        """Place, kind and page of the next request."""
        index = rng.randrange(PAGES)
        if next(self.numbers) >= self.next_leak and leaks:
            kind, index = "leak", rng.choice(self.book.leaking)
        else:
            kind = rng.choice(("short", "reset", "spoiled", "garbage")) if rng.random() < 0.03 else "page"
        page = self.book.pages[index]
        # A file has no coding, and no one breaks it off.
        places = [p for p in self.places if p != "static" or (kind == "page" and page.coding == "identity" and page.content_type == HTML)]
        place = rng.choice(places)
        return (f"/static/page/{index}.html" if place == "static" else f"/{place}/{kind}/{index}"), kind, page

    def check(self, path: str, kind: str, page: Page, status: int, body: bytes, *, whole: bool) -> bool:
        """Holds an answer to what may be; False where it may be that of a killed worker."""
        with self.lock:
            self.counts[kind] += 1
            if kind == "leak":  # one that no answer came to is asked for again
                self.next_leak += LEAK_EVERY
        sent = page.leak if kind == "leak" else page.body
        prefix = sent.startswith(body)
        if self.book.secret in body or (status == 200 and self.book.secret in DECODERS[page.coding](body)):
            self.fault(f"{path}: the secret escaped")
        elif kind == "page":
            if status == 200 and body == sent and whole:
                return True
            if whole or not prefix:
                self.fault(f"{path}: {status}, {len(body)} bytes in place of {len(sent)}")
            return False
        elif kind == "leak":
            with self.lock:
                self.counts["502" if status == 502 else "masked" if whole else "cut"] += 1
            masked = "/redact/" in path and page.coding == "identity" and len(body) == len(sent)
            # A stream may be reset before its head has left the proxy's buffers.
            if not ((status == 502 and whole) or (status in (0, 200) and not whole and prefix) or (status == 200 and whole and masked)):
                self.fault(f"{path}: {status}, {len(body)} bytes of {len(sent)}, {whole=}, {prefix=}")
        elif not ((status == 502 and whole) or (status in (0, 503) and not body) or (status == 200 and prefix)):
            self.fault(f"{path}: {status}, {len(body)} bytes of {len(sent)}")
        elif status == 200 and whole and body != sent:
            self.fault(f"{path}: a broken response seems complete")
        return True

    def failure(self, since: float, path: str) -> None:
        with self.lock:
            self.failed.append((since, time.monotonic(), path))

    def ordinary(self, rng: random.Random) -> None:
        """Some requests over one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        for n in range(rng.randrange(1, 30)):
            if self.stop.is_set() or not self.go.is_set():
                break
            path, kind, page = self.draw(rng)
            since = time.monotonic()
            try:
                connection.request("GET", path)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as e:
                connection.close()
                # An idle connection may have been closed by a worker that ends (RFC 9112, section 9.3.1), and a leak's is.
                if n and isinstance(e, http.client.RemoteDisconnected | ConnectionError):
                    with self.lock:
                        self.counts["asked again"] += 1
                    continue
                if kind in ("page", "leak"):
                    self.failure(since, path)
                continue
            try:
                body, whole = response.read(), True
            except http.client.IncompleteRead as e:
                body, whole = e.partial, False
            except OSError:
                body, whole = b"", False
            if not self.check(path, kind, page, response.status, body, whole=whole):
                self.failure(since, path)
        connection.close()

    def connected(self, path: str, window: int | None = None) -> tuple[socket.socket, http.client.HTTPResponse]:
        sock = socket.socket()
        if window:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        sock.settimeout(20)
        sock.connect(("127.0.0.1", self.port))
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n".encode())
        return sock, http.client.HTTPResponse(sock)

    def slow(self, rng: random.Random) -> None:
        """Takes about half a second for a page."""
        path, kind, page = self.draw(rng)
        since = time.monotonic()
        body, status, whole = b"", 0, False
        try:
            sock, response = self.connected(path, 4096)
            with sock, response:
                response.begin()
                status = response.status
                step = max(1024, len(page.body) // 20)
                while part := response.read(step):
                    body += part
                    time.sleep(0.02)
                whole = response.length in (0, None)
        except http.client.IncompleteRead as e:
            body += e.partial
        except (OSError, http.client.HTTPException):
            pass
        if (status or kind == "page") and not self.check(path, kind, page, status, body, whole=whole):
            self.failure(since, path)

    def impatient(self, rng: random.Random) -> None:
        """Gives up in the middle, with a reset."""
        path, _, _ = self.draw(rng, leaks=False)
        with suppress(OSError, http.client.HTTPException):
            sock, response = self.connected(path)
            with sock, response:
                if rng.random() < 0.7:
                    response.begin()
                    response.read(rng.choice((1, 1000, 50_000)))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with self.lock:
            self.counts["given up"] += 1
        time.sleep(0.01)

    def multiplexed(self, rng: random.Random) -> None:
        """Streams of one HTTP/2 connection."""
        asked = [self.draw(rng) for _ in range(20)]
        since = time.monotonic()
        for (path, kind, page), stream in zip(asked, streams(self.tls_port, [path for path, _, _ in asked]), strict=True):
            if not self.check(path, kind, page, stream.status, bytes(stream.body), whole=stream.ended):
                self.failure(since, path)

    def unexplained(self) -> list[str]:
        """Requests that failed while no worker was killed."""
        return [
            f"{path}: failed after {stop - since:.2f} s" for since, stop, path in self.failed if not any(since - 0.2 <= k <= stop + 0.2 for k in self.kills)
        ]


def resident(pid: int | str) -> int:
    """KiB."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0])


def finish(load: Load, events: Path) -> None:
    """What is to be seen from the outside afterwards."""
    if load.counts["page"] < 100 or not load.counts["leak"] or not load.counts["given up"]:
        load.fault(f"too little was asked: {dict(load.counts)}")
    lines = events.read_text().splitlines()
    for line in lines:
        if load.book.secret.decode() in line:
            load.fault("an event shows the secret")
        if "/leak/" not in json.loads(line)["path"]:
            load.fault(f"a clean response raised an alarm: {line[:300]}")
    if not load.kills and len(lines) < load.counts["leak"]:
        load.fault(f"{load.counts['leak']} leaks, {len(lines)} events")
    load.faults += load.unexplained()


def growth(load: Load, pids: Callable[[], list[str]], seconds: float) -> str:
    """Memory at rest, then after so many seconds of load."""
    time.sleep(max(1.0, seconds / 4))
    with load.at_rest():
        early = {pid: resident(pid) for pid in pids()}
    time.sleep(seconds * 3 / 4)
    with load.at_rest():
        late = {pid: resident(pid) for pid in pids()}
    for pid, kib in late.items():
        if pid not in early:
            load.fault("a worker was replaced while none was killed")
        elif kib - early[pid] > MAY_GROW:
            load.fault(f"memory grew by {kib - early[pid]:,} KiB")
    return f"memory at rest {sum(early.values()):,} KiB, then {sum(late.values()):,} KiB"


NGINX = (
    """
  types {{ text/html html; }}
  proxy_http_version 1.1;
  sendfile on;
  root {folder}/site;
  proxy_cache_path {folder}/cache keys_zone=pages:1m;
  overread enforce;
  overread_types *;
  overread_action strong block; overread_action certain block;
  overread_events {folder}/events.jsonl;
  overread_registry memory=1m;
  overread_canary on;
  server {{"""
    + LISTEN
    + """
    proxy_pass_request_headers off;
    location /block/ {{ proxy_pass {origin}; }}
    location /unbuffered/ {{ proxy_buffering off; proxy_pass {origin}; }}
    location /small/ {{ proxy_buffer_size 4k; proxy_buffers 2 4k; proxy_busy_buffers_size 4k; proxy_pass {origin}; }}
    location /redact/ {{ overread_action strong redact; overread_action certain redact; proxy_pass {origin}; }}
    location /cached/ {{ proxy_cache pages; proxy_cache_valid 200 1s; proxy_pass {origin}; }}
    location /static/ {{ }}
    location = /metrics {{ overread_status; }}
  }}
}}
"""
)


def soak_nginx(folder: Path, seconds: float, seed: int) -> Load:
    book = Book(seed)
    (folder / "site/static/page").mkdir(parents=True)
    for i, page in enumerate(book.pages):
        (folder / f"site/static/page/{i}.html").write_bytes(page.body)
    with origin(seed) as url, nginx_site.started(folder, url, NGINX, expected="exited on signal 9") as nginx:
        load = Load(book, nginx.port, nginx.tls_port, ("block", "unbuffered", "small", "redact", "cached", "static"), folder, seed)
        with load.running():
            chaos(load, nginx, seconds / 2)
            print(growth(load, lambda: [str(nginx.process.pid), *workers(nginx)], seconds / 2))
        killed = len(re.findall(r"exited on signal 9\b", nginx.log))
        if killed != len(load.kills):
            load.fault(f"{killed} workers ended by signal 9, of which {len(load.kills)} by us")
        _, _, text = nginx_site.curl(nginx.url("/metrics"))
        if b"overread_errors_total 0\n" not in text:
            load.fault("the filter counts errors")
        finish(load, folder / "events.jsonl")
    return load


def workers(nginx: Nginx) -> list[str]:
    """Without the cache's manager and loader."""
    found = []
    for pid in nginx.workers():
        with suppress(OSError):
            if b"worker process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def chaos(load: Load, nginx: Nginx, seconds: float) -> None:
    """Reloads, and a worker killed between them."""
    rng = random.Random(load.seed)
    until_then = time.monotonic() + seconds
    for n in itertools.count():
        old = set(workers(nginx))
        if n % 2:
            load.kills.append(time.monotonic())
            victim = rng.choice(sorted(old))
            os.kill(int(victim), signal.SIGKILL)
            fine = until(lambda victim=victim: victim not in workers(nginx) and len(workers(nginx)) >= 2, 10)
        else:
            nginx.process.send_signal(signal.SIGHUP)
            fine = until(lambda old=old: len(set(workers(nginx)) - old) >= 2, 10)
        if not fine:
            load.fault("no new worker came")
        if time.monotonic() > until_then:
            break
        time.sleep(min(max(0.3, seconds / 8), 2.0))
    # Old workers wait for their slowest client.
    if not until(lambda: len(workers(nginx)) == 2, 30):
        load.fault("old workers do not end")


def soak_envoy(folder: Path, seconds: float, seed: int) -> Load:
    book = Book(seed)
    events = folder / "events.jsonl"
    events.touch()
    block = "mode=enforce\naction.strong=block\naction.certain=block\nregistry=on\nregistry_memory=1048576\ncanary=on\n"
    routes = [("/redact/", block.replace("=block", "=redact")), ("/block/", block)]
    with origin(seed) as url, running_envoy(folder, url, f"{block}events={events}\n", routes, concurrency=2) as envoy:
        load = Load(book, envoy.port, envoy.tls_port, ("block", "redact"), folder, seed)
        with load.running():
            print(growth(load, lambda: [str(envoy.process.pid)], seconds))
        _, _, text = nginx_site.curl(f"http://127.0.0.1:{envoy.admin_port}/stats/prometheus")
        errors = re.findall(rb"^\w*overread_errors_total\S* (\d+)$", text, re.M)
        if any(map(int, errors)):
            load.fault("the filter counts errors")
        finish(load, events)
    return load


SOAKS: dict[str, Callable[[Path, float, int], Load]] = {"nginx": soak_nginx, "envoy": soak_envoy}


def soak(proxy: str, folder: Path, seconds: float, seed: int) -> list[str]:
    """What went wrong."""
    load = SOAKS[proxy](folder, seconds, seed)
    print(f"{proxy}, seed {seed}, {seconds:g} s: {dict(load.counts)}; {len(load.kills)} workers killed, {len(load.failed)} requests with them")
    return load.faults


def main(arguments: list[str]) -> int:
    if arguments[0] == "origin":
        with suppress(KeyboardInterrupt):
            asyncio.run(serve(int(arguments[1]), int(arguments[2])))
        return 0
    seed = int(arguments[2]) if len(arguments) > 2 else secrets.randbits(32)
    with tempfile.TemporaryDirectory() as folder:
        faults = soak(arguments[0], Path(folder), float(arguments[1]), seed)
    for line in faults[:40]:
        print(line, file=sys.stderr)
    return bool(faults)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
