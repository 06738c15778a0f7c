"""What the tests start: free ports, fresh seeds, every command in a process group of its own with a deadline."""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Proxy:
    """`overread proxy` before an origin of the test's own."""

    port: int
    admin_port: int
    events: Path
    process: subprocess.Popen[str]

    @property
    def filtered(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def records(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.events.read_text().splitlines()]


@dataclass
class Demo(Proxy):
    """`overread demo`: the leaking origin as well."""

    origin_port: int
    plant: Path

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.origin_port}"

    def planted(self) -> list[bytes]:
        return self.plant.read_bytes().split()


# Below the range that Linux gives to outgoing connections (ip_local_port_range: 32768 on), so that no client of a test takes
# a port between its choice and its use. Test processes that run side by side step past each other.
PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PORTS = range(20_000 + PROCESS, 32_000, PROCESSES)
ports = itertools.cycle(PORTS)
next(itertools.islice(ports, secrets.randbelow(len(PORTS)), None))


def is_free(port: int) -> bool:
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    return list(itertools.islice(filter(is_free, ports), count))


def make_certificate(folder: Path) -> None:
    """cert.pem and key.pem."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=demo", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", "key.pem", "-out", "cert.pem"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=30,
    )


def command(*args: str) -> list[str]:
    """The CLI as installed; the module's own entry where the package is not complete yet."""
    script = Path(sys.executable).with_name("overread")
    if script.is_file():
        return [str(script), *args]
    return [sys.executable, "-m", "overread.proxy", *args]


def start_demo(folder: Path, *options: str) -> Demo:
    port, origin_port, admin_port = free_ports(3)
    seed = secrets.randbits(32)
    print(f"demo seed: {seed}")
    events, plant = folder / "events.jsonl", folder / "planted"
    argv = command("demo", "--port", str(port), "--origin-port", str(origin_port), "--admin-port", str(admin_port))
    argv += ["--events", str(events), "--plant", str(plant), "--seed", str(seed), "--source", str(ROOT / "demo")]
    return Demo(port, admin_port, events, ready([*argv, *options], folder, "ready"), origin_port, plant)


def start_proxy(folder: Path, upstream: str, *options: str) -> Proxy:
    port, admin_port = free_ports(2)
    events = folder / "events.jsonl"
    argv = command("proxy", "--upstream", upstream, "--port", str(port), "--admin-port", str(admin_port), "--events", str(events))
    return Proxy(port, admin_port, events, ready([*argv, *options], folder, "overread: events in"))


def ready(argv: list[str], folder: Path, says: str) -> subprocess.Popen[str]:
    """A command in a process group of its own, once a line of its output begins so."""
    log = folder / "log"
    with log.open("w") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, text=True, start_new_session=True, cwd=folder)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if re.search(f"^{says}", log.read_text(), re.M):
            return process
        time.sleep(0.05)
    stop_demo(process)
    pytest.fail(f"{argv[1]} did not become ready:\n{log.read_text()}")


def stop_demo(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        end(process, signal.SIGINT, 15)


def end(process: subprocess.Popen[Any], how: signal.Signals, seconds: float) -> None:
    """Asks a process to end, and its group no longer asks when the time is up."""
    process.send_signal(how)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


def until(condition: Callable[[], object], seconds: float) -> bool:
    """Whether the condition comes to hold in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())
