"""Every variant serves the same HTML files from its own worker on one core, wrk asks from the other, in interleaved rounds.

CPU time is the worker's own (/proc/PID/schedstat, ns), over the responses of a round. `plain again` is a second worker without the
module: what it differs from `plain` by is the noise. In the same run the scan alone is measured, through `Stream.feed`, and the read
that a scanned file takes besides, as nginx itself sends its bytes without seeing them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from calibration.leaks import servers

import overread
from benchmarks import corpora, results

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "build/nginx/ngx_http_overread_module.so"
MODSECURITY = Path("/usr/lib/nginx/modules/ngx_http_modsecurity_module.so")
SIZES = {"1 KiB": 1 << 10, "16 KiB": 16 << 10, "256 KiB": 256 << 10, "1 MiB": 1 << 20}
CONNECTIONS = 16  # keep the worker busy all the time; latencies of one alone are those of a worker with time to spare
COLUMNS = ("cpu ns", "p50 us", "p99 us", "p50 us alone", "p99 us alone")
PIECE = 64 << 10  # bytes of a file that the module reads at a time
CONFIG = """{load}
daemon off; worker_processes 1; worker_cpu_affinity 01; pid {dir}/nginx.pid; error_log {dir}/error.log; {user}
events {{ worker_connections 256; }}
http {{
  include /etc/nginx/mime.types; charset utf-8; access_log off; keepalive_requests 1000000000; sendfile on; tcp_nopush on;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  {settings}
  server {{ listen 127.0.0.1:{port} backlog=1024; root {files}; }}
}}
"""
CRS = """SecRuleEngine On
SecRequestBodyAccess Off
SecResponseBodyAccess On
SecResponseBodyMimeType text/html
SecResponseBodyLimit 8388608
SecAuditEngine Off
Include /etc/modsecurity/crs/crs-setup.conf
Include /usr/share/modsecurity-crs/rules/*.conf
"""


@dataclass
class Variant:
    name: str
    port: int
    worker: int  # its process


def cpu_ns(pid: int) -> int:
    """Nanoseconds that a process has run."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


@contextlib.contextmanager
def serving(name: str, settings: str, load: str, files: Path, folder: Path) -> Iterator[Variant]:
    folder.mkdir()
    port = servers.free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(CONFIG.format(load=load, dir=folder, user=user, settings=settings, port=port, files=files))
    command = ["/usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    try:
        with servers.running(command, port, folder) as pid:
            yield Variant(name, port, int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]))
    except RuntimeError as error:
        sys.exit(f"bench-proxies: {error}")


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
    """CPU time of the scan alone, ns for the body, as the module is fed."""
    scanner = overread.Scanner()
    pieces = [body[i : i + PIECE] for i in range(0, len(body), PIECE)]
    rounds = max(5, (8 << 20) // len(body))
    started = time.thread_time_ns()
    for _ in range(rounds):
        stream = scanner.stream("text/html; charset=utf-8")
        for piece in pieces:
            stream.feed(piece)
        stream.finish()
    return (time.thread_time_ns() - started) / rounds


def read_ns(path: Path) -> float:
    """CPU time of reading the file as the module does, ns."""
    size = path.stat().st_size
    rounds = max(5, (8 << 20) // size)
    piece = bytearray(min(PIECE, size))
    with path.open("rb", buffering=0) as file:
        started = time.thread_time_ns()
        for _ in range(rounds):
            for at in range(0, size, PIECE):
                os.preadv(file.fileno(), [piece], at)
        return (time.thread_time_ns() - started) / rounds


def page(size: int) -> bytes:
    """HTML of packages, cut to a size."""
    bodies = corpora.unpack(corpora.build()["html"].read_bytes())
    text = b"".join(b for b in bodies if len(b) > 2000)
    # The head alone would be repeated if the pages were short: one stretch from the middle is a page's usual text.
    at = len(text) // 3
    return (b"<!DOCTYPE html>\n" + text[at : at + size])[:size]


def main() -> int:
    """Measures and keeps the figures in benchmarks/figures/proxies.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proxies")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    args = parser.parse_args()
    module = f"load_module {MODULE};"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="overread-bench-")))
        files = folder / "files"
        files.mkdir(mode=0o755)
        folder.chmod(0o755)
        bodies = {name: page(size) for name, size in SIZES.items()}
        for name, body in bodies.items():
            (files / f"{SIZES[name]}.html").write_bytes(body)
        (folder / "crs.conf").write_text(CRS)
        kinds = {
            "plain": ("", ""),
            "plain again": ("", ""),
            "monitor": ("overread monitor;", module),
            "enforce": ("overread enforce;", module),
            "ModSecurity + CRS": (f"modsecurity on; modsecurity_rules_file {folder}/crs.conf;", f"load_module {MODSECURITY};"),
        }
        variants = [stack.enter_context(serving(name, *kinds[name], files, folder / name.replace(" ", "-"))) for name in kinds]
        samples: dict[str, dict[str, list[tuple[float, ...]]]] = {size: {v.name: [] for v in variants} for size in SIZES}
        scans: dict[str, list[float]] = {size: [] for size in SIZES}
        reads: dict[str, list[float]] = {size: [] for size in SIZES}
        for round_ in range(args.rounds + 1):
            for size in SIZES:
                first = round_ % len(variants)
                for v in variants[first:] + variants[:first]:
                    before = cpu_ns(v.worker)
                    count, *busy = load(v.port, f"{SIZES[size]}.html", args.seconds)
                    each = (cpu_ns(v.worker) - before) / count
                    _, *alone = load(v.port, f"{SIZES[size]}.html", args.seconds, 1)
                    if round_:  # the first round warms up
                        samples[size][v.name].append((each, *busy, *alone))
                scans[size].append(scan_ns(bodies[size]))
                reads[size].append(read_ns(files / f"{SIZES[size]}.html"))
            print(f"round {round_} of {args.rounds}", file=sys.stderr)
    out = {}
    for size in SIZES:
        by_variant = {name: dict(zip(COLUMNS, map(statistics.median, zip(*rows, strict=True)), strict=True)) for name, rows in samples[size].items()}
        paired = {
            name: statistics.median(a[0] - b[0] for a, b in zip(samples[size][name], samples[size]["plain"], strict=True))
            for name in samples[size]
            if name != "plain"
        }
        parts = {"scan ns": statistics.median(scans[size]), "read ns": statistics.median(reads[size])}
        out[size] = {"variants": by_variant, "added cpu ns": paired, **parts, "bytes": SIZES[size]}
    results.keep("proxies", out)
    print(json.dumps(out, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
