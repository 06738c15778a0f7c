"""The proxies' event files: one JSON object a line, as event.schema.json says. `overread events tail|explain`."""

from __future__ import annotations

import functools
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .errors import ConfigError
from .verdict import Finding, Term, Verdict

POLL_SECONDS = 0.2

Event = dict[str, Any]


def read(path: Path) -> Iterator[Event]:
    """Events of a file, oldest first.

    Lines that are no event, such as half of one that a full disk cut, are passed over.

    Raises
    ------
    ConfigError
        When the file cannot be read.
    """
    with _open(path) as file:
        yield from _events(file)


def follow(path: Path, number: int) -> Iterator[Event]:
    """The newest ``number`` events of a file, and then those to come, also of a file that takes its place, without end.

    Raises
    ------
    ConfigError
        When the file cannot be read.
    """
    file = _open(path)
    try:
        there = list(_events(file))
        yield from there[max(0, len(there) - number) :]
        while True:
            time.sleep(POLL_SECONDS)
            yield from _events(file)
            try:
                now = path.stat()
            except OSError:
                continue  # between two files
            if now.st_ino == os.fstat(file.fileno()).st_ino and now.st_size >= file.tell():
                continue
            yield from _events(file)  # what was written to the old file before it was moved away
            file.close()
            file = _open(path)
    finally:
        file.close()


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _events(file: BinaryIO) -> Iterator[Event]:
    """From where the file stands to its last whole line."""
    while line := file.readline():
        if not line.endswith(b"\n"):
            file.seek(-len(line), os.SEEK_CUR)  # its end is still being written
            return
        if (event := _parse(line)) is not None:
            yield event


@functools.cache
def _required() -> frozenset[str]:
    """What every event has, by the schema."""
    return frozenset(json.loads(Path(__file__).with_name("event.schema.json").read_text(encoding="utf-8"))["required"])


def _parse(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and event.get("schema") == 1 and event.keys() >= _required() else None


def find(path: Path, event_id: str) -> Event:
    """The newest event with this id.

    Raises
    ------
    ConfigError
        When there is none, or the file cannot be read.
    """
    found = None
    for event in read(path):
        if event["id"] == event_id:
            found = event
    if found is None:
        raise ConfigError(f"{path}: no event has the id {event_id!r}")
    return found


def verdict_of(event: Event) -> Verdict:
    """The verdict behind an event, as far as it tells: offsets, digests and counts, never bytes."""
    return Verdict(
        leaked=event["tier"] in ("strong", "certain"),
        bits=event["bits"],
        probability=event["probability"],
        tier=event["tier"],
        first_offset=min((f["offset"] for f in event["findings"] if f["part"] == "body"), default=None),
        body_bytes=event["body_bytes"],
        content_class=event["content_class"],
        findings=tuple(Finding(**{"name": "", **f, "digest": int(f["digest"], 16)}) for f in event["findings"]),
        findings_dropped=event["findings_dropped"],
        terms=tuple(Term(**t) for t in event["terms"]),
        exempt=event["exempt"],
        decode=event["decode"],
    )


def line(event: Event) -> str:
    """An event in one line: when, id, what was done, how sure, where."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(event["unix_ms"] / 1000))
    done = event["action"] if event["mode"] == "enforce" else f"{event['action']} (enforce: {event.get('would', '?')})"
    rules = sorted({f["rule"] for f in event["findings"]})
    more = f" and {len(rules) - 3} more" if len(rules) > 3 else ""
    done += " (a test)" if event.get("test") else ""
    return f"{when} {event['id']} {done} {event['tier']} {event['bits']:.1f} bits {event['method']} {event['host']}{event['path']} {', '.join(rules[:3])}{more}"


def explain(event: Event) -> str:
    """Why there is an event, and what was done."""
    left = "before the head left" if not event["head_sent"] else "after the head had left"
    what = f"action: {event['action']}" + (f", {left}" if event["action"] not in ("log", "block", "cut") else "")
    if "would" in event:
        what += f"; the mode is monitor, enforce would: {event['would']}"
    if "same" in event:
        what += f"\npublished: the path showed the same bytes there in {event['same']} fetches, so the action is that of tier weak"
    if (r := event.get("repetition")) is not None:
        what += f"\nrepetition: {r['count']} of {r['responses']:,} responses of this folder reached {r['bits']} bits, too many for chance"
    if (t := event.get("twin")) is not None:
        where_more = f"behind byte {t['offset']:,}" if t["is"] == "tail" else f"in the block at {t['offset']:,}"
        what += f"\ntwin: the same object had {t['length']:,} bytes less, {where_more}"
    ids = "".join(f"\n{key}: {event[key]}" for key in ("trace_id", "request_id", "owner") if key in event)
    ids += "".join(f"\n{key}: {', '.join(event[key])}" for key in ("features", "tripped") if key in event)
    if "left_out" in event:
        ids += f"\n{event['left_out']} events before this one were left out"
    where = [
        f"  {f['rule']}: {f['part']}{' ' + f['name'] if f.get('name') else ''} at {f['offset']:,}, {f['length']:,} bytes, digest {f['digest']}"
        for f in event["findings"]
    ]
    lines = ignore_lines(event)
    silence = ["if all of this is harmless, these lines silence it:", *(f"  {text}" for text in lines)] if lines else []
    return "\n".join([line(event), what + ids, verdict_of(event).explain(), "where:", *where, *silence])


def ignore_lines(event: Event, days: int = 30) -> list[str]:
    """The narrowest lines for ``ignore`` that take out just what an event found, on its path: values by digest where digests are under
    the operator's key, all else by rule. None where the path has characters that a line has not.

    A digest under a random key would match nothing once the process is gone. The lines are good for ``days`` from now.
    """
    until = time.strftime("%Y-%m-%d", time.gmtime(time.time() + days * 86400))
    words = []
    for f in event["findings"]:
        one = f"digest={f['digest']}" if event.get("keyed") and int(f["digest"], 16) else f"rule={f['rule']}"
        if one not in words:
            words.append(one)
    path = event["path"]
    # A visitor chooses it: one that a line would not take as it is, or only as a pattern of more, gets no line.
    if not re.fullmatch(r"/[A-Za-z0-9._~!&(),;=:@%+/-]*", path) or len(path) > 128:
        return []
    return [f"{word} path={path} until={until}" for word in words]
