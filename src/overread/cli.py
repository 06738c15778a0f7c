"""The command line. Exit codes: 0 clean, 1 leak found, 2 something could not be read or used."""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Iterator
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

    agent = commands.add_parser("agent", help="watch a control file: call webhooks and write flag files when a feature is switched off or on")
    agent.add_argument("--control", type=Path, required=True, metavar="FILE", help="the filters' control file")
    agent.add_argument("--webhook", action="append", default=[], metavar="URL", help="called with a JSON object; may be given more than once")
    agent.add_argument("--webhook-file", type=Path, metavar="FILE", help="such URLs, one a line: a command line is for all to see")
    agent.add_argument("--flags", type=Path, metavar="FOLDER", help="has a file of the feature's name while a feature is switched off")
    agent.add_argument("--key", type=Path, metavar="FILE", help="signs webhook calls: Overread-Signature is the HMAC-SHA256 of the body")
    agent.set_defaults(run=_agent)

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
    try:
        scanner = Scanner(threshold=args.threshold)
    except ValueError as e:
        print(f"overread: {e}", file=sys.stderr)
        return 2
    summary = Summary()
    with show.screen(as_json=args.json, explain=args.explain) as screen:
        for report in _reports(scanner, args.path, args.content_type, screen, summary):
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
    from .agent.service import run

    webhooks = list(args.webhook)
    if args.webhook_file:
        try:
            webhooks += args.webhook_file.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as e:
            raise ConfigError(f"{args.webhook_file}: {getattr(e, 'strerror', None) or 'no text'}") from None
    return run(Control(args.control, create=True), webhooks, args.flags, selftest.read_key(args.key) if args.key else None)


def _ignores(args: argparse.Namespace) -> int:
    from . import ignores

    lines = ignores.report(ignores.read(args.metrics))
    print("\n".join(lines) or "nothing is ignored")
    return 0
