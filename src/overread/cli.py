"""The command line. Exit codes: 0 clean, 1 leak found, 2 something could not be read or used."""

from __future__ import annotations

import argparse
import collections
import io
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from . import __version__, _core, events, rule_page, ruleset, selftest, show, site_counts
from ._stream import Scanner
from .control import MODES, Control
from .errors import ConfigError, OverreadError
from .policy import block_bits
from .ruleset import Ruleset
from .scan_files import Report, scan_path
from .site_counts import SiteCounts
from .summary import Summary

CANARIES = "OVERREAD_CANARIES"  # names the file of planted tokens
CANARY_RULE = "foreign.canary"
SUMMARY_FROM = 20  # inputs from which a run ends with a summary


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    parser = argparse.ArgumentParser(prog="overread", description="Finds another process's or another client's memory in HTTP responses.")
    parser.add_argument("--version", action="version", version=f"overread {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    scan = commands.add_parser("scan", help="scan files, folders, saved responses or standard input (-)")
    scan.add_argument("path", nargs="+", type=Path)
    scan.add_argument("--content-type", help="taken for every input; by default from the file name or the saved head")
    scan.add_argument("--json", action="store_true", help="one JSON object a line")
    scan.add_argument("--threshold", type=float, default=22.0, metavar="BITS")
    scan.add_argument("--explain", action="store_true", help="show the sum behind each verdict")
    scan.add_argument("--summary", action="store_true", help=f"end with a summary, as runs over {SUMMARY_FROM} files or more do; with --json as a last object")
    _canaries_option(scan, "find these planted tokens, too")
    scan.set_defaults(run=_scan)

    speed = commands.add_parser("bench", help="measure the speed on your own files")
    speed.add_argument("path", nargs="+", type=Path)
    speed.add_argument("--content-type", help="taken for every file; by default from the file name")
    speed.set_defaults(run=_bench)

    rules = commands.add_parser("rules", help="check, compile, list and explain rule packs").add_subparsers(dest="what", required=True)
    check = rules.add_parser("check", help="check packs; the shipped ones by default")
    check.add_argument("pack", nargs="*", type=Path)
    check.set_defaults(run=_rules_check)
    compiled = rules.add_parser("compile", help="compile packs and weights to a blob")
    compiled.add_argument("pack", nargs="+", type=Path)
    compiled.add_argument("--calibration", type=Path, help="weights; by default the shipped ones")
    compiled.add_argument("--out", type=Path, required=True)
    compiled.set_defaults(run=_rules_compile)
    listed = rules.add_parser("list", help="list the shipped rules")
    listed.set_defaults(run=_rules_list)
    explained = rules.add_parser("explain", help="explain a shipped rule")
    explained.add_argument("id")
    explained.set_defaults(run=_rules_explain)

    told = commands.add_parser("events", help="read what the proxies' event files tell").add_subparsers(dest="what", required=True)
    tail = told.add_parser("tail", help="show the newest events")
    tail.add_argument("file", type=Path)
    tail.add_argument("-n", "--number", type=int, default=10, metavar="N", help="how many (default 10)")
    tail.add_argument("-f", "--follow", action="store_true", help="go on with those to come")
    tail.add_argument("--json", action="store_true", help="as they are in the file")
    tail.set_defaults(run=_events_tail)
    why = told.add_parser("explain", help="say why there is an event, and what was done")
    why.add_argument("file", type=Path)
    why.add_argument("id", help="16 hexadecimal digits: of the page a visitor saw, or of a log")
    why.set_defaults(run=_events_explain)

    control = commands.add_parser("control", help="turn filters down at run time, switch features off, or back")
    control.add_argument("file", type=Path, help="the filters' control file")
    control.add_argument(
        "do",
        nargs="?",
        choices=(*MODES, "trip", "rearm"),
        help="the most they may do: off, monitor, or enforce (as configured); trip or rearm FEATURE; without it the state is shown",
    )
    control.add_argument("feature", nargs="?", metavar="FEATURE")
    control.add_argument("--for", dest="seconds", type=float, default=0, metavar="SECONDS", help="with trip: rearmed after so long; by default by hand")
    control.set_defaults(run=_control, parser=control)

    agent = commands.add_parser(
        "agent", help="watch a control file: call webhooks and write flag files; share a registry with a fleet, and plant canaries in it"
    )
    agent.add_argument("--control", type=Path, metavar="FILE", help="the filters' control file")
    agent.add_argument("--webhook", action="append", default=[], metavar="URL", help="called with a JSON object; may be given more than once")
    agent.add_argument("--webhook-file", type=Path, metavar="FILE", help="such URLs, one a line: a command line is for all to see")
    agent.add_argument("--flags", type=Path, metavar="FOLDER", help="has a file of the feature's name while a feature is switched off")
    agent.add_argument("--key", type=Path, metavar="FILE", help="signs webhook calls: Overread-Signature is the HMAC-SHA256 of the body")
    agent.add_argument("--registry", type=Path, metavar="SEGMENT", help="the filters' registry segment; made where there is none")
    agent.add_argument("--registry-key", type=Path, metavar="FILE", help="the registry's key, as selftest --new-key writes one; its mode must be 0600")
    agent.add_argument("--registry-memory", type=int, default=0, metavar="BYTES", help="of a segment that is made (default 67108864)")
    agent.add_argument("--registry-life-ms", type=int, default=0, metavar="MS", help="of the registry, as the filters have it (default 15 minutes)")
    store = agent.add_mutually_exclusive_group()
    store.add_argument(
        "--redis", action="append", metavar="URL", help="share it with all whose agents have this Redis or Valkey and the same key; a second one is read from"
    )
    store.add_argument("--redis-file", type=Path, metavar="FILE", help="such URLs, one a line: a command line is for all to see")
    _canaries_option(agent, "plant these tokens in the registry")
    agent.add_argument("--metrics", type=Path, metavar="FILE", help="written every 5 seconds, in Prometheus' text format")
    agent.set_defaults(run=_agent, parser=agent)

    canary = commands.add_parser("canary", help="tokens to plant among real data, which no response may show").add_subparsers(dest="what", required=True)
    fresh = canary.add_parser("new", help="make a token, and show it once")
    fresh.add_argument("kind", choices=("session", "cloud-key", "email", "row", "own"), help="what it looks like; own: a line of standard input")
    fresh.add_argument("--note", default="", help="where it is planted")
    fresh.add_argument("--domain", default="example.com", help="of an e-mail address")
    fresh.set_defaults(run=_canary_new)
    known_ones = canary.add_parser("list", help="list the tokens by number, kind, note and dates")
    known_ones.add_argument("--show", action="store_true", help="the tokens, too")
    known_ones.add_argument(
        "--key-file", type=Path, metavar="FILE", help="the operator's key: with the registry's, shows the digests that findings of each carry"
    )
    known_ones.add_argument("--registry-key", type=Path, metavar="FILE", help="the registry's key")
    known_ones.add_argument("--events", type=Path, nargs="+", metavar="FILE", help="with both keys: in how many events of these files each was seen")
    known_ones.set_defaults(run=_canary_list, parser=known_ones)
    gone = canary.add_parser("retire", help="a token may be seen from now on")
    gone.add_argument("id", type=int)
    gone.set_defaults(run=_canary_retire)
    for command in (fresh, known_ones, gone):
        _canaries_option(command, "the SQLite file they are kept in", required=True)

    digest = commands.add_parser("digest", help="print what events under the operator's key say as owner, one line a value")
    digest.add_argument("--key-file", type=Path, required=True, metavar="FILE", help="the operator's key; its mode must be 0600")
    digest.add_argument("value", nargs="*", default=["-"], help="-, as by default: the lines of standard input; a command line is for all to see")
    digest.set_defaults(run=_digest)

    known = commands.add_parser("ignores", help="report which ignores are expired or never hit")
    known.add_argument("metrics", help="URL of a filter's metrics page, or a file of it")
    known.set_defaults(run=_ignores)

    test = commands.add_parser("selftest", help="prove that the filter is in the path, decodes and blocks")
    one = test.add_mutually_exclusive_group(required=True)
    one.add_argument("--through", metavar="URL", help="a page behind the filter that shows its query or its headers")
    one.add_argument("--new-key", type=Path, metavar="FILE", help="write a new key, for --key and for the filter's key_file")
    test.add_argument("--key", type=Path, metavar="FILE", help="the filter's key")
    test.set_defaults(run=_selftest, parser=test)

    site = commands.add_parser("calibrate", help="weights from your own traffic, and what a budget of false blocks asks for")
    what = site.add_mutually_exclusive_group(required=True)
    what.add_argument("--count", nargs="+", type=Path, metavar="PATH", help="scan clean files, folders or saved responses and write their counts to --out")
    what.add_argument("--site", nargs="+", type=Path, metavar="FILE", help="lower the weights that these counts contradict; --out takes the compiled ruleset")
    what.add_argument("--budget", type=float, metavar="N", help="false blocks a year; with --per-day or --measured, prints the bits to block from")
    site.add_argument("--per-day", type=float, metavar="N", help="responses a day")
    site.add_argument("--measured", nargs="+", type=Path, metavar="FILE", help="with --budget: take the responses a day from these counts")
    site.add_argument("--content-type", help="with --count: taken for every input")
    site.add_argument("--ruleset", type=Path, metavar="BLOB", help="with --site: the compiled ruleset to start from; the shipped one by default")
    site.add_argument("--report", action="store_true", help="with --site: only print what would be lowered")
    site.add_argument("--out", type=Path)
    site.set_defaults(run=_calibrate, parser=site)

    # The proxy needs no scanner in this process: imported only here, so that `scan` starts fast.
    from . import proxy

    proxy.add_proxy_parser(commands)
    proxy.add_demo_parser(commands)
    args = parser.parse_args(argv)
    # File names are bytes: one that is no UTF-8 must not end the run.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        run = args.run if hasattr(args, "run") else args.func
        return int(run(args))
    except OverreadError as e:
        print(f"overread: {e}", file=sys.stderr)
        return 2


def _canaries_option(parser: argparse.ArgumentParser, what: str, *, required: bool = False) -> None:
    path = os.environ.get(CANARIES)
    parser.add_argument(
        "--canaries", type=Path, default=Path(path) if path else None, required=required and not path, metavar="FILE", help=f"{what} (or {CANARIES})"
    )


def _reports(scanner: Scanner, paths: list[Path], content_type: str | None, screen: show.Lines, summary: Summary) -> Iterator[Report]:
    """What every file of the paths shows; one that cannot be read is a problem of its own, and the rest goes on."""
    for path in screen.watched(paths):
        try:
            report = scan_path(scanner, path, content_type, screen.read)
        except OSError as e:
            summary.missed(e.strerror or str(e))
            screen.problem(str(path), e.strerror or str(e))
            continue
        summary.add(report)
        yield report


def _scan(args: argparse.Namespace) -> int:
    planted, registry = [], None
    if args.canaries:
        from .canaries import CanaryFile, digests, registry_for  # SQLite doubles the start of a command

        with CanaryFile(args.canaries) as file:
            planted = [c for c in file.all() if c.retired_ms is None]
        registry = registry_for(planted)
    try:
        scanner = Scanner(threshold=args.threshold, registry=registry)
    except ValueError as e:
        print(f"overread: {e}", file=sys.stderr)
        return 2
    summary = Summary()
    with show.screen(as_json=args.json, explain=args.explain) as screen:
        for report in _reports(scanner, args.path, args.content_type, screen, summary):
            if seen := {f.digest for f in report.verdict.findings if f.rule == CANARY_RULE}:
                which = [f"canary {c.id}, {c.kind}" + (f": {c.note}" if c.note else "") for c in planted if seen & set(digests(scanner, c))]
                report = replace(report, notes=(*report.notes, *which))
            screen.report(report)
            for text in (*report.notes, *report.unread):
                screen.problem(report.path, text)
    if args.json:
        if args.summary:
            print(json.dumps({"summary": summary.to_dict()}))
    else:
        if args.summary or summary.scanned + summary.unreadable >= SUMMARY_FROM:
            print("\n".join(show.printable(line) for line in summary.text()))
        print(summary.line())
    return 2 if summary.unreadable else 1 if summary.leaks else 0


def _bench(args: argparse.Namespace) -> int:
    from . import bench

    try:
        groups = bench.measure(args.path, args.content_type)
    except OSError as e:
        print(f"overread: {e.filename}: {e.strerror}", file=sys.stderr)
        return 2
    if not groups:
        print("overread: no file to measure", file=sys.stderr)
        return 2
    print(f"overread {__version__}, kernel {_core.kernel()}; medians of {bench.ROUNDS} interleaved rounds")
    print(bench.table(groups))
    return 0


def _calibrate(args: argparse.Namespace) -> int:
    if args.budget is not None:
        if (args.per_day is None) == (args.measured is None):
            args.parser.error("--budget wants --per-day or --measured")
        per_day = SiteCounts.load(args.measured).per_day() if args.measured else args.per_day
        bits = block_bits(args.budget, per_day)
        print(f"block from {bits:.1f} bits: {args.budget:g} false blocks a year at {per_day:,.0f} responses a day")
        most = site_counts.strongest(ruleset.decode_weights(_core.default_blob())[0])
        if bits > most:
            print(f"the shipped weights reach at most {most:.1f} bits: with this budget nothing is blocked, alarms stay")
        return 0
    if args.count:
        if args.out is None:
            args.parser.error("--count wants --out FILE")
        return _count(args)
    if (args.out is None) != args.report:
        args.parser.error("--site wants either --out BLOB or --report")
    try:
        blob, changes = site_counts.calibrated(counts := SiteCounts.load(args.site), args.ruleset.read_bytes() if args.ruleset else None)
        print(site_counts.report(counts, changes))
        if args.out:
            args.out.write_bytes(blob)
            print(f"{args.out}: {len(blob)} bytes")
    except OSError as e:
        print(f"overread: {e.filename}: {e.strerror}", file=sys.stderr)
        return 2
    return 0


def _count(args: argparse.Namespace) -> int:
    scanner, counts, summary = Scanner(), SiteCounts(), Summary()
    with show.screen(as_json=False, explain=False) as screen:
        for report in _reports(scanner, args.count, args.content_type, screen, summary):
            for text in report.unread:
                screen.problem(report.path, f"not counted: {text}")
            if report.unread:
                continue
            counts.add(report.verdict, head=report.head)
            if report.verdict.tier != "none":
                screen.problem(report.path, f"{report.verdict.bits:.1f} bits, counted as clean; if it is a leak, take it out and count again")
    try:
        counts.save(args.out)
    except OSError as e:
        print(f"overread: {args.out}: {e.strerror}", file=sys.stderr)
        return 2
    print(f"{args.out}: {counts.responses} counted, {summary.unreadable} unreadable")
    return 2 if summary.unreadable else 0


def _rules_check(args: argparse.Namespace) -> int:
    rules = ruleset.load(args.pack or ruleset.shipped_packs())
    print(f"{len(rules)} rules are well-formed")
    return 0


def _rules_compile(args: argparse.Namespace) -> int:
    blob = ruleset.compile(args.pack, args.calibration)
    Ruleset.load(blob)
    try:
        args.out.write_bytes(blob)
    except OSError as e:
        print(f"overread: {args.out}: {e.strerror}", file=sys.stderr)
        return 2
    print(f"{args.out}: {len(blob)} bytes")
    return 0


def _rules_list(_: argparse.Namespace) -> int:
    for rule in Ruleset.default().rules:
        print(f"{rule['id']:32} {rule['title']}")
    return 0


def _rules_explain(args: argparse.Namespace) -> int:
    for rule in ruleset.load(ruleset.shipped_packs()):
        if rule.id == args.id:
            print(rule_page.page(rule, ruleset.decode_weights(_core.default_blob())[0]))
            return 0
    print(f"overread: no rule {args.id!r}; `overread rules list` names them", file=sys.stderr)
    return 2


def _events_tail(args: argparse.Namespace) -> int:
    def show_event(event: events.Event) -> None:
        print(json.dumps(event) if args.json else events.line(event), flush=args.follow)

    if args.follow:
        for event in events.follow(args.file, args.number):
            show_event(event)
    there = list(events.read(args.file))
    for event in there[max(0, len(there) - args.number) :]:
        show_event(event)
    return 0


def _events_explain(args: argparse.Namespace) -> int:
    print(events.explain(events.find(args.file, args.id)))
    return 0


def _selftest(args: argparse.Namespace) -> int:
    if args.new_key:
        selftest.new_key(args.new_key)
        return 0
    if args.key is None:
        args.parser.error("--through needs --key")
    outcomes = selftest.through(args.through, selftest.read_key(args.key))
    for outcome in outcomes:
        print(f"{outcome.coding}: {outcome.line}")
    results = {outcome.result for outcome in outcomes}
    return 1 if "passed" in results else 2 if "silent" in results else 0


def _control(args: argparse.Namespace) -> int:
    if (args.do in ("trip", "rearm")) != (args.feature is not None):
        args.parser.error("trip and rearm want the name of a feature, and nothing else does")
    there = args.file.exists()
    control = Control(args.file, create=args.do is not None)
    if args.do in MODES:
        control.set_mode(args.do)
    elif args.do == "trip":
        control.trip(args.feature, args.seconds)
    elif args.do == "rearm":
        control.rearm(args.feature)
    state = control.look()
    print(f"mode={state.mode}" + ("" if there or args.do else " (no file: as configured)"))
    for name, feature in state.features.items():
        until = f", until {_clock(feature.until_ms)}" if feature.until_ms else ""
        now = f"tripped at {_clock(feature.at_ms)}{until}" if feature.tripped else "armed"
        print(f"{name}: {now}, {feature.alarms} alarms, {feature.trips} trips")
    if state.agent_ms:
        print(f"agent: last seen {_clock(state.agent_ms)}")
    if state.fault:
        print(f"overread: {args.file} {state.fault}", file=sys.stderr)
        return 2
    return 0


def _clock(unix_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix_ms / 1000))


def _agent(args: argparse.Namespace) -> int:
    from .agent.registry import RegistryAgent
    from .agent.service import run

    if not args.control and not args.registry:
        args.parser.error("give --control, --registry or both")
    if bool(args.registry) != bool(args.registry_key):
        args.parser.error("--registry and --registry-key go together")
    if not args.registry and (args.redis or args.redis_file or args.metrics):
        args.parser.error("--redis and --metrics want --registry")
    webhooks = list(args.webhook)
    if args.webhook_file:
        webhooks += _text(args.webhook_file).split()
    redis = _text(args.redis_file).split() if args.redis_file else args.redis or []
    if len(redis) > 2 or (args.redis_file and not redis):
        raise ConfigError("Redis: expected one URL, or two of which the second is a replica's")
    registry = None
    if args.registry:
        registry = RegistryAgent(
            args.registry,
            selftest.read_key(args.registry_key, private=True),
            memory=args.registry_memory,
            life=args.registry_life_ms / 1000,
            redis=redis,
            canaries=args.canaries,
            metrics=args.metrics,
        )
    control = Control(args.control, create=True) if args.control else None
    return run(control, webhooks, args.flags, selftest.read_key(args.key) if args.key else None, registry)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: {getattr(e, 'strerror', None) or 'no text'}") from None


def _canary_new(args: argparse.Namespace) -> int:
    from .canaries import CanaryFile

    token = sys.stdin.readline().rstrip("\n") if args.kind == "own" else None
    with CanaryFile(args.canaries, create=True) as file:
        made = file.new(args.kind, args.note, domain=args.domain, token=token)
    print(f"overread: canary {made.id}, {made.kind}", file=sys.stderr)
    if token is None:
        print("\n".join(made.tokens))
    return 0


def _canary_list(args: argparse.Namespace) -> int:
    from .canaries import CanaryFile, digests, registry_for

    if bool(args.key_file) != bool(args.registry_key) or (args.events and not args.key_file):
        args.parser.error("--key-file and --registry-key go together, and --events wants both")
    with CanaryFile(args.canaries) as file:
        canaries = file.all()
    scanner, seen = None, collections.Counter[int]()
    if args.key_file:
        # Retired ones were seen as well.
        registry = registry_for([replace(c, retired_ms=None) for c in canaries], selftest.read_key(args.registry_key, private=True))
        scanner = Scanner(key=selftest.read_key(args.key_file, private=True), registry=registry)
        for path in args.events or ():
            for event in events.read(path):
                seen.update({int(f["digest"], 16) for f in event.get("findings", ()) if f["rule"] == CANARY_RULE})
    for c in canaries:
        retired = f", retired {_clock(c.retired_ms)}" if c.retired_ms else ""
        print(show.printable(f"{c.id} {c.kind}, made {_clock(c.made_ms)}{retired}" + (f": {c.note}" if c.note else "")))
        if args.show:
            print("\n".join(f"  token {token}" for token in c.tokens))
        if scanner:
            known = digests(scanner, c)
            if args.events:
                print(f"  seen in {sum(seen[d] for d in known)} events")
            print("\n".join(f"  digest {d:016x}" for d in known))
    return 0


def _canary_retire(args: argparse.Namespace) -> int:
    from .canaries import CanaryFile

    with CanaryFile(args.canaries) as file:
        file.retire(args.id)
    return 0


def _digest(args: argparse.Namespace) -> int:
    key = selftest.read_key(args.key_file, private=True)
    for value in args.value:
        lines = (line.rstrip(b"\n") for line in sys.stdin.buffer) if value == "-" else [os.fsencode(value)]
        for line in lines:
            print(f"{_core.owner_digest(key, line):016x}")
    return 0


def _ignores(args: argparse.Namespace) -> int:
    from . import ignores

    lines = ignores.report(ignores.read(args.metrics))
    print("\n".join(lines) or "nothing is ignored")
    return 0
