"""Debian's nginx with the module, before an origin that spills memory; and clients of both."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from . import processes
from .processes import free_ports

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "build/nginx/ngx_http_overread_module.so"
PROTOCOLS = ("--http1.1", "--http2-prior-knowledge")
FULL_GRID = bool(os.environ.get("OVERREAD_NGINX_FULL"))  # every combination, for make test-full and make soak

seed = secrets.randbits(32)
rng = random.Random(seed)
SECRET = "".join(rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789", k=32)).encode()
POINTER = 0x7F0000000000 + rng.randrange(1 << 36) * 16
OWN = "".join(rng.choices("abcdefghjkmnpqrstuvwxyz23456789", k=32))  # the client's own session


def memory(secret: bytes, pointer: int) -> bytes:
    """Another client's request as it lies in a buffer that is sent too far."""
    return (
        b"".join((pointer + 16 * i).to_bytes(8, "little") for i in (0, 3, 9, 12))
        + b"\xff\xfe\x03\0\0\0"
        + b"\r\nCookie: session="
        + secret
        + b"\r\nReferer: https://shop.example/cart\r\nUser-Agent: Mozilla/5.0\r\n\r\n"
    )


MEMORY = memory(SECRET, POINTER)
PAGE = b"<html><body>" + b"<p>An ordinary paragraph of an ordinary page.</p>\n" * 40
LONG = b"<html><body>" + b"".join(b"<p>Paragraph %d of a long page.</p>\n" % i for i in range(60_000)) + b"</body></html>\n"
LEAK = PAGE + MEMORY + PAGE
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\x02IDATab....\0\0\0\0IEND\xaeB`\x82"
STORABLE = {"Cache-Control": "max-age=600", "ETag": '"1"', "Last-Modified": "Mon, 05 Jan 2026 10:00:00 GMT", "Expires": "Mon, 05 Jan 2032 10:00:00 GMT"}

Script = Iterable[bytes | float]  # pieces, and pauses between them in seconds
HTML = "text/html; charset=utf-8"


class Pages:
    """Clean pieces of 8000 bytes, each different, then the tail."""

    def __init__(self, count: int, *tail: bytes | float) -> None:
        self.count, self.tail = count, tail

    def __iter__(self) -> Iterator[bytes | float]:
        for i in range(self.count):
            yield b"<p>Page %08d</p>" % i + LONG[:7980]
        yield from self.tail


CHUNKED: dict[str, tuple[str, Script]] = {
    "/chunked": (HTML, [PAGE, b"x", PAGE * 3, b"</body></html>\n"]),
    "/long-chunked": (HTML, [LONG[i : i + 7919] for i in range(0, len(LONG), 7919)]),
    "/slow": (HTML, [PAGE, 0.15, PAGE, 0.15, b"</body></html>\n"]),
    "/leak-chunked": (HTML, [PAGE, MEMORY, PAGE]),
    "/late-leak": (HTML, [PAGE * 30, 0.4, PAGE + MEMORY, PAGE]),
    "/split-leak": (HTML, [PAGE, *(MEMORY[i : i + 5] for i in range(0, len(MEMORY), 5)), PAGE]),
    "/stream": ("text/plain", [b"first\n", 1.5, b"second\n"]),
    "/huge": (HTML, Pages(8000)),
    "/big": (HTML, Pages(1500)),
    "/burst": (HTML, Pages(1500, 4.0, b"end")),
    "/quiet": (HTML, [PAGE, 4.0, b"end"]),
    "/leak-at-end": (HTML, [LONG[:-20]] * 6 + [MEMORY, PAGE]),
    "/late-fixed": (HTML, [PAGE * 30, 0.4, PAGE + MEMORY, PAGE]),
    "/leak-and-silence": (HTML, [PAGE * 30, 0.3, PAGE + MEMORY, PAGE * 30, 8.0, b"end"]),
    "/image-chunked": ("image/png", [PNG[:20], PNG[20:] + b"xy" + MEMORY[:50], MEMORY[50:]]),
    "/leak-events": ("text/event-stream", [b"data: hello\n\n"] * 60 + [b"data: " + MEMORY + b"\n\n", b"data: last\n\n", 1.5, b"data: end\n\n"]),
    "/leak-and-much": (HTML, [LEAK, *Pages(1500)]),
    "/events": ("text/event-stream", [b"data: first\n\n", 1.5, b"data: second\n\n"]),
}
FIXED = {
    "/page": (HTML, PAGE + b"</body></html>\n"),
    "/long": (HTML, LONG),
    "/json": ("application/json", json.dumps([{"id": i} for i in range(500)]).encode()),
    "/nothing": (HTML, b""),
    "/leak": (HTML, LEAK),
    "/image": ("image/png", PNG + b"xy" + MEMORY),
    "/other-type": ("application/yaml", LEAK),
}


class Origin(BaseHTTPRequestHandler):
    """Pages by the last part of the path."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def send(self, content_type: str, body: bytes, **fields: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (STORABLE | fields).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path = "/" + self.path.partition("?")[0].rpartition("/")[2]
        if path in FIXED:
            self.send(*FIXED[path], Accept_Ranges="bytes")
        elif path in CHUNKED:
            content_type, script = CHUNKED[path]
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            for name, value in STORABLE.items():
                self.send_header(name, value)
            fixed = path.endswith("-fixed")
            if fixed:
                self.send_header("Content-Length", str(sum(len(piece) for piece in script if isinstance(piece, bytes))))
            else:
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in script:
                if isinstance(piece, bytes):
                    self.wfile.write(piece if fixed else b"%x\r\n%s\r\n" % (len(piece), piece))
                else:
                    time.sleep(piece)
            if not fixed:
                self.wfile.write(b"0\r\n\r\n")
        elif path in ("/gzip", "/gzip-leak"):
            self.send(HTML, gzip.compress(PAGE if path == "/gzip" else LEAK, mtime=0), Content_Encoding="gzip")
        elif path == "/gzip-broken":
            self.send(HTML, gzip.compress(PAGE, mtime=0)[:40] + bytes(40), Content_Encoding="gzip")
        elif path == "/part":  # a range that the origin cuts itself
            self.send_response(206)
            for name, value in {"Content-Type": HTML, "Content-Length": str(len(LEAK)), "Content-Range": f"bytes 0-{len(LEAK) - 1}/999999"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(LEAK)
        elif path == "/empty":
            self.send_response(204)
            self.end_headers()
        elif path == "/echo":
            self.send(HTML, PAGE + b"\r\n".join(f"{n}: {v}".encode() for n, v in self.headers.items()) + b"\r\n\r\n")
        elif path == "/broken":  # less than was promised
            self.send_response(200)
            self.send_header("Content-Type", HTML)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(PAGE)
            self.close_connection = True
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.send(HTML, PAGE + self.rfile.read(int(self.headers["Content-Length"])))


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients that are cut off are what these tests are about."""


@contextmanager
def running_origin() -> Iterator[str]:
    print("seed", seed)
    server = Server(("127.0.0.1", 0), Origin)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Nginx:
    folder: Path
    port: int
    port2: int
    tls_port: int
    process: subprocess.Popen[bytes]

    def url(self, path: str, protocol: str = "--http1.1") -> str:
        return f"http://127.0.0.1:{self.port if protocol == '--http1.1' else self.port2}{path}"

    def workers(self) -> list[str]:
        return Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()

    @property
    def log(self) -> str:
        return (self.folder / "error.log").read_text()

    @property
    def events(self) -> list[str]:
        return (self.folder / "events.jsonl").read_text().splitlines()


HEAD = """load_module {module};
user root;
worker_processes 2;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log notice;
events {{ worker_connections 512; }}
http {{
  access_log {folder}/access-all.log;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
"""

# The ports and keys of started().
LISTEN = """
    listen 127.0.0.1:{port};
    listen 127.0.0.1:{port2} http2;
    listen 127.0.0.1:{tls_port} ssl http2;
    ssl_certificate {folder}/cert.pem;
    ssl_certificate_key {folder}/key.pem;
"""
SITE = (
    """
  types {{ text/html html; text/plain txt; image/jpeg jpg; }}
  log_format overread '$uri $status tier=$overread_tier bits=$overread_bits rules=$overread_rules action=$overread_action id=$overread_id';
  access_log {folder}/access.log overread;
  proxy_cache_path {folder}/cache keys_zone=pages:1m;
  proxy_http_version 1.1;
  sendfile on;
  root {folder}/site;
  overread enforce;
  overread_block_from strong;
  overread_events {folder}/events.jsonl;
  server {{"""
    + LISTEN
    + """
    location / {{ proxy_pass {origin}; }}
    location /static/ {{ }}
    location /ssi/ {{ ssi on; }}
    location /monitor/ {{ overread monitor; proxy_pass {origin}; }}
    location /off/ {{ overread off; proxy_pass {origin}; }}
    location /certain/ {{ overread_hold 0; proxy_pass {origin}; }}
    location /unbuffered/ {{ proxy_buffering off; proxy_pass {origin}; }}
    location /impatient/ {{ send_timeout 1s; proxy_pass {origin}; }}
    location /impatient/unbuffered/ {{ send_timeout 1s; proxy_buffering off; proxy_pass {origin}; }}
    location /throttled/ {{ limit_rate 1500; proxy_pass {origin}; }}
    location /throttled/unbuffered/ {{ limit_rate 1500; proxy_buffering off; proxy_pass {origin}; }}
    location /small-buffers/ {{ proxy_buffer_size 1k; proxy_buffers 2 1k; proxy_busy_buffers_size 1k; proxy_pass {origin}; }}
    location /gz/ {{ gzip on; gzip_min_length 1; proxy_pass {origin}; }}
    location /gunzip/ {{ gunzip on; proxy_pass {origin}; }}
    location /all/ {{ overread_types *; proxy_pass {origin}; }}
    location /first-bytes/ {{ overread_max_body 1k; proxy_pass {origin}; }}
    location /cache/ {{ proxy_cache pages; proxy_cache_valid 200 1h; add_header X-Cache $upstream_cache_status; proxy_pass {origin}; }}
    location /cache/unwatched/ {{ overread off; proxy_cache pages; proxy_cache_key fixed; proxy_cache_valid 200 1h; proxy_pass {origin}; }}
    location /cache/watched/ {{ proxy_cache pages; proxy_cache_key fixed; proxy_cache_valid 200 1h; proxy_pass {origin}; }}
    location /store/ {{ proxy_store {folder}/stored/$uri; proxy_store_access user:rw; proxy_pass {origin}; }}
    location /trailers/ {{ add_trailer X-Checked yes; proxy_pass {origin}; }}
    location /plain/ {{ overread off; alias {folder}/site/static/; }}
    location /slice/ {{ slice 16k; proxy_set_header Range $slice_range; proxy_pass http://127.0.0.1:{port}/plain/; }}
    location /sub/ {{ sub_filter 'long page' 'long PAGE'; sub_filter_once off; proxy_pass {origin}; }}
    location /added/ {{ add_before_body /page; add_after_body /leak; proxy_pass {origin}; }}
    location /added/clean/ {{ add_before_body /page; add_after_body /long; proxy_pass {origin}; }}
    location /added/slow/ {{ proxy_buffering off; add_before_body /unbuffered/big; add_after_body /big; proxy_pass {origin}; }}
    location /asked/ {{ auth_request /page; proxy_pass {origin}; }}
    location /errors/ {{ proxy_intercept_errors on; error_page 404 /static/page.html; proxy_pass {origin}; }}
  }}
}}
"""
)


def until(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    return processes.until(condition, seconds)


def check(folder: Path, text: str) -> tuple[int, str]:
    """Exit status and messages of `nginx -t`."""
    (folder / "nginx.conf").write_text(HEAD.format(module=MODULE, folder=folder) + text)
    done = subprocess.run(["nginx", "-t", "-p", str(folder), "-c", str(folder / "nginx.conf")], capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stderr


@contextmanager
def started(folder: Path, origin: str, site: str = SITE, head: str = HEAD, expected: str = "no alert is") -> Iterator[Nginx]:
    assert MODULE.is_file(), "build the module first: make nginx"
    port, port2, tls_port = free_ports(3)
    values = {"module": MODULE, "folder": folder, "origin": origin, "port": port, "port2": port2, "tls_port": tls_port}
    processes.make_certificate(folder)
    for name in ("site/static", "site/ssi", "stored"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "nginx.conf").write_text((head + site).format(**values))
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")], stdout=out, stderr=subprocess.STDOUT, start_new_session=True, cwd=folder
        )
    nginx = Nginx(folder, port, port2, tls_port, process)

    def listening() -> bool:
        assert process.poll() is None, (folder / "out").read_text()
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    try:
        assert until(listening)
        yield nginx
        log = "\n".join(line for line in nginx.log.splitlines() if expected not in line)
        assert not re.search(r"\[(alert|emerg)\]|exited on signal", log), log[-4000:]
    finally:
        processes.end(process, signal.SIGTERM, 10)


def curl(url: str, *flags: str) -> tuple[int, int, bytes]:
    """curl's exit code, the status and the body."""
    run = subprocess.run(["curl", "-s", "-m", "20", "-w", "\n%{http_code}", *flags, url], capture_output=True, timeout=30, check=False)
    body, _, status = run.stdout.rpartition(b"\n")
    return run.returncode, int(status), body


def event_of(nginx: Nginx, path: str) -> dict[str, object]:
    lines: list[str] = []

    def found() -> bool:
        lines[:] = [line for line in nginx.events if f'"path":"{path}"' in line]
        return bool(lines)

    assert until(found), path
    assert all(SECRET not in line.encode() and "?" not in line for line in lines)
    event: dict[str, object] = json.loads(lines[-1])
    return event


def cached(nginx: Nginx, folder: str = "cache") -> bytes:
    found = b""
    for path in (nginx.folder / folder).rglob("*"):
        if path.is_file():
            with suppress(FileNotFoundError):  # nginx moves and deletes them meanwhile
                found += path.read_bytes()
    return found
