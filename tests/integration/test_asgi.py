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


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    log = tmp_path_factory.mktemp("asgi") / "heavy.log"
    with served("heavy", log) as url:
        yield url, log


def posted() -> bytes:
    """Header lines as a visitor may write them into a form."""
    return b"Hello\r\nHost: shop.example\r\nCookie: session=" + secret() + b"\r\nReferer: https://shop.example/cart\r\nUser-Agent: Mozilla/5.0 (X11)\r\n\r\n"


def test_an_echo_of_the_own_body_is_silent(heavy: tuple[str, Path], tmp_path: Path) -> None:
    url, log = heavy
    for chunked in ((), ("-H", "Transfer-Encoding: chunked")):
        assert curl(url + "/echo", "--data-binary", "@" + write(tmp_path, posted()), *chunked) == (0, 200, posted())
    # The same lines in another client's response are a leak.
    assert curl(url + "/board")[1] == 502
    assert eventually(lambda: "'/board'" in log.read_text())
    assert not any("'/echo'" in line for line in log.read_text().splitlines() if line.startswith("EVENT"))


def test_only_the_first_64_kib_of_a_request_body_are_the_clients_own(heavy: tuple[str, Path], tmp_path: Path) -> None:
    filler = b"an ordinary line of a long form\n" * 2048
    assert len(filler) == 1 << 16
    assert curl(heavy[0] + "/echo", "--data-binary", "@" + write(tmp_path, posted() + filler))[1] == 200
    assert curl(heavy[0] + "/echo", "--data-binary", "@" + write(tmp_path, filler + posted()))[1] == 502
    big = b"x" * 5_000_000
    assert curl(heavy[0] + "/echo", "--data-binary", "@" + write(tmp_path, big)) == (0, 200, big)


def write(folder: Path, data: bytes) -> str:
    """Path of a new file with these bytes."""
    path = folder / "posted"
    path.write_bytes(data)
    return str(path)


def test_a_streaming_request_is_neither_delayed_nor_altered(heavy: tuple[str, Path]) -> None:
    port = int(heavy[0].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.sendall(b"POST /pipe HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        got = b""
        for line in (b"one\n", b"two\n", b"three\n"):
            # The next line leaves only when this one came back: a held chunk would end in the timeout.
            s.sendall(b"%x\r\n%s\r\n" % (len(line), line))
            while line not in got:
                part = s.recv(4096)
                assert part, got
                got += part
        s.sendall(b"0\r\n\r\n")
        while b"0\r\n\r\n" not in got:
            got += s.recv(4096)
    assert re.findall(rb"one|two|three", got) == [b"one", b"two", b"three"]


@pytest.mark.parametrize("path", ["/bad-head", "/bad-head-events"])
def test_a_head_that_leaks_is_stopped_before_it_leaves(heavy: tuple[str, Path], plain: str, path: str) -> None:
    assert b":09:44" in subprocess.run(["curl", "-si", plain + path], capture_output=True, timeout=30).stdout
    done = subprocess.run(["curl", "-si", heavy[0] + path], capture_output=True, timeout=30).stdout
    assert done.startswith(b"HTTP/1.1 502")
    assert b":09:44" not in done


@pytest.mark.parametrize("path", ["/", "/slow", "/file", "/empty", "/events", "/unchanged"])
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
