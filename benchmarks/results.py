"""The figures of the last run, one JSON file a part in ``benchmarks/figures``: what ``benchmarks.report`` draws."""

from __future__ import annotations

import json
import platform
import re
from pathlib import Path
from typing import Any

import overread

FIGURES = Path(__file__).parent / "figures"


def machine() -> dict[str, str]:
    """What the figures hang on."""
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "overread": overread.__version__,
        "kernel": overread.Scanner().kernel,
        "python": platform.python_version(),
    }


def keep(name: str, result: object) -> None:
    """Writes a part's figures, with the machine they were measured on."""
    FIGURES.mkdir(exist_ok=True)
    (FIGURES / f"{name}.json").write_text(json.dumps({"machine": machine(), "result": result}, indent=1) + "\n")


def read(name: str) -> tuple[dict[str, str], Any]:
    """Machine and figures of a part."""
    whole = json.loads((FIGURES / f"{name}.json").read_text())
    return whole["machine"], whole["result"]
