"""The arrows of docs/architecture.md: who may include or import whom. What is not named here may not be used."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src/overread"

# folder of csrc -> folders it may include from; "include" is overread.h
INCLUDES = {
    "include": set(),
    "simd": set(),
    "kernel": {"kernel", "simd"},
    "ruleset": {"ruleset", "kernel"},  # kernel.h: the plain fingerprint table
    "verify": {"verify", "ruleset", "kernel"},
    "evidence": {"evidence", "ruleset", "include"},
    "content": {"content"},
    "registry": {"registry", "kernel", "include"},
    "stream": {"stream", "content", "evidence", "registry", "verify", "kernel", "ruleset", "include"},
    "policy": {"policy", "stream", "evidence", "registry", "include"},
    "capi.cpp": {"policy", "registry", "stream", "evidence", "ruleset", "kernel", "include"},
}
# folders that see the core only through its C header, and headers of their own
OUTSIDE = ("envoy", "nginx", "demo", "src/overread")
# No output of the C ABI carries a body's byte; contexts of a coded body show some, and one decoder is enough.
BESIDES = {"src/overread/_core.cpp": {"content/decoder.h"}}
# module of overread -> modules of overread it may import; "__init__" is the public package itself
IMPORTS = {
    "errors": set(),
    "verdict": set(),
    "bounds": set(),
    "policy": {"_core", "control", "errors"},
    "_core": {"errors"},
    "ruleset": {"_core", "errors"},
    "_stream": {"_core", "errors", "policy", "verdict"},
    "control": {"_core"},
    "site_counts": {"_core", "bounds", "errors", "ruleset", "verdict"},
    "__init__": {"_core", "_stream", "control", "errors", "policy", "ruleset", "site_counts", "verdict"},
    "saved_response": {"_core"},
    "scan_files": {"_core", "_stream", "saved_response", "verdict"},
    "bench": {"_stream", "ruleset", "scan_files"},
    "show": {"scan_files"},
    "summary": {"scan_files"},
    "rule_page": {"_core", "bounds", "ruleset"},
    "proxy": {"errors", "policy", "selftest"},
    "proxies.__init__": set(),
    "events": {"errors", "verdict"},
    "ignores": {"errors"},
    "canaries": {"_stream", "errors"},
    "agent.__init__": {"agent.registry", "agent.service", "agent.webhook"},
    "agent.service": {"agent.atomic_file", "agent.registry", "agent.webhook", "control", "errors"},
    "agent.registry": {"_stream", "agent.atomic_file", "agent.fleet", "canaries", "errors"},
    "agent.fleet": {"_stream", "agent.batch", "errors"},
    "agent.batch": set(),
    "agent.atomic_file": set(),
    "agent.webhook": {"errors"},
    "selftest": {"_core", "errors"},
    "proxies.asgi": {"_stream", "policy", "site_counts"},
    "cli": {
        "__init__",
        "_core",
        "_stream",
        "agent.registry",
        "agent.service",
        "bench",
        "canaries",
        "control",
        "errors",
        "events",
        "ignores",
        "policy",
        "proxy",
        "rule_page",
        "ruleset",
        "scan_files",
        "selftest",
        "show",
        "site_counts",
        "summary",
    },
}
# other packages a module may use; everything else is the standard library
FOREIGN = {"show": {"rich"}, "agent.fleet": {"redis"}}
STUBS_AND_TYPES = {"typing_extensions"}  # mypy's; under TYPE_CHECKING and in stubs only


def quoted_includes(text: str) -> list[str]:
    """Files included by name in quotes."""
    return re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.M)


def wrong_includes(room: str, text: str) -> list[str]:
    """Includes of a file of csrc that are on no arrow."""
    return [t for t in quoted_includes(text) if (t.split("/")[0] if "/" in t else "include") not in INCLUDES[room]]


def imported(module: str, source: str) -> list[str]:
    """Every module that Python or Cython source imports, absolute, wherever the import stands."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return _imported_by_cython(source)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += _from(module, node.level, node.module or "", [a.name for a in node.names])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__"):
            # A name that is computed cannot be checked, so it is not allowed.
            found.append(str(ast.literal_eval(node.args[0])) if isinstance(node.args[0], ast.Constant) else f"computed: {ast.unparse(node)}")
    return found


def _from(module: str, level: int, source: str, names: list[str]) -> list[str]:
    if level:
        package = ["overread", *module.split(".")][:-level]
        source = ".".join([*package, *([source] if source else [])])
    if (source + ".").startswith("overread."):
        # `from overread import x`: a module of that name, or a public name.
        folder = PACKAGE.joinpath(*source.split(".")[1:])
        if folder.is_dir():
            return [f"{source}.{n}" if any((folder / (n + e)).exists() for e in (".py", ".pyx", ".cpp", "")) else source for n in names]
    return [source]


def _imported_by_cython(source: str) -> list[str]:
    found = []
    for line in source.splitlines():
        if m := re.match(r"\s*from\s+(\.*)([\w.]*)\s+c?import\s+(.+)", line):
            found += _from("_stream", len(m[1]), m[2], [n.split()[0] for n in m[3].split(",")])
        elif m := re.match(r"\s*c?import\s+(.+)", line):
            found += [n.split()[0] for n in m[1].split(",")]
    return found


def imported_by_cpp(source: str) -> list[str]:
    """Modules that a binding imports through the interpreter."""
    return re.findall(r'(?:import_?|PyImport_ImportModule|PyImport_Import)\s*\(\s*"([^"]+)"', source)


def wrong_imports(module: str, names: list[str]) -> list[str]:
    """Imports of a module of overread that are on no arrow."""
    wrong = []
    for name in names:
        top, _, rest = name.partition(".")
        if top != "overread":
            known = top in sys.stdlib_module_names or top in ("cython", "cpython", "libc", "pybind11") or top in STUBS_AND_TYPES | FOREIGN.get(module, set())
            wrong += [] if known else [name]
        elif (rest or "__init__") not in IMPORTS[module]:
            wrong.append(name)
    return wrong


def modules() -> dict[str, Path]:
    """Every module of the package, stubs aside."""
    paths = [p for p in PACKAGE.rglob("*") if p.suffix in (".py", ".pyx", ".cpp") and "__pycache__" not in p.parts]
    return {".".join(p.relative_to(PACKAGE).with_suffix("").parts): p for p in paths}


def test_every_module_and_folder_has_its_arrows() -> None:
    assert set(modules()) == set(IMPORTS)
    assert {p.name for p in (ROOT / "csrc").iterdir() if p.is_dir()} | {"capi.cpp"} == set(INCLUDES)


def test_includes_follow_the_arrows() -> None:
    seen = 0
    for path in (ROOT / "csrc").rglob("*"):
        if path.suffix in (".h", ".cpp", ".c"):
            room = path.relative_to(ROOT / "csrc").parts[0]
            text = path.read_text()
            seen += len(quoted_includes(text))
            assert wrong_includes(room, text) == [], path
    assert seen > 30


@pytest.mark.parametrize("folder", OUTSIDE)
def test_the_outside_sees_only_the_c_header(folder: str) -> None:
    for path in (ROOT / folder).rglob("*"):
        if path.suffix in (".h", ".c", ".cpp", ".pyx"):
            own = {p.name for p in path.parent.glob("*.h")} | {"overread.h"}
            targets = quoted_includes(path.read_text()) + re.findall(r'cdef extern from "([^"]+)"', path.read_text())
            assert set(targets) - own - {"Python.h", "structmember.h"} == BESIDES.get(path.relative_to(ROOT).as_posix(), set()), path  # CPython's own


def test_only_the_decoders_know_other_libraries() -> None:
    """Each in a file of its own, and no other header of the core."""
    found = set()
    for path in (ROOT / "csrc").rglob("*"):
        if path.suffix in (".h", ".cpp"):
            found |= {
                (path.relative_to(ROOT / "csrc").as_posix(), h) for h in re.findall(r"#\s*include\s*<([\w/]*(?:zlib|brotli|zstd)[\w/]*\.h)>", path.read_text())
            }
    assert found == {
        ("content/inflate.cpp", "zlib.h"),
        ("content/brotli.cpp", "brotli/decode.h"),
        ("content/zstd.cpp", "zstd.h"),
        ("content/zstd.cpp", "zstd_errors.h"),
    }


def test_imports_follow_the_arrows() -> None:
    for module, path in modules().items():
        text = path.read_text()
        names = imported_by_cpp(text) if path.suffix == ".cpp" else imported(module, text)
        assert wrong_imports(module, names) == [], module
        assert names or not IMPORTS[module], f"{module}: no import was recognised"
        # An arrow nobody uses is no arrow.
        assert IMPORTS[module] <= {n.partition(".")[2] or "__init__" for n in names if n.startswith("overread")}, module


def test_arrows_make_no_circle() -> None:
    for graph in (INCLUDES, IMPORTS):
        done: set[str] = set()
        while len(done) < len(graph):
            free = {m for m, targets in graph.items() if m not in done and targets - {m} <= done}
            assert free, f"a circle among {sorted(set(graph) - done)}"
            done |= free


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("errors", "from . import verdict"),
        ("policy", "from .verdict import Verdict"),
        ("policy", "from overread.verdict import Verdict"),
        ("policy", "import overread.verdict as v"),
        ("policy", "from overread import verdict"),
        ("policy", "from overread import Verdict"),
        ("policy", "def f():\n    from ._stream import Scanner"),
        ("policy", "import importlib\nimportlib.import_module('overread.cli')"),
        ("policy", "import importlib\nimportlib.import_module(name)"),
        ("policy", "import numpy"),
        ("ruleset", "from .cli import main"),
        ("proxies.asgi", "from ..cli import main"),
        ("proxies.asgi", "from .. import _core"),
        ("_stream", "cdef int x\nfrom overread.cli import main"),
        ("_stream", "cdef int x\ncdef f():\n    import overread.ruleset"),
        ("_stream", "cdef int x\nfrom .cli cimport main"),
        ("cli", "import rich"),
    ],
)
def test_a_wrong_import_is_caught(module: str, source: str) -> None:
    assert wrong_imports(module, imported(module, source))


def test_a_wrong_include_or_import_of_the_core_is_caught() -> None:
    assert wrong_includes("kernel", '#include "verify/raw.h"\n') == ["verify/raw.h"]
    assert wrong_includes("simd", '  # include "kernel/kernel.h"') == ["kernel/kernel.h"]
    assert wrong_includes("verify", '#include "overread.h"') == ["overread.h"]
    assert wrong_imports("_core", imported_by_cpp('py::module_::import("overread.ruleset")'))
    assert wrong_imports("_core", imported_by_cpp('PyImport_ImportModule("overread.cli")'))
    assert not wrong_imports("_core", imported_by_cpp('py::module_::import("overread.errors")'))
