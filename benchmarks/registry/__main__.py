"""Builds benchmarks/registry and runs it: ``python -m benchmarks.registry``. The figures stand in docs/foreign-secrets.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .. import corpora, results

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "bench-registry"
KINDS = ("html", "js", "css", "json")
KERNELS = ("avx512vbmi", "avx2")
SCANNED_BESIDE = 1_000_000  # live secrets
HELD = (1_000, 100_000, 1_000_000, 4_000_000)
MEMORY = 256  # bytes of table a secret: room to spare


def build() -> None:
    """The program; CMake and a compiler say themselves what they lack."""
    for command in (["cmake", "-S", str(HERE), "-B", str(BUILD), "-G", "Ninja"], ["cmake", "--build", str(BUILD)]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def run(kernel: str, *arguments: object) -> dict[str, Any] | None:
    """What the program prints; None where this machine has no such kernel."""
    command = [str(BUILD / "registry"), *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, "OVERREAD_KERNEL": kernel}, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        print(f"{kernel}: {done.stderr.strip()}", file=sys.stderr)
        return None
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["kernel"] == kernel, result
    print(json.dumps(result), file=sys.stderr)
    return result


def main() -> int:
    """Builds, runs, keeps the figures."""
    build()
    packs = corpora.build()
    bodies = [a for kind in KINDS for a in (corpora.TYPES[kind], packs[kind])]
    scanned = {k: r["ns a byte"] for k in KERNELS if (r := run(k, "scan", SCANNED_BESIDE, MEMORY * SCANNED_BESIDE, *bodies))}
    if not scanned:
        sys.exit(f"none of the kernels {', '.join(KERNELS)} runs here")
    held = run(next(iter(scanned)), "hold", MEMORY, *HELD)
    hostile = run(next(iter(scanned)), "hostile", SCANNED_BESIDE, MEMORY * SCANNED_BESIDE)
    assert held is not None
    assert hostile is not None
    by_kind = {kernel: {kind: of_type[corpora.TYPES[kind]] for kind in KINDS} for kernel, of_type in scanned.items()}
    results.keep("registry", {"beside": SCANNED_BESIDE, "ns a byte": by_kind, "hostile": hostile["ns a byte"], "live": held["live"]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
