"""The source archive and the wheel as a user gets them: built, installed in an empty environment, used from elsewhere.

Slow and in need of a package registry, so part of `make test-full` only.
"""

import os
import pty
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.unit.test_api import LEAK, PAGE

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, cwd: Path, ok: tuple[int, ...] = (0,)) -> str:
    """Output of a command that must end in one of these exit codes; PYTHONPATH and the like stay outside."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900)
    assert done.returncode in ok, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sdist")
    code = "import sys, scikit_build_core.build as b; b.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", code, out, cwd=ROOT)
    (archive,) = out.glob("overread-*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    # From the archive alone, in pip's own build environment: what is missing in it or in build-system.requires fails.
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", sdist, "-w", sdist.parent, cwd=sdist.parent)
    (built,) = sdist.parent.glob("overread-*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", folder / "v", cwd=folder)
    run(folder / "v/bin/pip", "install", "-q", wheel, cwd=folder)
    return folder / "v"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clean.html").write_bytes(PAGE)
    (tmp_path / "leak.html").write_bytes(LEAK)
    return tmp_path


def on_terminal(command: list[str], cwd: Path) -> str:
    """What a command shows on a pseudo-terminal."""
    leader, follower = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "160"}
    child = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower)
    os.close(follower)
    data = b""
    try:
        while part := os.read(leader, 65536):
            data += part
    except OSError:
        pass  # how a pseudo-terminal tells its end
    finally:
        os.close(leader)
        child.wait(60)
    return data.decode()


def test_the_archive_holds_sources_and_nothing_built(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"csrc/include/overread.h", "src/overread/_stream.pyx", "src/overread/rules/http.toml", "LICENSE", "Makefile"} <= names
    assert not [n for n in names if n.endswith((".so", ".o", ".pyc")) or n.startswith((".venv", "build", ".cache"))]


def test_the_wheel_holds_what_runs_and_no_sources(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"overread/__init__.py", "overread/py.typed", "overread/_core.pyi", "overread/rules/raw.toml"} <= names
    assert not [n for n in names if n.endswith((".cpp", ".pyx", ".h", ".a"))]


def test_the_core_needs_nothing_at_run_time(environment: Path, folder: Path) -> None:
    installed = {line.split("==")[0] for line in run(environment / "bin/pip", "list", "--format=freeze", cwd=folder).splitlines() if "==" in line}
    assert installed <= {"overread", "pip", "setuptools"}


def test_the_decoders_are_inside(environment: Path, folder: Path) -> None:
    code = """
import gzip, overread
body = open('leak.html', 'rb').read()
verdict = overread.Scanner().scan(gzip.compress(body), 'text/html', headers=[('Content-Encoding', 'gzip')])
assert (verdict.leaked, verdict.decode) == (True, 'ok')
assert overread.Scanner().scan(b'', headers=[('Content-Encoding', 'gzip, br, zstd')]).decode == 'ok'
print(overread._core.__file__)
"""
    module = Path(run(environment / "bin/python", "-c", code, cwd=folder).strip())
    for binary in (module, module.parent / "lib/liboverread_envoy.so"):
        assert not [line for line in run("ldd", binary, cwd=folder).splitlines() if any(name in line for name in ("libz", "zstd", "brotli"))]


def test_the_command_works(environment: Path, folder: Path) -> None:
    command = environment / "bin/overread"
    assert run(command, "--version", cwd=folder).startswith("overread ")
    assert "0 with a leak" in run(command, "scan", "clean.html", cwd=folder)
    assert "LEAK" in run(command, "scan", ".", cwd=folder, ok=(1,))
    assert "well-formed" in run(command, "rules", "check", cwd=folder)


def test_the_package_works(environment: Path, folder: Path) -> None:
    code = """
import overread, overread.ruleset, overread.proxies.asgi
packs = overread.ruleset.shipped_packs()
rules = overread.Ruleset.from_toml(packs, extend=False)
body = open('leak.html', 'rb').read()
assert overread.Scanner().scan(body, 'text/html').leaked
assert overread.Scanner(rules).scan(body, 'text/html').bits == overread.Scanner().scan(body, 'text/html').bits
print(overread.__file__)
"""
    assert str(environment) in run(environment / "bin/python", "-c", code, cwd=folder)


def test_tables_come_with_the_extra(environment: Path, wheel: Path, folder: Path) -> None:
    command = [str(environment / "bin/overread"), "scan", "."]
    plain = on_terminal(command, folder)
    assert "LEAK" in plain
    assert "\x1b" not in plain
    run(environment / "bin/pip", "install", "-q", f"overread[cli] @ file://{wheel}", cwd=folder)
    assert "┃" in on_terminal(command, folder)
