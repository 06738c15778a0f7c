"""The arrows of docs/architecture.md: who may include or import whom."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# folder of csrc -> folders it may include from
INCLUDES = {
    "include": set(),
    "simd": set(),
    "kernel": {"kernel", "simd"},
    "ruleset": {"ruleset", "kernel"},  # kernel.h: the plain fingerprint table
    "verify": {"verify", "ruleset", "kernel"},
    "evidence": {"evidence", "ruleset", "include"},
    "stream": {"stream", "evidence", "verify", "kernel", "ruleset", "include"},
    "policy": {"policy", "stream", "evidence", "include"},
}
# module of overread -> modules it may import
IMPORTS = {
    "errors": set(),
    "verdict": set(),
    "policy": {"errors"},
    "ruleset": {"errors", "_core"},
    "saved_response": set(),
    "scan_files": {"_stream", "saved_response", "verdict"},
    "show": {"scan_files"},
    "proxies.asgi": {"_stream", "policy", "verdict"},
}


def test_includes_follow_the_arrows() -> None:
    seen = 0
    for path in (ROOT / "csrc").rglob("*"):
        if path.suffix not in (".h", ".cpp") or path.parent == ROOT / "csrc":
            continue
        room = path.parent.name
        for target in re.findall(r'#include "([^"]+)"', path.read_text()):
            seen += 1
            other = target.split("/")[0] if "/" in target else "include"
            assert other in INCLUDES[room], f"{path.relative_to(ROOT)} includes {target}"
    assert seen > 30


def test_proxies_see_only_the_c_header() -> None:
    for path in (ROOT / "envoy").glob("*.cpp"):
        own = {p.name for p in (ROOT / "envoy").glob("*.h")}
        for target in re.findall(r'#include "([^"]+)"', path.read_text()):
            assert target == "overread.h" or target in own, f"{path.name} includes {target}"


def test_imports_follow_the_arrows() -> None:
    for module, allowed in IMPORTS.items():
        path = ROOT / "src/overread" / (module.replace(".", "/") + ".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                names = [node.module.split(".")[0]] if node.module else [a.name for a in node.names]
                for name in names:
                    assert name in allowed, f"{module} imports {name}"
