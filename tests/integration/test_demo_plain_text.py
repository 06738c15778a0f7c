"""The demo's second leak: a session of another visitor as plain, valid text, which only the registry tells from the page's own."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from overread.proxy import LONG_NAME

from .processes import Demo, start_demo, stop_demo, until
from .shop import pieces_of
from .test_envoy import curl

GREETING = b"Good to see you, " + LONG_NAME.replace("+", " ").encode()[:24]


def asked(demo: Demo, site: str, name: str = LONG_NAME) -> tuple[int, bytes]:
    return curl(f"{site}/hello?name={name}")


def spilled(demo: Demo, body: bytes) -> list[bytes]:
    """Planted secrets that stand right behind the name."""
    return [secret for secret in demo.planted() if GREETING + secret + b". The kettle" in body]


@pytest.fixture(scope="module")
def unguarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    made = start_demo(tmp_path_factory.mktemp("unguarded"), "--no-registry")
    yield made
    stop_demo(made.process)


def test_the_origin_really_spills_plain_text(demo: Demo) -> None:
    status, body = asked(demo, demo.origin)
    assert status == 200
    body.decode("ascii")
    assert until(lambda: spilled(demo, asked(demo, demo.origin)[1]), 10)


def test_with_the_registry_it_is_blocked(demo: Demo) -> None:
    path = '"path":"/hello"'
    # Behind a name one session of hexadecimal digits in 87 has no piece that the registry keeps and the page shows.
    blocked = [asked(demo, demo.filtered)[0] for _ in range(20)].count(502)
    assert blocked >= 16
    assert until(lambda: demo.events.read_text().count(path) >= blocked, 5)
    for event in (json.loads(line) for line in demo.events.read_text().splitlines() if path in line):
        assert (event["tier"], event["action"]) == ("certain", "block")
        assert {finding["rule"] for finding in event["findings"]} == {"foreign.session"}
    # A name that leaves room for its NUL spills nothing.
    status, body = asked(demo, demo.filtered, "Ishmael")
    assert (status, b"Good to see you, Ishmael. The kettle" in body) == (200, True)
    told = demo.events.read_bytes()
    assert not any(piece in told for secret in demo.planted()[-50:] for piece in pieces_of(secret.decode()))


def test_without_it_nothing_finds_it(unguarded: Demo) -> None:
    assert until(lambda: spilled(unguarded, asked(unguarded, unguarded.filtered)[1]), 10)
    assert '"path":"/hello"' not in unguarded.events.read_text()
    assert curl(unguarded.filtered + "/leak")[0] == 502  # the other leak is none of the registry's business
