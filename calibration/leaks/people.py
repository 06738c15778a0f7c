"""Made-up people and the site they visit: everything that may lie in a server's memory comes from here."""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import random
import string
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass

_WORD_LIST = """
amber basin cedar delta ember fjord grove heron inlet juniper kelp lagoon meadow nectar orchid prairie quartz ridge saffron tundra umber valley
willow yarrow zephyr copper marble velvet walnut cobalt
"""
_WORDS = _WORD_LIST.split()
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1",
    "okhttp/4.12.0",
)
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Person:
    """One visitor. ``cookie`` is the whole header value; ``secrets`` are the values nobody else may see."""

    agent: str
    cookie: str
    token: str
    form: dict[str, str]
    secrets: tuple[bytes, ...]


def person(rng: random.Random) -> Person:
    """A visitor drawn from the generator."""
    name = rng.choice(("sid", "SESSIONID", "connect.sid", "_app_session", "auth", "PHPSESSID"))
    session = "".join(rng.choices(_ALPHABET if rng.random() < 0.6 else "0123456789abcdef", k=rng.choice((26, 32, 40, 64))))
    csrf = "".join(rng.choices(_ALPHABET, k=rng.choice((24, 36, 43))))
    if rng.random() < 0.5:
        parts = (b'{"alg":"HS256","typ":"JWT"}', json.dumps({"sub": rng.randrange(10**9), "exp": 1_790_000_000}).encode(), rng.randbytes(32))
        token = "Bearer " + ".".join(base64.urlsafe_b64encode(p).rstrip(b"=").decode() for p in parts)
    elif rng.random() < 0.5:
        token = "Basic " + base64.b64encode(f"{rng.choice(_WORDS)}:{''.join(rng.choices(_ALPHABET, k=14))}".encode()).decode()
    else:
        token = "Bearer " + "".join(rng.choices(_ALPHABET, k=40))
    email = f"{rng.choice(_WORDS)}.{rng.choice(_WORDS)}{rng.randrange(999)}@mail.example"
    password = "".join(rng.choices(_ALPHABET + "!$#", k=rng.randrange(10, 22)))
    message = " ".join(rng.choices(_WORDS, k=rng.randrange(5, 40)))
    secrets = (session, csrf, token.partition(" ")[2], email, password, message)
    return Person(
        rng.choice(_AGENTS),
        f"lang=en; {name}={session}; csrf_token={csrf}",
        token,
        {"email": email, "password": password, "message": message, "csrf_token": csrf},
        tuple(s.encode() for s in secrets),
    )


class Site(http.server.ThreadingHTTPServer):
    """The origin behind the proxies: pages, JSON, random images, replies to forms."""

    daemon_threads = True

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: a proxy that is stopped resets its connections."""

    def page(self) -> bytes:
        """A page of about 8 KiB; what an over-read that starts behind a body begins after."""
        with self.lock:
            text = " ".join(self.rng.choices(_WORDS, k=900))
        paragraphs = "".join(f"<p>{text[i : i + 400]}</p>\n" for i in range(0, len(text), 400))
        return f"<!doctype html><html><head><title>Shop</title></head><body>{paragraphs}</body></html>\n".encode()

    def answer(self, path: str, form: bytes) -> tuple[str, bytes]:
        """Content type and body."""
        if path.startswith("/api"):
            with self.lock:
                items = [{"id": self.rng.randrange(10**6), "name": self.rng.choice(_WORDS), "tags": self.rng.choices(_WORDS, k=3)} for _ in range(60)]
            return "application/json", json.dumps({"items": items}).encode()
        if path.startswith("/image"):
            with self.lock:
                return "image/png", b"\x89PNG\r\n\x1a\n" + self.rng.randbytes(6000)
        if form:
            return "text/html; charset=utf-8", b"<html><body><p>Thank you.</p></body></html>\n"
        return "text/html; charset=utf-8", self.page()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def _reply(self) -> None:
        form = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind, body = self.server.answer(self.path, form)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        with self.server.lock:
            fresh = "".join(self.server.rng.choices(_ALPHABET, k=32))
        self.send_header("Set-Cookie", f"visit={fresh}; Path=/; HttpOnly")
        if self.path.startswith("/account/login"):
            # A session that slides: it is issued again.
            pairs = [p.strip() for p in self.headers.get("Cookie", "").split(";")]
            session = next((p for p in pairs if not p.startswith(("lang=", "csrf_token=", "oc="))), "")
            self.send_header("Set-Cookie", f"{session}; Path=/; HttpOnly")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _reply

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Says nothing: a log line would hold a visitor's query."""


@dataclass(frozen=True)
class Exchange:
    """One request and the fields of its response."""

    owner: str
    target: str
    request: dict[str, str]
    body: bytes
    response: list[tuple[str, str]]


def visit(
    port: int,
    people: list[Person],
    seed: int,
    requests: int,
    stop: threading.Event,
    exchanges: list[Exchange] | None = None,
    canary: Callable[[str], str] | None = None,
) -> None:
    """One client: keeps its connection as browsers do, and changes the person now and then. ``exchanges`` takes what it did; ``canary``
    gives a value that its requests carry as if a proxy had planted it."""
    rng = random.Random(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    who = rng.choice(people)
    for _ in range(requests):
        if stop.is_set():
            return
        if rng.random() < 0.1:
            who = rng.choice(people)
        headers = {
            "User-Agent": who.agent,
            "Cookie": who.cookie if canary is None else f"oc={(planted := canary(who.cookie))}; {who.cookie}",
            "Accept-Language": "en-GB,en;q=0.8",
            "Referer": f"https://shop.example/item/{rng.randrange(9999)}",
        }
        if canary is not None:
            headers["X-Overread-Canary"] = planted
        if rng.random() < 0.5:
            headers["Authorization"] = who.token
        form = b""
        try:
            if rng.random() < 0.3:
                headers |= {"Content-Type": "application/x-www-form-urlencoded"}
                target, form = "/account/login", urllib.parse.urlencode(who.form).encode()
                connection.request("POST", target, form, headers)
            else:
                target = rng.choice(("/", "/item/", "/api/items?user=", "/image/", "/search?q=")) + rng.choice(_WORDS)
                connection.request("GET", target, headers=headers)
            response = connection.getresponse()
            response.read()
            if exchanges is not None:
                # What a proxy in front of the one that plants would see.
                sent = {k: v for k, v in headers.items() if k != "X-Overread-Canary"} | {"Cookie": who.cookie}
                exchanges.append(Exchange(who.cookie, target, sent, form, response.getheaders()))
        except (OSError, http.client.HTTPException):
            connection.close()
            time.sleep(0.05)
    if not stop.wait(30):
        connection.close()
