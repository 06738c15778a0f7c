"""What becomes of a leaking response in every cell of proxy x HTTP version x coding x action x streaming, as laws.

The tests run the cells on the real proxies and hold them to these laws; docs/compatibility.md is written from the same:
`python -m tests.integration.compatibility`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/compatibility.md"

PROXIES = {"nginx": "nginx", "envoy": "Envoy", "asgi": "ASGI (uvicorn)"}
HTTP = ("1.0", "1.1", "2", "3")
CODINGS = ("identity", "gzip", "deflate", "br", "zstd")
ACTIONS = ("monitor", "log", "no-store", "redact", "trim", "truncate", "block")
STREAMS = {
    "length": "a `Content-Length`, all at once",
    "chunked": "chunks, all at once",
    "late": "a `Content-Length`, and the leak comes when the first bytes have reached the client",
    "events": "an event stream, and the leak comes when the first event has reached the client",
}


@dataclass(frozen=True, slots=True)
class Cell:
    proxy: str
    http: str
    coding: str
    action: str
    stream: str

    def __str__(self) -> str:
        return "-".join(astuple(self))


def runs(proxy: str, http: str) -> bool:
    """Whether there is anything to run: curl 7 and nginx 1.22 have no HTTP/3, uvicorn has neither 2 nor 3."""
    return http != "3" and (proxy, http) != ("asgi", "2")


def cells() -> Iterator[Cell]:
    """All that the tests run."""
    return (cell for cell in every_cell() if runs(cell.proxy, cell.http))


def every_cell() -> Iterator[Cell]:
    return (Cell(*values) for values in itertools.product(PROXIES, HTTP, CODINGS, ACTIONS, STREAMS))


def pairs_of(cell: Cell) -> set[object]:
    return set(itertools.combinations(enumerate(astuple(cell)), 2))


@cache
def pairs() -> tuple[Cell, ...]:
    """Few cells with every pair of values of any two dimensions: at each step the one with most pairs that are new.

    allpairspy 2.5 leaves some pairs out where cells are excluded.
    """
    left = {cell: pairs_of(cell) for cell in cells()}
    chosen = []
    while left:
        best = max(left, key=lambda cell: len(left[cell]))
        chosen.append(best)
        new = left.pop(best)
        left = {cell: missing - new for cell, missing in left.items() if missing - new}
    return tuple(chosen)


@dataclass(frozen=True, slots=True)
class Outcome:
    became: str  # "whole", "masked", "shorter", "502", "cut"
    no_store: bool = False  # the client's head says so
    ends_well: bool = True  # the client sees a complete response
    done: str = ""  # `action` of the event


def outcome(cell: Cell, *, container: bool = False) -> Outcome:
    """docs/policy.md for a leak of tier strong in the body. `container`: an image with a tail in place of a page."""
    head_left = cell.stream in ("late", "events")
    # Such a body ends with its connection, and only nginx can reset one: docs/nginx.md.
    seen = not (cell.http == "1.0" and cell.stream == "events" and cell.proxy != "nginx")
    if cell.action in ("monitor", "log"):
        return Outcome("whole", done="log")
    if cell.action == "no-store":
        return Outcome("whole", no_store=not head_left, done="no-store")
    plain = cell.coding == "identity"
    if plain and cell.action == "redact":
        return Outcome("masked", no_store=not head_left, done="redact")
    if plain and (cell.action == "truncate" or (cell.action == "trim" and container)):
        # A length that was promised is not kept; and Envoy's modules cannot end a response early.
        broken = cell.stream == "late" or (head_left and cell.proxy == "envoy")
        return Outcome("shorter", no_store=not head_left, ends_well=not (broken and seen), done=cell.action)
    if head_left:
        return Outcome("cut", ends_well=not seen, done="cut")
    return Outcome("502", no_store=True, done="block")


def words(cell: Cell) -> str:
    if not runs(cell.proxy, cell.http):
        return "not tested"
    law = outcome(cell)
    if law.became == "shorter" and not law.ends_well:
        return "shorter, broken off"
    if law.became == "cut" and law.ends_well:
        return "cut, unseen"
    return law.became + (", no-store" if law.no_store and law.became != "502" else "")


def table() -> str:
    """The rows of the page; codings that fare alike share one."""
    columns = list(itertools.product(PROXIES, HTTP))
    lines = [
        "| action | streaming | coding | " + " | ".join(f"{PROXIES[p]} HTTP/{h}" for p, h in columns) + " |",
        "|---" * (3 + len(columns)) + "|",
    ]
    for action, stream in itertools.product(ACTIONS, STREAMS):
        alike: dict[tuple[str, ...], list[str]] = {}
        for coding in CODINGS:
            alike.setdefault(tuple(words(Cell(p, h, coding, action, stream)) for p, h in columns), []).append(coding)
        lines += (f"| {action} | {stream} | {', '.join(codings)} | " + " | ".join(row) + " |" for row, codings in alike.items())
    return "\n".join(lines)


def page() -> str:
    tested = sum(1 for _ in cells())
    return f"""# What works with what

What a client gets of a page that leaks, under every proxy, HTTP version towards the client, content coding of the origin, action (strong and
certain alike) and way to stream. `tests/integration/test_compatibility.py` sends a clean page, which must come byte for byte, and a leaking one
through the real proxy in each cell. `make test` runs {len(pairs())} cells with every pair of values of any two dimensions, `make soak` all
{tested}. The tests and this page are made of the same laws (`python -m tests.integration.compatibility`), which are those of [policy.md](policy.md).

- **whole**: every byte, and an event. **no-store**: and the head says that no cache may keep it.
- **masked**: as long as it was, what was found overwritten. In an event stream, which is never held, that is what follows the place where the tier
  is reached.
- **shorter**: the body ends before the leak; **broken off** where the client sees that it is not complete.
- **502**: nothing of it. **cut**: the connection is closed or the stream reset before the leak, so that the client sees that it is not complete.
  **unseen** where an HTTP/1.0 client cannot: to it the end of the connection is the end of the body. nginx resets the connection.
- **not tested**: no test runs this cell. uvicorn speaks HTTP/1 only, and Debian 12's nginx and curl no HTTP/3.

| streaming | |
|---|---|
{chr(10).join(f"| {name} | {meaning} |" for name, meaning in STREAMS.items())}

Under `trim` a page is blocked, for it has no tail. An image with a tail loses the tail (`shorter`) where it is not coded, and is blocked where it is.
Envoy takes HTTP/1.0 with `accept_http_10` only.

{table()}
"""


if __name__ == "__main__":
    PAGE.write_text(page())
