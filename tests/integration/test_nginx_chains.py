"""The nginx filter behind a producer of random buffer chains (tests/native/ngx_http_chains_module.c): what leaves is what one piece would give."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import random
import secrets
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import overread
from overread import Policy

from .nginx_site import FULL_GRID, HEAD, LISTEN, ROOT, Nginx, memory, started, until
from .test_nginx_slow_clients import Http2

SECONDS = float(os.environ.get("OVERREAD_CHAINS_SECONDS", "60" if FULL_GRID else "4"))
CLIENTS = 4
HTML = "text/html"
TREE = ROOT / "build/nginx/tree"
INCLUDES = ("src/core", "src/event", "src/event/modules", "src/os/unix", "objs", "src/http", "src/http/modules", "src/http/v2")
ACTIONS = ("monitor", "log", "no-store", "redact", "truncate", "block")
# What stands before or behind the filter, and decides which buffers it sees and when they are given back.
WAYS = {
    "plain": "",
    "gz": "gzip on; gzip_min_length 1;",
    "file": "sendfile on; output_buffers 2 1k;",
    "threads": "aio threads; sendfile on;",
    "small": "overread_hold 100;",
    "postponed": "postpone_output 0;",
}


def location(action: str, way: str) -> str:
    mode = "overread monitor; " if action == "monitor" else ""
    name = "block" if action == "monitor" else action
    actions = f"overread_action strong {name}; overread_action certain {name};"
    return f"location /{action}/{way}/ {{{{ {mode}{actions} {WAYS[way]} alias {{folder}}/bodies/; chains; }}}}\n"


SITE = (
    """
  types {{ text/html html; }}
  overread enforce;
  overread_hold_ms 60s;
  overread_events {folder}/events.jsonl;
  server {{"""
    + LISTEN
    + "".join(location(action, way) for action in ACTIONS for way in WAYS)
    + "  }}\n}}\n"
)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("module") / "ngx_http_chains_module.so"
    flags = ["-shared", "-fPIC", "-O1", "-g", "-Wall", "-Werror", *(f"-I{TREE / folder}" for folder in INCLUDES)]
    subprocess.run(["cc", *flags, str(ROOT / "tests/native/ngx_http_chains_module.c"), "-o", str(made)], check=True, timeout=60)
    return made


class Bodies:
    """Files of a seed: odd ones leak."""

    def __init__(self, rng: random.Random, folder: Path) -> None:
        self.secret = "".join(rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789", k=32)).encode()
        self.bodies = []
        folder.mkdir()
        for i in range(24):
            size = int(2 ** rng.uniform(8, 18)) if i else 0
            lines = (b"<p>Paragraph %d: %d.</p>\n" % (n, rng.randrange(10**9)) for n in range(size // 30))
            body = b"<html><body>" + b"".join(lines) + b"</body></html>\n" if i else b""
            if i % 2:
                spilt = memory(self.secret, 0x7F0000000000 + rng.randrange(1 << 36) * 16)
                at = rng.randrange(100, len(body) - 16)
                body = body[:at] + spilt + body[at:]
            (folder / f"{i}.html").write_bytes(body)
            self.bodies.append(body)
        scanner = overread.Scanner()
        self.verdicts = [scanner.scan(body, HTML) for body in self.bodies]
        assert [v.tier in ("strong", "certain") for v in self.verdicts] == [bool(i % 2) for i in range(len(self.bodies))]

    def masked(self, i: int, hold: int) -> bytes:
        """In one piece."""
        one = overread.Scanner().filter(Policy(mode="enforce", hold=hold, action={"strong": "redact", "certain": "redact"}), headers=[("Content-Type", HTML)])
        body = one.body(self.bodies[i])
        return body + one.end()


def get(nginx: Nginx, path: str, protocol: str, *, slow: bool) -> tuple[int, bytes, bool, str | None]:
    """Status, body, whether that is all of it, and its coding."""
    if protocol == "h2":
        with socket.create_connection(("127.0.0.1", nginx.port2), 10) as sock:
            client = Http2(sock, path, (1 << 31) - 1)
            body, whole = b"", True
            try:
                for part in client.parts():
                    body += part
            except TimeoutError:
                raise
            except (AssertionError, OSError):
                whole = False
            client.close()
            return (200 if body or whole else 0), body, whole, None
    with socket.socket() as plain:
        if slow:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.settimeout(10)
        plain.connect(("127.0.0.1", nginx.tls_port if protocol == "tls" else nginx.port))
        sock = plain
        if protocol == "tls":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = context.wrap_socket(plain)
        with sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: demo\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n".encode())
            response = http.client.HTTPResponse(sock)
            response.begin()
            body, whole = b"", True
            try:
                while part := response.read(10_000 if slow else None):
                    body += part
                    if slow:
                        time.sleep(0.005)
                whole = response.length in (0, None)
            except http.client.IncompleteRead as e:
                body, whole = body + e.partial, False
            except ConnectionError:
                whole = False
            return response.status, body, whole, response.getheader("Content-Encoding")


def check(nginx: Nginx, bodies: Bodies, masked: dict[tuple[int, int], bytes], rng: random.Random, asked: Counter[tuple[str, str]]) -> str | None:
    """One request with chains of a seed; what is wrong with the answer."""
    i, action, way, seed = rng.randrange(len(bodies.bodies)), rng.choice(ACTIONS), rng.choice(list(WAYS)), rng.randrange(1 << 31)
    protocol = rng.choice(("http/1.1", "http/1.1", "tls", "h2"))
    if way == "threads" and protocol == "h2" and action != "monitor":
        protocol = "tls"  # what the write filter postpones then waits for the hold time, which is a minute here: no other event comes
    path = f"/{action}/{way}/{i}.html"
    length = rng.choice(("", "&length=1"))
    slow = protocol != "h2" and rng.random() < 0.1
    what = f"{protocol} {path}?seed={seed}{length}{' slow' if slow else ''}"
    try:
        status, body, whole, coding = get(nginx, f"{path}?seed={seed}{length}", protocol, slow=slow)
    except (OSError, http.client.HTTPException) as e:
        # In HTTP/1.1 a stopped response may show as a connection that is closed before its head, but never a clean one.
        status, body, whole, coding = 0, b"", False, None
        if isinstance(e, TimeoutError) or not i % 2 or action not in ("block", "truncate"):
            return f"{what}: {e!r}"
    original = bodies.bodies[i]
    if i % 2:
        # The client's view: a 502 (the HTTP/2 client here knows only that it is whole and empty), or a response that broke off.
        withheld = status == 502 or (protocol == "h2" and whole and not body)
        kind = ("block" if withheld else "cut") if action == "block" else ""
        asked[path, kind] += 1
    if coding == "gzip":
        if not whole:
            return None if i % 2 and action in ("block", "truncate") else f"{what}: a coded body broke off"
        body = gzip.decompress(body)
    if not i % 2 or action in ("monitor", "log", "no-store"):
        good = status == 200 and whole and body == original
    elif action == "redact":
        hold = 100 if way == "small" else 16384
        if (i, hold) not in masked:
            masked[i, hold] = bodies.masked(i, hold)
        good = status == 200 and whole and body == masked[i, hold]
    elif action == "truncate":
        good = original.startswith(body) and (whole or bool(length)) if status == 200 else status == 502
    else:
        good = (status == 502 and whole) or (original.startswith(body) and not whole) or (protocol == "h2" and not body)
    if i % 2 and action in ("redact", "truncate", "block") and bodies.secret in body:
        good = False
    return None if good else f"{what}: {status}, {len(body)} bytes of {len(original)}, {'whole' if whole else 'broken off'}"


@pytest.fixture(scope="module")
def seed() -> int:
    made = secrets.randbits(32)
    print("seed", made)
    return made


@pytest.fixture(scope="module")
def nginx(module: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    folder = tmp_path_factory.mktemp("chains")
    with started(folder, "", SITE, f"load_module {module};\n" + HEAD) as running:
        yield running


def test_random_chains(nginx: Nginx, seed: int) -> None:
    bodies = Bodies(random.Random(seed), nginx.folder / "bodies")
    faults: list[str] = []
    asked: list[Counter[tuple[str, str]]] = [Counter() for _ in range(CLIENTS)]
    counts = [0] * CLIENTS
    deadline = time.monotonic() + SECONDS

    def run(n: int) -> None:
        rng = random.Random(seed + n)
        masked: dict[tuple[int, int], bytes] = {}
        while time.monotonic() < deadline and len(faults) < 20:
            counts[n] += 1
            try:
                fault = check(nginx, bodies, masked, rng, asked[n])
            except Exception as e:
                fault = repr(e)
            if fault:
                faults.append(fault)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sum(counts), "responses")
    assert not faults, faults
    assert sum(counts) > 20

    # Every leak has its event, with the verdict on the whole wherever the whole went through.
    wanted = sum(asked, Counter[tuple[str, str]]())
    assert until(lambda: len(nginx.events) >= wanted.total())
    events: list[dict[str, Any]] = [json.loads(line) for line in nginx.events]
    # And says what the client saw.
    assert Counter((e["path"], e["action"] if e["path"].startswith("/block/") else "") for e in events) == wanted
    for event in events:
        _, action, _, name = event["path"].split("/")
        i = int(name.partition(".")[0])
        verdict = bodies.verdicts[i]
        assert i % 2
        if action in ("monitor", "log", "no-store", "redact"):
            assert (event["tier"], event["body_bytes"]) == (verdict.tier, len(bodies.bodies[i]))
            assert event["bits"] == pytest.approx(verdict.bits, abs=0.01)
            found = [(f["rule"], f["offset"], f["length"]) for f in event["findings"]]
            assert found == [(f.rule, f.offset, f.length) for f in verdict.findings], event["path"]
        else:
            assert event["tier"] in ("strong", "certain")
            assert event["action"] in (action, "block", "cut")
