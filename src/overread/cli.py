"""The command line. Exit codes: 0 clean, 1 leak found, 2 something could not be read or used."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from . import __version__, ruleset, show
from ._stream import Scanner
from .errors import OverreadError
from .ruleset import Ruleset
from .scan_files import scan_path


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
    scan.set_defaults(run=_scan)

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


def _scan(args: argparse.Namespace) -> int:
    try:
        scanner = Scanner(threshold=args.threshold)
    except ValueError as e:
        print(f"overread: {e}", file=sys.stderr)
        return 2
    leaks = unread = scanned = 0
    with show.screen(as_json=args.json, explain=args.explain) as screen:
        for path in screen.watched(args.path):
            try:
                report = scan_path(scanner, path, args.content_type, screen.read)
            except OSError as e:
                unread += 1
                screen.problem(str(path), e.strerror or str(e))
                continue
            scanned += 1
            unread += bool(report.unread)
            leaks += report.verdict.leaked
            screen.report(report)
            for text in (*report.notes, *report.unread):
                screen.problem(report.path, text)
    if not args.json:
        print(f"{scanned} scanned, {leaks} with a leak, {unread} unreadable")
    return 2 if unread else 1 if leaks else 0


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
            print(f"{rule.id}: {rule.title}\n  family     {rule.family}\n  reference  {rule.reference}")
            if rule.anchor:
                print(f"  anchors    {', '.join(repr(a.decode('latin-1')) for a in rule.anchor)}{' (any case)' if rule.nocase else ''}")
                print(f"  check      {rule.check}")
            else:
                print(f"  found by   the native verifier {rule.builtin}")
            return 0
    print(f"overread: no rule {args.id!r}; `overread rules list` names them", file=sys.stderr)
    return 2
