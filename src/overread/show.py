"""What ``overread scan`` shows: plain lines anywhere; with rich, tables and a progress bar on a terminal.

Reports go to standard output, problems and the bar to standard error, each judged by itself: a pipe gets plain lines
whatever the other is.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from .scan_files import Report, files_of

if TYPE_CHECKING:
    from typing import Self

    from rich.console import Console
    from rich.progress import Progress

COLUMNS = ("part", "offset", "length", "rule", "family", "bits", "context")


def printable(text: str) -> str:
    """Text without what steers a terminal: file names and field names come from outside."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def screen(*, as_json: bool, explain: bool) -> Lines:
    """What fits standard output and standard error."""
    if as_json:
        return Json(explain)
    terminals = [_is_terminal(stream) for stream in (sys.stdout, sys.stderr)]
    if any(terminals):
        try:
            import rich.progress  # noqa: F401 - the extra overread[cli]
        except ImportError:
            return Lines(explain)
        return Rich(explain, *terminals)
    return Lines(explain)


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class Lines:
    """Plain lines."""

    def __init__(self, explain: bool) -> None:
        self.explain = explain

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def watched(self, roots: Iterable[Path]) -> Iterator[Path]:
        """The files of the paths, one by one."""
        for root in roots:
            yield from files_of(root)

    def read(self, size: int) -> None:
        """Called as bytes of the current file are scanned."""

    def problem(self, path: str, text: str) -> None:
        """Something a reader must know of a file."""
        print(f"overread: {printable(path)}: {printable(text)}", file=sys.stderr)

    def report(self, report: Report) -> None:
        """Shows a report, if it says anything."""
        if report.verdict.findings or self.explain:
            self.show(report, heading(report), rows(report), tail(report, self.explain))

    def show(self, report: Report, heading: str, rows: list[tuple[str, ...]], tail: list[str]) -> None:
        """Shows a report."""
        print(heading)
        table = [COLUMNS, *rows] if rows else []
        widths = [max(len(r[i]) for r in table) for i in range(6)] if table else []
        for r in table:
            print("  " + "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=False)) + "  " + r[6])
        for line in tail:
            print("  " + line)


class Json(Lines):
    """One object a line."""

    def report(self, report: Report) -> None:
        """Shows every report; what was not scanned stands in it too."""
        print(json.dumps({"path": report.path, **report.verdict.to_dict(), "notes": report.notes, "unread": report.unread}))


class Rich(Lines):
    """Tables where standard output is a terminal, a progress bar where standard error is one."""

    def __init__(self, explain: bool, tables: bool, bar: bool) -> None:
        super().__init__(explain)
        from rich.console import Console

        self.console: Console | None = Console(highlight=False) if tables else None
        self.bar: Progress | None = self._bar(Console(stderr=True, highlight=False)) if bar else None
        self.leaks = self.size = 0

    @staticmethod
    def _bar(console: Console) -> Progress:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("files, {task.fields[leaks]} with a leak, {task.fields[mib]:,} MiB"), TimeElapsedColumn())
        # Redirection would send what is printed to a piped standard output to standard error.
        return Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def watched(self, roots: Iterable[Path]) -> Iterator[Path]:
        """The files of the paths, counted first where there is a bar to fill."""
        roots = list(roots)
        if not self.bar:
            yield from super().watched(roots)
            return
        total = sum(1 for _ in super().watched(roots))
        self.task = self.bar.add_task("", total=total, leaks=0, mib=0)
        self.bar.start()
        for path in super().watched(roots):
            yield path
            self.bar.advance(self.task)

    def read(self, size: int) -> None:
        """Moves the bar's byte count."""
        if self.bar:
            self.size += size
            self.bar.update(self.task, mib=self.size >> 20)

    def problem(self, path: str, text: str) -> None:
        """Printed above the bar."""
        self.pause()
        super().problem(path, text)
        self.resume()

    def report(self, report: Report) -> None:
        """Counts leaks for the bar."""
        self.leaks += report.verdict.leaked
        if self.bar:
            self.bar.update(self.task, leaks=self.leaks)
        super().report(report)

    def show(self, report: Report, heading: str, rows: list[tuple[str, ...]], tail: list[str]) -> None:
        """A table above the bar."""
        self.pause()
        if self.console:
            self.table(report, heading, rows, tail)
        else:
            super().show(report, heading, rows, tail)
        self.resume()

    def table(self, report: Report, heading: str, rows: list[tuple[str, ...]], tail: list[str]) -> None:
        from rich.table import Table
        from rich.text import Text

        assert self.console
        # Text, not str: brackets in names are no markup.
        self.console.print(Text(heading, style="bold red" if report.verdict.leaked else "bold"))
        if rows:
            table = Table()
            for name in COLUMNS:
                table.add_column(name, justify="right" if name in ("offset", "length", "bits") else "left", overflow="fold")
            for row in rows:
                table.add_row(*(Text(cell) for cell in row))
            self.console.print(table)
        for line in tail:
            self.console.print(Text(line))

    def pause(self) -> None:
        # Both streams may be the same terminal: the bar goes away while a line is written.
        if self.bar:
            sys.stdout.flush()
            self.bar.stop()

    def resume(self) -> None:
        if self.bar:
            sys.stdout.flush()
            self.bar.start()


def heading(report: Report) -> str:
    """Path, bits and tier."""
    verdict = report.verdict
    return f"{printable(report.path)}: {verdict.bits:.1f} bits, {verdict.tier}{', LEAK' if verdict.leaked else ''}"


def rows(report: Report) -> list[tuple[str, ...]]:
    """One row a finding, as COLUMNS name them."""
    return [
        (f.part, str(f.offset), str(f.length), f.rule, f.family, f"{f.bits:.1f}", printable(context))
        for f, context in zip(report.verdict.findings, report.contexts, strict=True)
    ]


def tail(report: Report, explain: bool) -> list[str]:
    """What follows the findings."""
    lines = [f"and {report.verdict.findings_dropped} further signs"] if report.verdict.findings_dropped else []
    return lines + (report.verdict.explain().split("\n") if explain else [])
