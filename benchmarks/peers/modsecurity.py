"""nginx with ModSecurity and the Core Rule Set from Debian, in a folder of its own: what its response rules say of a body, and what the client got."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from calibration.leaks import servers

_NGINX = """load_module /usr/lib/nginx/modules/ngx_http_modsecurity_module.so;
daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log info; {user}
events {{ worker_connections 64; }}
http {{
  access_log off; default_type text/plain; keepalive_requests 1000000;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  modsecurity on; modsecurity_rules_file {dir}/rules.conf;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{origin}; }} }}
}}
"""
# The package's defaults but for what a response filter needs: responses inspected whole, in every type of the test, and blocking.
_RULES = """SecRuleEngine On
SecRequestBodyAccess Off
SecResponseBodyAccess On
SecResponseBodyMimeType {types}
SecResponseBodyLimit 8388608
SecResponseBodyLimitAction ProcessPartial
SecAuditEngine Off
SecPcreMatchLimit 100000
SecPcreMatchLimitRecursion 100000
SecAction "id:900000,phase:1,nolog,pass,t:none,setvar:tx.paranoia_level={level}"
Include /etc/modsecurity/crs/crs-setup.conf
Include /usr/share/modsecurity-crs/rules/*.conf
"""
_RESPONSE_RULE = re.compile(r'\[id "95\d{4}"\].*\[uri "/(\d+)"\]')


class _Origin(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, bodies: Sequence[tuple[bytes, str]]) -> None:
        self.bodies = bodies
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: the proxy cuts responses it blocks."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Origin

    def do_GET(self) -> None:
        body, content_type = self.server.bodies[int(self.path[1:])]
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Says nothing."""


def version() -> str:
    """Versions of library and rules, as Debian names them."""
    query = ["dpkg-query", "-W", "-f=${Version}"]
    shown = [subprocess.run([*query, p], capture_output=True, text=True, check=True).stdout for p in ("libmodsecurity3", "modsecurity-crs")]
    return f"ModSecurity {shown[0]} + CRS {shown[1]}"


@contextlib.contextmanager
def _proxy(bodies: Sequence[tuple[bytes, str]], level: int, folder: Path) -> Iterator[int]:
    origin = _Origin(bodies)
    threading.Thread(target=origin.serve_forever, daemon=True).start()
    port = servers.free_port()
    types = " ".join(sorted({t.partition(";")[0] for _, t in bodies}))
    (folder / "rules.conf").write_text(_RULES.format(types=types, level=level))
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(_NGINX.format(dir=folder, port=port, origin=origin.server_port, user=user))
    command = ["/usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    try:
        with servers.running(command, port, folder):
            yield port
    finally:
        origin.shutdown()


def run(bodies: Sequence[tuple[bytes, str]], level: int, folder: Path) -> tuple[list[bool], list[int], float]:
    """For each body whether a response rule fired, and how many bytes the client got; then the seconds all of it took."""
    received: list[int] = []
    with _proxy(bodies, level, folder) as port:
        started = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for i in range(len(bodies)):
            try:
                connection.request("GET", f"/{i}", headers={"Host": "shop.example", "User-Agent": "Mozilla/5.0", "Accept": "*/*"})
                reply = connection.getresponse()
                data = reply.read()
                received.append(len(data) if reply.status == 200 else 0)
            except http.client.IncompleteRead as e:
                received.append(len(e.partial))
                connection.close()
            except (OSError, http.client.HTTPException):
                received.append(0)
                connection.close()
        seconds = time.monotonic() - started
        connection.close()
    log = (folder / "error.log").read_text(errors="replace")
    fired = {int(m[1]) for m in _RESPONSE_RULE.finditer(log)}
    return [i in fired for i in range(len(bodies))], received, seconds
