"""What the benchmarks of both proxies share: pages, an nginx that serves them, load from the other core, interleaved rounds."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.leaks import servers

import overread
from benchmarks import corpora

SIZES = {"1 KiB": 1 << 10, "16 KiB": 16 << 10, "256 KiB": 256 << 10, "1 MiB": 1 << 20}
CONNECTIONS = 16  # keep the worker busy all the time; latencies of one alone are those of a worker with time to spare
COLUMNS = ("cpu ns", "p50 us", "p99 us", "p50 us alone", "p99 us alone")
PIECE = 64 << 10  # bytes of a file that the module of nginx reads at a time
CONFIG = """{load}
daemon off; worker_processes 1; worker_cpu_affinity 01; pid {dir}/nginx.pid; error_log {dir}/error.log; {user}
events {{ worker_connections 256; }}
http {{
  include /etc/nginx/mime.types; charset utf-8; access_log off; keepalive_requests 1000000000; sendfile on; tcp_nopush on;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  {settings}
  server {{ listen 127.0.0.1:{port} backlog=1024; {place} }}
}}
"""


@dataclass
class Variant:
    """A proxy that is measured."""

    name: str
    port: int
    worker: int  # its process


@dataclass
class Pages:
    """The files of a run."""

    folder: Path  # for whatever the run needs besides
    files: Path
    bodies: Mapping[str, bytes]  # by the size's name


def options(prog: str, other: str) -> argparse.ArgumentParser:
    """What both programs can be told."""
    parser = argparse.ArgumentParser(prog=prog)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of load, a variant and a round")
    parser.add_argument("--size", action="append", choices=SIZES, help="of the pages; more than one may be given (default: all)")
    parser.add_argument("--other", type=Path, help=f"a second build to measure in the same rounds, of another commit: {other}. Nothing is kept then")
    return parser


def cpu_ns(pid: int) -> int:
    """Nanoseconds that a process has run, all threads of it."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))


@contextlib.contextmanager
def pages(sizes: Sequence[str] | None) -> Iterator[Pages]:
    """HTML of packages, cut to sizes, in files that any worker may read."""
    with tempfile.TemporaryDirectory(prefix="overread-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        files = folder / "files"
        files.mkdir(mode=0o755)
        bodies = {size: page(SIZES[size]) for size in sizes or SIZES}
        for size, body in bodies.items():
            (files / f"{SIZES[size]}.html").write_bytes(body)
        yield Pages(folder, files, bodies)


def page(size: int) -> bytes:
    """HTML of packages, cut to a size."""
    bodies = corpora.unpack(corpora.build()["html"].read_bytes())
    text = b"".join(b for b in bodies if len(b) > 2000)
    # The head alone would be repeated if the pages were short: one stretch from the middle is a page's usual text.
    at = len(text) // 3
    return (b"<!DOCTYPE html>\n" + text[at : at + size])[:size]


@contextlib.contextmanager
def nginx(name: str, settings: str, load: str, place: str, folder: Path) -> Iterator[Variant]:
    """One worker; `place` is what stands in its server."""
    folder.mkdir()
    port = servers.free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(CONFIG.format(load=load, dir=folder, user=user, settings=settings, port=port, place=place))
    command = ["/usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    try:
        with servers.running(command, port, folder) as pid:
            yield Variant(name, port, int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]))
    except RuntimeError as error:
        sys.exit(f"bench-proxies: {error}")


@contextlib.contextmanager
def origin(of: Pages) -> Iterator[Variant]:
    """Serves the files to a proxy, from the core that asks: the proxy has the other one for itself."""
    with nginx("origin", "", "", f"root {of.files};", of.folder / "origin") as server:
        os.sched_setaffinity(server.worker, {1})
        yield server


def load(port: int, path: str, seconds: float, connections: int = CONNECTIONS) -> tuple[int, float, float]:
    """Responses, and the latencies' median and 99th percentile in microseconds."""
    argv = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--latency", f"http://127.0.0.1:{port}/{path}"]
    shown = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 60, check=True).stdout
    if re.search(r"Non-2xx|Socket errors", shown):
        sys.exit(f"bench-proxies: {shown}")

    def latency(share: str) -> float:
        found = re.search(rf"^\s+{share}%\s+([\d.]+)(us|ms|s)", shown, re.M)
        assert found
        return float(found[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[found[2]]

    requests = re.search(r"(\d+) requests in", shown)
    assert requests
    return int(requests[1]), latency("50"), latency("99")


def scan_ns(body: bytes) -> float:
    """CPU time of the scan alone, ns for the body, in the pieces that nginx's module feeds."""
    scanner = overread.Scanner()
    pieces = [body[i : i + PIECE] for i in range(0, len(body), PIECE)]
    times = max(5, (8 << 20) // len(body))
    started = time.thread_time_ns()
    for _ in range(times):
        stream = scanner.stream("text/html; charset=utf-8")
        for piece in pieces:
            stream.feed(piece)
        stream.finish()
    return (time.thread_time_ns() - started) / times


def read_ns(path: Path) -> float:
    """CPU time of reading the file as nginx's module does, ns."""
    size = path.stat().st_size
    times = max(5, (8 << 20) // size)
    piece = bytearray(min(PIECE, size))
    with path.open("rb", buffering=0) as file:
        started = time.thread_time_ns()
        for _ in range(times):
            for at in range(0, size, PIECE):
                os.preadv(file.fileno(), [piece], at)
        return (time.thread_time_ns() - started) / times


def measure(variants: Sequence[Variant], of: Pages, rounds: int, seconds: float) -> dict[str, Any]:
    """Every variant under the same load in turn, a size after the other; the order turns with the rounds, of which the first warms up."""
    samples: dict[str, dict[str, list[tuple[float, ...]]]] = {size: {v.name: [] for v in variants} for size in of.bodies}
    parts: dict[str, list[tuple[float, float]]] = {size: [] for size in of.bodies}
    for round_ in range(rounds + 1):
        for size, body in of.bodies.items():
            path = f"{SIZES[size]}.html"
            first = round_ % len(variants)
            for v in [*variants[first:], *variants[:first]]:
                before = cpu_ns(v.worker)
                count, *busy = load(v.port, path, seconds)
                each = (cpu_ns(v.worker) - before) / count
                _, *alone = load(v.port, path, seconds, 1)
                if round_:
                    samples[size][v.name].append((each, *busy, *alone))
            parts[size].append((scan_ns(body), read_ns(of.files / path)))
        print(f"round {round_} of {rounds}", file=sys.stderr)
    out = {}
    for size, by_variant in samples.items():
        plain = by_variant["plain"]
        out[size] = {
            "variants": {name: dict(zip(COLUMNS, map(statistics.median, zip(*rows, strict=True)), strict=True)) for name, rows in by_variant.items()},
            "added cpu ns": {
                name: statistics.median(a[0] - b[0] for a, b in zip(rows, plain, strict=True)) for name, rows in by_variant.items() if name != "plain"
            },
            "scan ns": statistics.median(p[0] for p in parts[size]),
            "read ns": statistics.median(p[1] for p in parts[size]),
            "bytes": SIZES[size],
        }
    return out


def show(result: Mapping[str, Any]) -> None:
    """One line a variant: what it adds to `plain`, and its latencies."""
    for size, r in result.items():
        print(f"{size}: the scan alone {r['scan ns'] / r['bytes']:.3f} ns a byte, the read alone {r['read ns'] / r['bytes']:.3f}")
        for name, v in r["variants"].items():
            more = r["added cpu ns"].get(name, 0.0)
            print(
                f"  {name:20} {v['cpu ns'] / 1000:9.1f} us of CPU, added {more / 1000:9.2f} us, {more / r['bytes']:7.3f} ns a byte;"
                f" p50 {v['p50 us']:.0f} us, alone {v['p50 us alone']:.0f} us"
            )
