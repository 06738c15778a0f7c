"""nginx with the module and without, and with ModSecurity: static files, then the same files from an upstream on loopback.

Each variant has its own worker on one core, wrk asks from the other, in interleaved rounds. CPU time is the worker's own, over the responses
of a round. `plain again` is a second worker without the module: what it differs from `plain` by is the noise. In the same run the scan alone
is measured, through `Stream.feed`, and the read that a scanned file takes besides, as nginx itself sends its bytes without seeing them.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from benchmarks import results
from benchmarks.proxies import measuring

MODULE = Path(__file__).resolve().parents[2] / "build/nginx/ngx_http_overread_module.so"
MODSECURITY = Path("/usr/lib/nginx/modules/ngx_http_modsecurity_module.so")
CRS = """SecRuleEngine On
SecRequestBodyAccess Off
SecResponseBodyAccess On
SecResponseBodyMimeType text/html
SecResponseBodyLimit 8388608
SecAuditEngine Off
Include /etc/modsecurity/crs/crs-setup.conf
Include /usr/share/modsecurity-crs/rules/*.conf
"""
# The whole response in memory: what is measured is not the disk.
PROXIED = """location / {{ proxy_pass http://upstream; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffers 40 32k; proxy_buffer_size 32k;
  proxy_busy_buffers_size 640k; proxy_max_temp_file_size 0; }}"""


def main() -> int:
    """Measures and keeps the figures in benchmarks/figures/proxies.json and proxied.json."""
    parser = measuring.options("python -m benchmarks.proxies", "ngx_http_overread_module.so")
    args = parser.parse_args()
    module = f"load_module {MODULE};"
    with contextlib.ExitStack() as stack:
        of = stack.enter_context(measuring.pages(args.size))
        (of.folder / "crs.conf").write_text(CRS)
        kinds = {
            "plain": ("", ""),
            "plain again": ("", ""),
            "monitor": ("overread monitor;", module),
            "enforce": ("overread enforce;", module),
        }
        if args.other:
            kinds |= {f"other {mode}": (f"overread {mode};", f"load_module {args.other};") for mode in ("monitor", "enforce")}
        static = kinds
        if not args.other:
            security = f"modsecurity on; modsecurity_rules_file {of.folder}/crs.conf;"
            static = kinds | {"ModSecurity + CRS": (security, f"load_module {MODSECURITY};")}
        upstream = f"upstream upstream {{ server 127.0.0.1:{stack.enter_context(measuring.origin(of)).port}; keepalive 32; }}"
        for name, among, settings, place in (("proxies", static, "", f"root {of.files};"), ("proxied", kinds, upstream, PROXIED.format())):
            with contextlib.ExitStack() as workers:
                variants = [
                    workers.enter_context(measuring.nginx(kind, f"{own} {settings}", load, place, of.folder / f"{name}-{kind.replace(' ', '-')}"))
                    for kind, (own, load) in among.items()
                ]
                result = measuring.measure(variants, of, args.rounds, args.seconds)
            print(name)
            measuring.show(result)
            if not args.other and not args.size:
                results.keep(name, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
