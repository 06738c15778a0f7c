"""Clients of nginx that stop reading: its worker must wait with them, in little memory, and go on where it was."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from http.client import HTTPResponse
from pathlib import Path

import pytest

from .nginx_site import CHUNKED, FULL_GRID, PAGE, SITE, Nginx, started, until

LIMIT = 20.0  # seconds without a byte
LARGEST_WINDOW = (1 << 31) - 1
PROTOCOLS = ("http/1.1", "tls", "h2", "h2-without-window-limit", "h2-tls")


class Http1:
    def __init__(self, sock: socket.socket, path: str) -> None:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n".encode())
        self.response = HTTPResponse(sock)

    def go_on(self) -> None:
        pass

    def close(self) -> None:
        self.response.close()

    def parts(self) -> Iterator[bytes]:
        self.response.begin()
        assert self.response.status == 200
        while part := self.response.read1(1 << 20):
            yield part
        assert self.response.isclosed() or self.response.length == 0


class Http2:
    """One stream, by hand: a client that grants no more windows, or all at once, without reading."""

    def __init__(self, sock: socket.socket, path: str, window: int) -> None:
        self.sock, self.file = sock, sock.makefile("rb")
        fields = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "demo")]
        block = b"".join(bytes([0, len(n)]) + n.encode() + bytes([len(v)]) + v.encode() for n, v in fields)
        sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.send(4, 0, 0, b"\0\4" + window.to_bytes(4, "big"))
        if window == LARGEST_WINDOW:
            self.grant(0)
        self.send(1, 5, 1, block)  # the end of the headers and of the stream
        self.window = window

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.sock.sendall(len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload)

    def grant(self, stream: int) -> None:
        self.send(8, 0, stream, (LARGEST_WINDOW - 65535).to_bytes(4, "big"))

    def close(self) -> None:
        self.file.close()

    def go_on(self) -> None:
        if self.window != LARGEST_WINDOW:
            self.grant(0)
            self.grant(1)

    def parts(self) -> Iterator[bytes]:
        while head := self.file.read(9):
            kind, flags = head[3], head[4]
            payload = self.file.read(int.from_bytes(head[:3], "big"))
            assert kind != 3, "the stream was reset"
            if kind == 4 and not flags & 1:
                self.send(4, 1, 0, b"")
            if kind == 0 and payload:
                yield payload
            if kind in (0, 1) and flags & 1:
                return
        raise AssertionError("the connection was closed before the end")


@contextmanager
def asking(nginx: Nginx, protocol: str, path: str) -> Iterator[Http1 | Http2]:
    port = nginx.tls_port if protocol.endswith("tls") else nginx.port2 if protocol.startswith("h2") else nginx.port
    with socket.create_connection(("127.0.0.1", port), LIMIT) as plain:
        sock = plain
        if port == nginx.tls_port:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["h2" if protocol.startswith("h2") else "http/1.1"])
            sock = context.wrap_socket(plain)
        with sock:
            client = Http2(sock, path, 65535 if protocol == "h2" else LARGEST_WINDOW) if protocol.startswith("h2") else Http1(sock, path)
            try:
                yield client
            finally:
                client.close()


def digest(parts: Iterable[bytes | float]) -> str:
    h = hashlib.sha256()
    for part in parts:
        if isinstance(part, bytes):
            h.update(part)
    return h.hexdigest()


@cache
def expected(page: str) -> str:
    return digest(CHUNKED[page][1])


def status_of(worker: str, field: str) -> int:
    return int(re.findall(rf"{field}:\s+(\d+)", Path(f"/proc/{worker}/status").read_text())[0])


def forget_peaks(nginx: Nginx) -> dict[str, int]:
    for worker in nginx.workers():
        Path(f"/proc/{worker}/clear_refs").write_text("5")
    return {worker: status_of(worker, "VmHWM") for worker in nginx.workers()}


def growth(before: dict[str, int]) -> int:
    """KiB by which the worker that grew most has ever grown."""
    return max(status_of(worker, "VmHWM") - kib for worker, kib in before.items())


def seconds_of_cpu(workers: Iterable[str]) -> float:
    ticks = 0
    for worker in workers:
        fields = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def ended(workers: Iterable[str]) -> bool:
    return not any(Path(f"/proc/{worker}").exists() for worker in workers)


@pytest.fixture(scope="module")
def nginx(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    folder = tmp_path_factory.mktemp("slow")
    (folder / "site/static").mkdir(parents=True)
    with (folder / "site/static/huge").open("wb") as file:
        file.writelines(part for part in CHUNKED["/huge"][1] if isinstance(part, bytes))
    with started(folder, origin, SITE.replace("types {{", "default_type text/html; types {{")) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "protocol"),
    [
        (path, protocol)
        for path in ("/unbuffered/huge", "/huge", "/static/huge")
        for protocol in PROTOCOLS
        if FULL_GRID or (protocol != "h2-tls" if path == "/unbuffered/huge" else protocol in ("http/1.1", "h2"))
    ],
)
def test_a_worker_waits_with_its_client_in_little_memory(nginx: Nginx, path: str, protocol: str) -> None:
    with asking(nginx, protocol, "/quiet"):  # what a first connection of its kind takes is not the question
        time.sleep(0.1)
    before = forget_peaks(nginx)
    with asking(nginx, protocol, path) as client:
        time.sleep(0.7)
        used = seconds_of_cpu(before)
        time.sleep(0.6)
        if path != "/huge":  # with buffering it may still be writing the page to a file
            assert seconds_of_cpu(before) - used < 0.1
        assert growth(before) < 4096
        client.go_on()
        assert digest(client.parts()) == expected("/huge")
    assert growth(before) < 4096


def seconds_until(client: Http1 | Http2, size: int) -> float:
    since, got = time.monotonic(), 0
    for part in client.parts():
        got += len(part)
        if got >= size:
            break
    assert got >= size
    return time.monotonic() - since


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("path", "kept"), [("/unbuffered/burst", 0), ("/burst", 4096)])  # nginx keeps the last buffer until it is full
def test_a_client_that_reads_again_gets_what_waited_while_the_origin_is_silent(nginx: Nginx, path: str, kept: int, protocol: str) -> None:
    with asking(nginx, protocol, path) as client:
        time.sleep(0.5)
        client.go_on()
        assert seconds_until(client, 1500 * 8000 - kept) < 3  # the origin ends after 4 s


@pytest.mark.parametrize("path", ["/throttled/quiet", "/throttled/unbuffered/quiet"])
def test_what_was_left_in_a_throttled_socket_follows_by_itself(nginx: Nginx, path: str) -> None:
    with asking(nginx, "http/1.1", path) as client:
        assert seconds_until(client, len(PAGE)) < 3.5  # the origin ends after 4 s; without the module it takes that long


@pytest.mark.parametrize("protocol", PROTOCOLS if FULL_GRID else ("tls", "h2"))
def test_subrequests_of_a_client_that_reads_again_lose_nothing(nginx: Nginx, protocol: str) -> None:
    with asking(nginx, protocol, "/added/slow/big") as client:
        time.sleep(0.4)
        client.go_on()
        assert digest(client.parts()) == digest(part for _ in range(3) for part in CHUNKED["/big"][1])


@pytest.mark.parametrize("path", ["/impatient/huge", "/impatient/unbuffered/huge"])
def test_send_timeout_ends_a_client_that_never_reads(nginx: Nginx, path: str) -> None:
    def count() -> int:
        return ("\n" + (nginx.folder / "access.log").read_text()).count("\n" + path + " ")

    before = count()
    with ExitStack() as stack:
        for protocol in ("http/1.1", "tls", "h2"):  # nginx has another time limit for whole connections
            stack.enter_context(asking(nginx, protocol, path))
        assert until(lambda: count() == before + 3, 6)


def test_workers_end_after_their_slow_clients_and_lose_nothing(origin: str, tmp_path: Path) -> None:
    paths = ("/unbuffered/big", "/big", "/small-buffers/big")
    with started(tmp_path, origin) as nginx:
        for how in (signal.SIGHUP, signal.SIGQUIT):
            old = nginx.workers()
            with ExitStack() as stack:
                clients = [stack.enter_context(asking(nginx, protocol, path)) for protocol in ("http/1.1", "tls", "h2") for path in paths]
                stack.enter_context(asking(nginx, "http/1.1", "/impatient/unbuffered/huge"))  # and one that never reads
                time.sleep(0.3)
                nginx.process.send_signal(how)
                time.sleep(0.3)
                for client in clients:
                    client.go_on()
                    assert digest(client.parts()) == expected("/big")
                    client.close()
            assert until(lambda workers=old: ended(workers))  # type: ignore[misc]
        assert nginx.process.wait(10) == 0
