"""What ``overread scan`` shows on a real pseudo-terminal and in a pipe, with and without rich."""

import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from .test_api import LEAK, PAGE, SECRET

WITHOUT_RICH = "import sys; sys.modules['rich'] = None; "  # what Python does for a package that is not there
COMMAND = "from overread.cli import main; sys.exit(main(sys.argv[1:]))"


def on_terminal(args: list[str], rich: bool, stdout: bool = True, stderr: bool = True, term: str = "xterm") -> tuple[int, str, str]:
    """Exit code, what standard output and what standard error showed; each a terminal of its own or a pipe."""
    texts = ["", ""]
    readers, writers, threads = [], [], []

    def read(fd: int, at: int) -> None:
        data = b""
        try:
            while part := os.read(fd, 65536):
                data += part
        except OSError:
            pass  # how a pseudo-terminal tells its end
        texts[at] = data.decode()

    for at, terminal in enumerate((stdout, stderr)):
        reader, writer = pty.openpty() if terminal else os.pipe()
        readers.append(reader)
        writers.append(writer)
        threads.append(threading.Thread(target=read, args=(reader, at)))
        threads[-1].start()
    code = ("import sys; " if rich else WITHOUT_RICH) + COMMAND
    env = {**os.environ, "TERM": term, "COLUMNS": "200"}
    child = subprocess.Popen([sys.executable, "-c", code, *args], stdin=subprocess.DEVNULL, stdout=writers[0], stderr=writers[1], env=env)
    for fd in writers:
        os.close(fd)
    status = child.wait(60)
    for thread in threads:
        thread.join(20)
    for fd in readers:
        os.close(fd)
    return status, *texts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clean.html").write_bytes(PAGE)
    (tmp_path / "leak [bold].html").write_bytes(LEAK)
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    return tmp_path


def test_rich_shows_a_table_and_a_bar(folder: Path) -> None:
    code, out, err = on_terminal(["scan", str(folder)], rich=True)
    assert code == 2
    assert "┃" in out
    assert "leak [bold].html: " in out
    assert "2 scanned, 1 with a leak, 1 unreadable" in out
    assert "1/3" in err
    assert "nowhere: No such file" in err
    for at in range(len(SECRET) - 5):
        assert SECRET[at : at + 6] not in out + err


def test_without_rich_lines_stay_plain(folder: Path) -> None:
    code, out, err = on_terminal(["scan", str(folder)], rich=False)
    assert code == 2
    assert "\x1b" not in out + err
    assert "┃" not in out
    assert err.count("\n") == 1


@pytest.mark.parametrize("rich", [True, False])
def test_a_pipe_gets_the_same_plain_lines(folder: Path, rich: bool) -> None:
    want = on_terminal(["scan", str(folder)], rich=False)
    piped = on_terminal(["scan", str(folder)], rich, stdout=False, stderr=False)
    assert piped == (want[0], want[1].replace("\r\n", "\n"), want[2].replace("\r\n", "\n"))


def test_each_stream_is_judged_by_itself(folder: Path) -> None:
    plain = on_terminal(["scan", str(folder)], rich=False, stdout=False, stderr=False)
    _, out, err = on_terminal(["scan", str(folder)], rich=True, stdout=False)
    assert out == plain[1]
    assert "1/3" in err
    _, out, err = on_terminal(["scan", str(folder)], rich=True, stderr=False)
    assert "┃" in out
    assert err == plain[2]


def test_json_and_dumb_terminals_stay_plain(folder: Path) -> None:
    _, out, err = on_terminal(["scan", "--json", str(folder)], rich=True)
    assert "\x1b" not in out + err
    assert [json.loads(line)["leaked"] for line in out.splitlines()] == [False, True]
    assert "\x1b" not in "".join(on_terminal(["scan", str(folder)], rich=True, term="dumb")[1:])


@pytest.mark.parametrize("rich", [True, False])
def test_a_file_name_cannot_steer_the_terminal(tmp_path: Path, rich: bool) -> None:
    (tmp_path / "a\x1b]0;owned\x07\n.html").write_bytes(LEAK)
    _, out, _ = on_terminal(["scan", str(tmp_path)], rich)
    assert "\x1b]0" not in out
    assert "\\x1b]0;owned\\x07\\n.html" in out
