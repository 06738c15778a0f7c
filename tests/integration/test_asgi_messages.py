"""ASGI messages uvicorn does not know, on a small server loop that keeps every message an application sends."""

import asyncio
import contextlib
import gzip
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from overread import Policy, Scanner, SiteCounts
from overread.proxies.asgi import OverreadMiddleware, ResponseCut
from tests.integration.heavy import heavy_scanner
from tests.unit.test_api import LEAK, PAGE

Messages = list[dict[str, Any]]
HTML = [(b"content-type", b"text/html; charset=utf-8")]
START = {"type": "http.response.start", "status": 200, "headers": HTML}
MODES = ("monitor", "enforce")


def serve(
    app: Any,
    mode: str,
    scope: dict[str, Any] | None = None,
    incoming: Iterable[dict[str, Any]] = (),
    scanner: Scanner | None = None,
    counts: SiteCounts | None = None,
    owner: Any = None,
    **policy: float,
) -> tuple[Messages, Messages]:
    """What left the server, and the events."""
    sent: Messages = []
    events: Messages = []

    async def run() -> None:
        queue = iter([*incoming, {"type": "http.disconnect"}])

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0)
            return next(queue)

        async def send(message: Any) -> None:
            await asyncio.sleep(0)
            sent.append(message)

        chosen = Policy(mode=mode, block_from="strong", **policy)  # type: ignore[arg-type] # numbers only
        middleware = OverreadMiddleware(app, chosen, scanner, on_event=events.append, counts=counts, owner=owner)
        whole = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], **(scope or {})}
        async with asyncio.timeout(20):
            await middleware(whole, receive, send)

    asyncio.run(run())
    return sent, events


def body(messages: Messages) -> bytes:
    assert [m.get("more_body", False) for m in messages if m["type"] == "http.response.body"][-1] is False
    return b"".join(m["body"] for m in messages if m["type"] == "http.response.body")


def app_of(*messages: dict[str, Any]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


@pytest.mark.parametrize("mode", MODES)
def test_early_hints_leave_before_the_head(mode: str) -> None:
    hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}
    sent, _ = serve(app_of(hint, START, {"type": "http.response.body", "body": PAGE}), mode)
    assert sent[:2] == [hint, START]
    assert body(sent) == PAGE


@pytest.mark.parametrize("mode", MODES)
def test_trailers_follow_the_whole_body(mode: str) -> None:
    start = {**START, "trailers": True}
    trailers = {"type": "http.response.trailers", "headers": [(b"server-timing", b"x")], "more_trailers": False}
    chunks = [{"type": "http.response.body", "body": PAGE, "more_body": True}, {"type": "http.response.body", "body": b"</body></html>"}]
    sent, _ = serve(app_of(start, *chunks, trailers), mode)
    assert (sent[0], sent[-1]) == (start, trailers)
    assert body(sent) == PAGE + b"</body></html>"
    sent, events = serve(app_of(start, {"type": "http.response.body", "body": LEAK}, trailers), mode)
    if mode == "enforce":
        assert [m["type"] for m in sent] == ["http.response.start", "http.response.body"]
        assert sent[0]["status"] == 502
    else:
        assert (body(sent), sent[-1]) == (LEAK, trailers)
    assert len(events) == 1


def test_a_trailer_that_leaks_stops_what_is_held() -> None:
    start = {**START, "trailers": True}
    trailers = {"type": "http.response.trailers", "headers": [(b"allow", b"GET,HEAD,OPTIONS,,HEAD,:09:44 GMT")], "more_trailers": False}
    sent, events = serve(app_of(start, {"type": "http.response.body", "body": PAGE}, trailers), "enforce", scanner=heavy_scanner())
    assert sent[0]["status"] == 502
    assert [f["part"] for f in events[0]["findings"]] == ["trailer"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["path", "descriptor", "object", "range"])
def test_files_are_scanned_like_bodies(tmp_path: Path, mode: str, kind: str) -> None:
    for data, leaks in ((PAGE * 100, False), (PAGE * 3 + LEAK + PAGE, True)):
        path = tmp_path / "file"
        path.write_bytes(b"0123456789" + data + b"behind" if kind == "range" else data)
        with path.open("rb") as file:
            message: dict[str, Any] = {"type": "http.response.zerocopysend", "file": file.fileno()}
            if kind == "path":
                message = {"type": "http.response.pathsend", "path": str(path)}
            elif kind == "object":
                message["file"] = file
            elif kind == "range":
                message |= {"offset": 10, "count": len(data)}
            sent, events = serve(app_of(START, message), mode)
            # A file given with an offset keeps its position.
            assert kind != "range" or os.lseek(file.fileno(), 0, os.SEEK_CUR) == 0
        assert bool(events) == leaks
        if leaks and mode == "enforce":
            assert sent[0]["status"] == 502
        else:
            assert body(sent) == data


def test_several_files_make_one_body(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(PAGE)
    with path.open("rb") as file:
        part = {"type": "http.response.zerocopysend", "file": file.fileno(), "offset": 0}
        sent, _ = serve(app_of(START, {**part, "more_body": True}, {"type": "http.response.body", "body": b"<hr>", "more_body": True}, part), "enforce")
    assert body(sent) == PAGE + b"<hr>" + PAGE


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
def test_other_scopes_pass_untouched(mode: str, kind: str) -> None:
    seen: list[Any] = []
    reply = {"type": f"{kind}.send", "bytes": LEAK}
    incoming = {"type": f"{kind}.receive", "bytes": LEAK}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend([scope["type"], await receive()])
        await send(reply)

    sent, events = serve(app, mode, {"type": kind}, [incoming])
    assert seen == [kind, incoming]
    assert seen[1] is incoming
    assert sent[0] is reply
    assert events == []


@pytest.mark.parametrize("mode", MODES)
def test_request_messages_reach_the_application_as_they_are(mode: str) -> None:
    incoming = [{"type": "http.request", "body": b"x" * 50_000, "more_body": i < 3, "extra": i} for i in range(4)]
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(5):
            seen.append(await receive())
        await send(START)
        await send({"type": "http.response.body", "body": PAGE})

    serve(app, mode, None, incoming)
    assert all(a is b for a, b in zip(seen, incoming, strict=False))
    assert seen[4] == {"type": "http.disconnect"}


def test_a_body_read_after_the_start_does_not_wait() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "headers": [(b"content-type", b"text/event-stream")]})
        while (message := await receive())["type"] == "http.request":
            await send({"type": "http.response.body", "body": message["body"], "more_body": True})
        await send({"type": "http.response.body"})

    incoming = [{"type": "http.request", "body": b"data: %d\n\n" % i, "more_body": True} for i in range(3)]
    sent, _ = serve(app, "enforce", None, incoming)
    assert [m["body"] for m in sent[1:4]] == [m["body"] for m in incoming]


@pytest.mark.parametrize("field", [(b"content-type", b"application/grpc"), (b"content-type", b"application/jsonl"), (b"X-Accel-Buffering", b"no")])
def test_heads_of_flowing_responses_leave_at_once(field: tuple[bytes, bytes]) -> None:
    order: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "headers": [field]})
        order.append("started")
        await send({"type": "http.response.body", "body": b"x\n"})

    async def run() -> None:
        async def send(message: Any) -> None:
            order.append(message["type"])

        async def receive() -> Any:
            return {"type": "http.disconnect"}

        await OverreadMiddleware(app, Policy("enforce"))({"type": "http", "method": "GET", "path": "/", "headers": []}, receive, send)

    asyncio.run(run())
    assert order == ["http.response.start", "started", "http.response.body"]


def test_a_late_leak_is_cut() -> None:
    chunks = [{"type": "http.response.body", "body": PAGE * 20, "more_body": True}, {"type": "http.response.body", "body": LEAK}]
    with pytest.raises(ResponseCut):
        serve(app_of(START, *chunks), "enforce")


@pytest.mark.parametrize("mode", MODES)
def test_every_finished_response_is_counted(mode: str) -> None:
    counts = SiteCounts()
    for page in (PAGE, PAGE, LEAK):
        serve(app_of(START, {"type": "http.response.body", "body": page}), mode, counts=counts)
    cells = counts.cells()
    assert counts.responses == 3
    assert cells["html", "raw", 4] == (1, 3)
    assert cells["head", "place", 4] == (0, 3)
    serve(app_of(START, {"type": "http.response.body", "body": PAGE}), "off", counts=counts)
    assert counts.responses == 3


def test_a_budget_takes_the_place_of_the_tier() -> None:
    app = app_of(START, {"type": "http.response.body", "body": LEAK})
    assert serve(app, "enforce")[0][0]["status"] == 502
    sent, events = serve(app, "enforce", budget=1.0, responses_per_day=1e12)
    assert body(sent) == LEAK
    assert [event["action"] for event in events] == ["no-store"]
    assert serve(app, "enforce", budget=1.0, responses_per_day=1000.0)[0][0]["status"] == 502


def act(action: str, *messages: dict[str, Any], hold: int = 16384) -> tuple[Messages, Messages]:
    """What leaves under one action for tiers strong and certain, and the events; a cut ends it."""
    sent: Messages = []
    events: Messages = []

    async def run() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        policy = Policy(mode="enforce", action={"strong": action, "certain": action}, hold=hold)
        middleware = OverreadMiddleware(app_of(*messages), policy, on_event=events.append)
        with contextlib.suppress(ResponseCut):
            await middleware({"type": "http", "method": "GET", "path": "/", "query_string": b"q=1", "headers": []}, receive, send)

    asyncio.run(run())
    return sent, events


KEPT = {**START, "headers": [*HTML, (b"Cache-Control", b"max-age=600"), (b"ETag", b'"1"'), (b"content-length", str(len(LEAK)).encode())]}


@pytest.mark.parametrize("action", ["log", "no-store", "redact", "truncate", "block"])
def test_every_action(action: str) -> None:
    sent, events = act(action, KEPT, {"type": "http.response.body", "body": LEAK})
    assert [event["action"] for event in events] == [action]
    fields = {n.lower(): v for n, v in sent[0]["headers"]}
    assert (fields.get(b"cache-control") == b"no-store") == (action != "log")
    assert (b"etag" in fields) == (action == "log")
    if action == "block":
        assert sent[0]["status"] == 502
        return
    out = body(sent)
    assert int(fields[b"content-length"]) == len(out)
    if action in ("log", "no-store"):
        assert out == LEAK
    elif action == "redact":
        assert len(out) == len(LEAK)
        assert out != LEAK
        assert Scanner().scan(out, HTML[0][1]).tier == "none"
    else:
        assert LEAK.startswith(out)
        assert Scanner().scan(out, HTML[0][1]).tier == "none"


def test_a_body_that_is_shortened_late_ends_or_breaks_off() -> None:
    chunks = [{"type": "http.response.body", "body": (PAGE * 20)[:20000], "more_body": True}, {"type": "http.response.body", "body": LEAK}]
    sent, events = act("truncate", START, *chunks)
    assert events[0]["action"] == "truncate"
    assert ((PAGE * 20)[:20000] + LEAK).startswith(body(sent))
    sent, _ = act("truncate", {**START, "headers": [*HTML, (b"content-length", b"90000")]}, *chunks, hold=100)
    assert sent[-1]["more_body"]  # the length that was promised is not kept, and the server must not seem to


def test_masked_events_flow() -> None:
    head = {**START, "headers": [(b"content-type", b"text/event-stream")]}
    leak = b"data: " + LEAK[LEAK.find(b"\x00") - 60 :][:700] + b"\n\n"
    notes = [b"data: hello\n\n"] * 40
    events = [*notes, leak, *notes, b"data: \r\nCookie: session=Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\n\r\n\n\n", *notes]
    sent, _ = act("redact", head, *({"type": "http.response.body", "body": e, "more_body": True} for e in events), {"type": "http.response.body", "body": b""})
    out = [m["body"] for m in sent if m["type"] == "http.response.body"]
    assert [len(piece) for piece in out[: len(events)]] == [len(e) for e in events]
    assert b"Zk3Yx8QmZr7LwPvB2nHs5TdJ" not in b"".join(out[-41:])


def test_on_error_block_stops_what_cannot_be_decoded() -> None:
    head = {**START, "headers": [*HTML, (b"content-encoding", b"gzip")]}
    broken = {"type": "http.response.body", "body": gzip.compress(PAGE * 40)[:300]}
    assert body(serve(app_of(head, broken), "enforce")[0]) == broken["body"]
    sent, events = serve(app_of(head, broken), "enforce", on_error="block")  # type: ignore[arg-type] # of Policy
    assert sent[0]["status"] == 502
    assert events[0]["decode"] == "truncated"
    leak = gzip.compress(LEAK * 3, 0)
    pieces = [{"type": "http.response.body", "body": leak[i : i + 500], "more_body": True} for i in range(0, len(leak), 500)]
    sent, events = serve(app_of(head, *pieces), "enforce")
    assert (sent[0]["status"], events[0]["decode"]) == (502, "ok")  # it was stopped before its end, and nothing was wrong with it


def test_what_is_stopped_with_its_only_message_gets_a_page() -> None:
    # The core says cut, for it had let bytes go; but none had left yet.
    head = {**START, "headers": [*HTML, (b"content-encoding", b"gzip")]}
    broken = gzip.compress(b"".join(b"<p>%d</p>" % n for n in range(60000)))[:-2000]
    sent, events = serve(app_of(head, {"type": "http.response.body", "body": broken}), "enforce", on_error="block")  # type: ignore[arg-type] # of Policy
    assert [m.get("status", 0) for m in sent] == [502, 0]
    assert (events[0]["action"], events[0]["released"], events[0]["head_sent"]) == ("block", 0, False)


def test_a_shortened_body_never_waits_for_trailers() -> None:
    chunks = [{"type": "http.response.body", "body": (PAGE * 20)[:20000], "more_body": True}, {"type": "http.response.body", "body": LEAK}]
    sent, _ = act("truncate", {**START, "trailers": True}, *chunks, hold=100)
    assert sent[-1]["more_body"]


def test_a_part_of_a_file_is_not_shortened() -> None:
    head = {**START, "status": 206, "headers": [*HTML, (b"content-range", b"bytes 0-%d/20000" % (len(LEAK) - 1))]}
    assert act("truncate", head, {"type": "http.response.body", "body": LEAK})[0][0]["status"] == 502
