"""The ASGI middleware on a real uvicorn, asked by a real curl."""

import itertools
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SEED = str(random.randrange(1 << 30))


def secret() -> bytes:
    """What the application of this seed spills."""
    rng = random.Random(int(SEED))
    return "".join(rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789", k=32)).encode()


@contextmanager
def served(name: str, log: Path) -> Iterator[str]:
    """Base URL of the application under uvicorn, in a process group of its own."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = {**os.environ, "OVERREAD_TEST_SEED": SEED}
    command = [sys.executable, "-m", "uvicorn", f"leaking_app:{name}", "--app-dir", str(HERE), "--port", str(port), "--lifespan", "off"]
    with log.open("wb") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out, env=env, start_new_session=True)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert child.poll() is None, log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait(20)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    log = tmp_path_factory.mktemp("asgi") / "guarded.log"
    print("seed", SEED)
    with served("guarded", log) as url:
        yield url, log


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served("app", tmp_path_factory.mktemp("asgi") / "plain.log") as url:
        yield url


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    log = tmp_path_factory.mktemp("asgi") / "watched.log"
    with served("watched", log) as url:
        yield url, log


def curl(url: str, *flags: str) -> tuple[int, int, bytes]:
    """curl's exit code, the status and the body."""
    run = subprocess.run(["curl", "-s", "-m", "20", "-w", "\n%{http_code}", *flags, url], capture_output=True, timeout=30)
    body, _, status = run.stdout.rpartition(b"\n")
    return run.returncode, int(status), body


def eventually(check: Callable[[], bool]) -> bool:
    """Whether the check holds before a deadline."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.05)
    return False


def test_the_leak_is_real_without_the_filter(plain: str) -> None:
    assert secret() in curl(plain + "/leak")[2]


def test_leak_is_a_502_with_an_id(guarded: tuple[str, Path]) -> None:
    url, log = guarded
    code, status, body = curl(url + "/leak?token=QueryStringSecret")
    assert (code, status) == (0, 502)
    assert re.search(rb"Reference: [0-9a-f]{16}", body)
    assert secret() not in body
    assert eventually(lambda: "EVENT" in log.read_text())
    text = log.read_text()
    events = [line for line in text.splitlines() if line.startswith("EVENT")]
    assert any("'action': 'block'" in e and "'path': '/leak'" in e for e in events)
    assert not any("QueryString" in e or secret().decode() in e for e in events)


def test_late_leak_is_cut_before_its_first_byte(guarded: tuple[str, Path]) -> None:
    code, status, body = curl(guarded[0] + "/late-leak")
    assert code != 0
    assert status == 200
    assert b"\x00" not in body
    assert secret() not in body


@pytest.mark.parametrize("path", ["/", "/slow", "/file", "/empty", "/events"])
@pytest.mark.parametrize("flags", [(), ("-I",)])
def test_clean_responses_are_untouched(guarded: tuple[str, Path], plain: str, path: str, flags: tuple[str, ...]) -> None:
    if path == "/file":
        # uvicorn has no pathsend of its own: through the middleware the file arrives as a body.
        assert curl(guarded[0] + path, *flags)[:2] == (0, 200)
        return
    got, want = curl(guarded[0] + path, *flags), curl(plain + path, *flags)
    assert got[:2] == want[:2]
    if not flags:
        assert got[2] == want[2]


def test_events_flow_at_once(guarded: tuple[str, Path]) -> None:
    with subprocess.Popen(["curl", "-sN", "-m", "10", guarded[0] + "/events"], stdout=subprocess.PIPE) as child:
        assert child.stdout
        times = [time.monotonic() for line in child.stdout if line.startswith(b"data")]
    # The application pauses 400 ms between events: held back, several would come together.
    assert len(times) == 4
    assert all(b - a > 0.2 for a, b in itertools.pairwise(times))


def test_monitor_alters_nothing_and_reports(watched: tuple[str, Path], plain: str) -> None:
    url, log = watched
    assert curl(url + "/leak") == curl(plain + "/leak")
    assert eventually(lambda: "'action': 'log'" in log.read_text())
