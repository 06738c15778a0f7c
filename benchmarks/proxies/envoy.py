"""Envoy with the filter and without, before one nginx that serves the files: CPU time of the whole Envoy process over the responses of a round.

Rounds are interleaved; `plain again` is a second Envoy without the filter: what it differs from `plain` by is the noise.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from calibration.leaks import servers

from benchmarks import results
from benchmarks.proxies.__main__ import SIZES, Variant, load, page, scan_ns, serving
from overread import proxy

KINDS = {"plain": None, "plain again": None, "monitor": "mode=monitor", "enforce": "mode=enforce"}


def cpu_ns(pid: int) -> int:
    """Nanoseconds that a process has run, all threads of it."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))


@contextlib.contextmanager
def envoy(name: str, config: str | None, origin: int, folder: Path) -> Iterator[Variant]:
    folder.mkdir()
    port = servers.free_port()
    upstream = proxy.parse_upstream(f"http://127.0.0.1:{origin}")
    settings: dict[str, Any] = proxy.bootstrap(upstream, port=port, admin_port=servers.free_port(), filter_config=config or "")
    if config is None:
        manager = settings["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        manager["http_filters"] = manager["http_filters"][1:]
    (folder / "envoy.json").write_text(json.dumps(settings))
    command = ["taskset", "-c", "0", "env", f"ENVOY_DYNAMIC_MODULES_SEARCH_PATH={proxy.find_module()}", f"HOME={folder}"]
    command += [proxy.find_envoy(), "-c", str(folder / "envoy.json"), "--disable-hot-restart", "--log-level", "warning", "--concurrency", "1"]
    with servers.running(command, port, folder) as pid:
        yield Variant(name, port, pid)


def main() -> int:
    """Measures and keeps the figures in benchmarks/figures/envoy.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proxies.envoy")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="overread-bench-")))
        files = folder / "files"
        files.mkdir(mode=0o755)
        folder.chmod(0o755)
        bodies = {name: page(size) for name, size in SIZES.items()}
        for name, body in bodies.items():
            (files / f"{SIZES[name]}.html").write_bytes(body)
        origin = stack.enter_context(serving("origin", "", "", files, folder / "origin"))
        os.sched_setaffinity(origin.worker, {1})  # Envoy has the other core for itself
        variants = [stack.enter_context(envoy(name, config, origin.port, folder / name.replace(" ", "-"))) for name, config in KINDS.items()]
        samples: dict[str, dict[str, list[tuple[float, float, float]]]] = {size: {name: [] for name in KINDS} for size in SIZES}
        scans: dict[str, list[float]] = {size: [] for size in SIZES}
        for round_ in range(args.rounds + 1):
            for size in SIZES:
                for v in variants[round_ % 2 :] + variants[: round_ % 2]:
                    before = cpu_ns(v.worker)
                    count, median, last = load(v.port, f"{SIZES[size]}.html", args.seconds)
                    if round_:  # the first round warms up
                        samples[size][v.name].append(((cpu_ns(v.worker) - before) / count, median, last))
                scans[size].append(scan_ns(bodies[size]))
            print(f"round {round_} of {args.rounds}", file=sys.stderr)
    out = {}
    for size in SIZES:
        rows = samples[size]
        plain = rows["plain"]
        out[size] = {
            "variants": {name: {key: statistics.median(s[i] for s in of) for i, key in enumerate(("cpu ns", "p50 us", "p99 us"))} for name, of in rows.items()},
            "added cpu ns": {name: statistics.median(a[0] - b[0] for a, b in zip(of, plain, strict=True)) for name, of in rows.items() if name != "plain"},
            "scan ns": statistics.median(scans[size]),
            "bytes": SIZES[size],
        }
    results.keep("envoy", out)
    print(json.dumps(out, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
