"""Envoy with the filter, from a bootstrap of the test's own."""

from __future__ import annotations

import copy
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overread import proxy

from . import processes
from .processes import free_ports, until


@dataclass
class Envoy:
    folder: Path
    port: int
    tls_port: int
    admin_port: int
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


def manager_of(settings: dict[str, Any]) -> dict[str, Any]:
    """The HTTP connection manager of a bootstrap."""
    found: dict[str, Any] = settings["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def over_tls(listener: dict[str, Any], folder: Path, port: int) -> dict[str, Any]:
    """The same listener once more."""
    made = copy.deepcopy(listener) | {"name": "https"}
    made["address"]["socket_address"]["port_value"] = port
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [{"certificate_chain": {"filename": str(folder / "cert.pem")}, "private_key": {"filename": str(folder / "key.pem")}}],
        },
    }
    made["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": context}
    return made


def launch(folder: Path, settings: dict[str, object], *, library: Path | None = None, concurrency: int = 1) -> subprocess.Popen[bytes]:
    (folder / "envoy.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [proxy.find_envoy(), "-c", str(folder / "envoy.json"), "--disable-hot-restart", "--log-level", "warning", "--concurrency", str(concurrency)],
            env={**os.environ, "ENVOY_DYNAMIC_MODULES_SEARCH_PATH": str(library or proxy.find_module())},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@contextmanager
def running_envoy(
    folder: Path,
    origin: str,
    filter_config: str,
    routes: list[tuple[str, str]],
    *,
    accept_http_10: bool = False,
    concurrency: int = 1,
    buffer_limit: int | None = None,
) -> Iterator[Envoy]:
    port, tls_port, admin_port = free_ports(3)
    settings: dict[str, Any] = proxy.bootstrap(proxy.parse_upstream(origin), port=port, admin_port=admin_port, filter_config=filter_config, routes=routes)
    if accept_http_10:
        manager_of(settings)["http_protocol_options"]["accept_http_10"] = True
    if buffer_limit is not None:  # of what is read from the upstream at once, and of what a response may have buffered
        for part in (settings["static_resources"]["listeners"][0], settings["static_resources"]["clusters"][0]):
            part["per_connection_buffer_limit_bytes"] = buffer_limit
    processes.make_certificate(folder)
    settings["static_resources"]["listeners"].append(over_tls(settings["static_resources"]["listeners"][0], folder, tls_port))
    envoy = Envoy(folder, port, tls_port, admin_port, launch(folder, settings, concurrency=concurrency))

    def listening() -> bool:
        assert envoy.process.poll() is None, envoy.log
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    try:
        assert until(listening, 30)
        yield envoy
        assert envoy.process.poll() is None, envoy.log
    finally:
        processes.end(envoy.process, signal.SIGTERM, 10)
