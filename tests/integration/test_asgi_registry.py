"""The ASGI middleware with a registry: a session of one visitor in another's page."""

from __future__ import annotations

from typing import Any

import pytest

from overread import Scanner, SecretRegistry

from .shop import END, TEXT, TOP, new_session, pieces_of
from .test_asgi_messages import Messages, body, serve

KEY = bytes(range(16))


class Site:
    """Signs visitors in at /login, and shows at /page what a test put there; /form reads its request first."""

    def __init__(self) -> None:
        self.issued = self.shown = ""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/html; charset=utf-8")]
        if scope["path"] == "/login":
            self.issued = new_session()
            headers.append((b"set-cookie", f"session={self.issued}; Path=/; HttpOnly".encode()))
        elif scope["path"] == "/form":
            await receive()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": (TOP + TEXT + f"<p>Last parcel: {self.shown} </p>\n" + END).encode()})


def header_of(scope: Any) -> str | None:
    """The owner as a gateway names it."""
    return next((v.decode() for n, v in scope["headers"] if n == b"x-visitor"), None)


def broken(scope: Any) -> str:
    raise KeyError(scope["path"])


class Visitor:
    def __init__(self, site: Site, scanner: Scanner, owner: Any, name: str) -> None:
        self.site, self.scanner, self.owner, self.name = site, scanner, owner, name
        self.session = ""
        self.get("/login")
        self.session = site.issued

    def get(self, path: str, incoming: tuple[dict[str, Any], ...] = ()) -> tuple[Messages, Messages]:
        headers = [(b"x-visitor", self.name.encode())]
        if self.session:
            headers.append((b"cookie", f"theme=dark; session={self.session}".encode()))
        scope = {"path": path, "headers": headers, "method": "POST" if incoming else "GET"}
        return serve(self.site, "enforce", scope, incoming, self.scanner, owner=self.owner)


@pytest.mark.parametrize("owner", [None, "session", header_of, broken])
def test_a_session_of_another_is_blocked(owner: Any) -> None:
    site, scanner = Site(), Scanner(registry=SecretRegistry(memory=1 << 20), key=KEY)
    a, b, c = (Visitor(site, scanner, owner, name) for name in ("ann-visitor-000001", "bob-visitor-000002", "cas-visitor-000003"))
    site.shown = a.session
    sent, events = b.get("/page")
    assert sent[0]["status"] == 502
    assert [(e["tier"], e["action"], {f["rule"] for f in e["findings"]}) for e in events] == [("certain", "block", {"foreign.session"})]
    assert ("owner" in events[0]) == (owner in ("session", header_of))
    assert not any(piece in repr(events).encode() for visitor in (a, b) for piece in pieces_of(visitor.session))
    # Whoever sends it knows it; and the owner's own page may show it, so that it is content.
    form = ({"type": "http.request", "body": f"token={a.session}".encode()},)
    assert b.get("/form", form)[0][0]["status"] == 200
    site.shown = c.session
    sent, events = c.get("/page")
    assert (sent[0]["status"], events) == (200, [])
    assert c.session.encode() in body(sent)
    assert b.get("/page")[0][0]["status"] == 200


def test_without_a_registry_it_is_plain_text() -> None:
    site, scanner = Site(), Scanner(key=KEY)
    a, b = (Visitor(site, scanner, "session", name) for name in "ab")
    site.shown = a.session
    sent, events = b.get("/page")
    assert (sent[0]["status"], events) == (200, [])
