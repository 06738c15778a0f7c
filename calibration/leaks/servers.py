"""nginx, Apache, Squid and HAProxy from Debian as reverse proxies on loopback, in a folder of their own, with an empty environment."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

NAMES = ("nginx", "apache2", "squid", "haproxy")
_NGINX = """daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log crit; {user}
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{origin}; proxy_set_header X-Forwarded-For $remote_addr; }} }}
}}
"""
_APACHE = """ServerRoot {dir}
PidFile {dir}/apache.pid
ErrorLog {dir}/error.log
Listen 127.0.0.1:{port}
ServerName shop.example
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
{user}
StartServers 1
ServerLimit 1
MaxRequestWorkers 25
ProxyPass / http://127.0.0.1:{origin}/
"""
_SQUID = """http_port 127.0.0.1:{port} accel defaultsite=shop.example no-vhost
cache_peer 127.0.0.1 parent {origin} 0 no-query originserver
http_access allow all
pid_filename {dir}/squid.pid
cache_log {dir}/cache.log
access_log none
cache_store_log none
coredump_dir {dir}
cache_mem 32 MB
pinger_enable off
visible_hostname shop.example
shutdown_lifetime 0 seconds
{user}
"""
_HAPROXY = """global
  maxconn 256
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend in
  bind 127.0.0.1:{port}
  default_backend out
backend out
  server one 127.0.0.1:{origin}
"""
_CONFIGS = {"nginx": _NGINX, "apache2": _APACHE, "squid": _SQUID, "haproxy": _HAPROXY}
_USERS = {"nginx": "user nobody nogroup;", "apache2": "User nobody\nGroup nogroup", "squid": "cache_effective_user nobody", "haproxy": ""}


def free_port() -> int:
    """One nobody listens on, on loopback."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _children(pid: int) -> list[int]:
    out = [pid]
    for child in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for c in child.read_text().split():
                out += _children(int(c))
    return out


@contextlib.contextmanager
def running(command: Sequence[str], port: int, folder: Path) -> Iterator[int]:
    """Process id of a server in a process group of its own, once it listens on the port; what it says is in start.log.

    Raises
    ------
    RuntimeError
        When it does not listen within 20 seconds.
    """
    log = folder / "start.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=folder, env={"PATH": "/usr/bin:/bin"}, start_new_session=True, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"{command[0]} did not start, see {folder}: {log.read_text(errors='replace')[-500:]}")
            time.sleep(0.1)
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)


@contextlib.contextmanager
def proxy(name: str, origin: int, folder: Path) -> Iterator[tuple[int, int]]:
    """Port and process id of one running proxy in front of the origin's port.

    Raises
    ------
    RuntimeError
        When the program is missing or does not listen in time.
    """
    program = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if not program:
        raise RuntimeError(f"{name} is not installed; run: bash scripts/setup.sh leaks")
    port = free_port()
    os.chmod(folder, 0o777)
    config = folder / "conf"
    config.write_text(_CONFIGS[name].format(dir=folder, port=port, origin=origin, user=_USERS[name] if os.geteuid() == 0 else ""))
    command = {
        "nginx": [program, "-p", str(folder), "-c", str(config)],
        "apache2": [program, "-f", str(config), "-D", "FOREGROUND"],
        "squid": [program, "-N", "-f", str(config)],
        "haproxy": [program, "-db", "-f", str(config)],
    }[name]
    with running(command, port, folder) as pid:
        yield port, pid


_PRIVATE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw.p \S+ \S+ 0(?: +(?:\[heap\]|\[anon.*\]))?$")


def memory(pid: int) -> tuple[list[tuple[int, bytes]], list[tuple[int, int]]]:
    """Private writable memory of a process and its children that belongs to no file, and all their mapped ranges, sorted."""
    pieces: list[tuple[int, bytes]] = []
    ranges: list[tuple[int, int]] = []
    for p in _children(pid):
        with contextlib.suppress(OSError), open(f"/proc/{p}/maps") as maps, open(f"/proc/{p}/mem", "rb", 0) as mem:
            for line in maps:
                start, end = (int(x, 16) for x in line.split(" ", 1)[0].split("-"))
                ranges.append((start, end))
                if not _PRIVATE.match(line.rstrip()):
                    continue
                for at in range(start, end, 1 << 20):
                    with contextlib.suppress(OSError):
                        mem.seek(at)
                        pieces.append((at, mem.read(min(1 << 20, end - at))))
    return pieces, sorted(ranges)
