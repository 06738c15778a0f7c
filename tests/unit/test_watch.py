"""What filters compare: the settings, and that events say it as their schema wants."""

import json
import time
from importlib.resources import files

import jsonschema
import pytest

import overread
from overread.errors import ConfigError
from overread.events import explain

from .test_api import HTML, PAGE

SCHEMA = json.loads((files("overread") / "event.schema.json").read_text())
POINTER = 0x7F34E1D2A010


def respond(scanner: overread.Scanner, policy: overread.Policy, body: bytes, target: str = "/a/b?q=hunter2", **fields: str) -> dict[str, object] | None:
    request = overread.Request("GET", target, [("Host", "shop.example")])
    f = scanner.filter(policy, HTML, headers=[(name.replace("_", "-"), value) for name, value in fields.items()], request=request)
    f.body(body)
    f.end()
    if not f.wants_event:
        assert not f.repeated
        return None
    event: dict[str, object] = json.loads(f.event("x", target=target, unix_ms=time.time_ns() // 1_000_000))
    jsonschema.validate(event, SCHEMA)
    assert f.repeated == ("repetition" in event)
    assert "hunter2" not in json.dumps(event)
    return event


def leaking(number: int) -> bytes:
    words = b"".join((POINTER + (number << 8) + 16 * i).to_bytes(8, "little") for i in range(4))
    return PAGE + words + b"\xff\xfe\x01\0\0\0" + PAGE


def test_repetition_alarms_once_and_published_bytes_do_not() -> None:
    scanner, policy = overread.Scanner(), overread.Policy(watch=("repetition",))
    events = [respond(scanner, policy, leaking(n), f"/a/b/{n}") for n in range(6)]
    assert [e is not None and "repetition" in e for e in events] == [False, True, False, False, False, False]
    assert events[1] is not None
    assert "\nrepetition: 2 of 2 responses of this folder reached 22 bits, too many for chance\n" in explain(events[1])
    events = [respond(scanner, policy, leaking(1), "/published") for _ in range(20)]
    assert all(e is not None and "repetition" not in e for e in events)


def test_twins_are_told_below_every_tier() -> None:
    scanner, policy = overread.Scanner(), overread.Policy(watch=("twins",))
    more = PAGE * 40 + b"x" * 100
    for target in ("/1", "/2"):
        assert respond(scanner, policy, PAGE * 40, target, ETag='"1"', Content_Length=str(len(PAGE * 40))) is None
    event = respond(scanner, policy, more, "/1", ETag='"1"', Content_Length=str(len(more)))
    assert event is not None
    assert event["twin"] == {"is": "tail", "offset": len(PAGE * 40), "length": 100}
    assert (event["tier"], event["bits"]) == ("none", 0.0)  # two objects support nothing
    assert f"\ntwin: the same object had 100 bytes less, behind byte {len(PAGE * 40):,}\n" in explain(event)
    terms = event["terms"]
    assert isinstance(terms, list)
    assert [(t["group"], t["level_index"]) for t in terms] == [("framing", 2)]


def test_nothing_is_compared_unless_asked_for() -> None:
    scanner = overread.Scanner()
    for n in range(6):
        event = respond(scanner, overread.Policy(), leaking(n))
        assert event is not None
        assert not event.keys() & {"repetition", "same", "twin"}


def test_what_cannot_be_compared_is_an_error() -> None:
    with pytest.raises(ConfigError, match="watch: found 'twin', expected some of repetition, sameness, twins"):
        overread.Policy(watch=("repetition", "twin"))
