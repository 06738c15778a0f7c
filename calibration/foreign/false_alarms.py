"""False alarms on a model of a site: ``python -m calibration.foreign.false_alarms [--responses N] [--seed N]``.

Every response goes through a filter that enforces, as a proxy has it, in chunks of 4 KiB; the filter observes the request and what the
response issues by itself. Nothing leaks, so whatever reaches 22 bits, or is stopped, is a false alarm.

What the model assumes, beside the pages below: sessions are cookies of 32 to 64 characters of chance; a page that shows another client's
session in full is a list of at least three, or is reached from one; tokens of share, reset and invitation links are not cookies; every
request to the site passes the proxy. A page that shows one live session cookie of another client out of the blue is not in it: that is what
the registry is there to stop.
"""

from __future__ import annotations

import argparse
import base64
import collections
import json
import math
import random
import string
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import overread

from .. import page

DOCS = Path(__file__).resolve().parents[2] / "docs/foreign-secrets.md"
URLSAFE = string.ascii_letters + string.digits + "-_"
HEX = "0123456789abcdef"
_WORD_LIST = """
the of and to in is it you that he was for on are with as his they be at one have this from or had by hot word but what some we can
"""
WORDS = _WORD_LIST.split()
Headers = list[tuple[str, str]]
POLICY = overread.Policy("enforce")
CHUNK = 4096  # bytes


@dataclass
class User:
    """A browser: its cookies are what the site gave it."""

    name: str
    cookies: dict[str, str] = field(default_factory=dict)
    bearer: str = ""
    api_key: str = ""
    role: str = "user"

    def headers(self) -> Headers:
        """What its requests carry."""
        out = [("Host", "shop.example"), ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:131.0)")]
        if self.cookies:
            out.append(("Cookie", "; ".join(f"{k}={v}" for k, v in self.cookies.items())))
        if self.bearer:
            out.append(("Authorization", f"Bearer {self.bearer}"))
        return out


@dataclass
class Reply:
    """What the site answers."""

    body: str
    headers: Headers = field(default_factory=list)
    content_type: str = "text/html; charset=utf-8"


class Site:
    """The site, its users and the registry in front of it."""

    def __init__(self, seed: int, users: int) -> None:
        self.rng = random.Random(seed)
        self.now = 1_700_000_000_000
        self.registry = overread.SecretRegistry(memory=128 << 20)
        self.scanner = overread.Scanner(registry=self.registry)
        self.users = [User(f"user{i}") for i in range(users)]
        self.admins = [User(f"admin{i}", role="admin") for i in range(3)]
        self.support = [User(f"support{i}", role="support") for i in range(5)]
        self.services = [User(f"service{i}", api_key=self.token(40), role="service") for i in range(4)]
        self.team_key = self.token(40)
        self.analytics_site = self.token(20)
        self.signature, self.affinity = self.token(27), self.token(64, HEX)
        self.shares: list[str] = []
        self.invites: list[str] = []
        self.cached: dict[str, str] = {}
        self.alarms: collections.Counter[str] = collections.Counter()
        self.weak: collections.Counter[str] = collections.Counter()
        self.seen: collections.Counter[str] = collections.Counter()
        self.ways: list[tuple[float, str, Callable[[User], tuple[str, str, bytes, Reply]]]] = [
            (30, "page", self.page),
            (15, "api", self.api),
            (6, "login", self.login),
            (2, "logout", self.logout),
            (4, "sliding session", self.slide),
            (3, "shared account", self.shared_account),
            (3, "echo", self.echo),
            (5, "form with CSRF token", self.form),
            (4, "share link", self.share),
            (3, "invitation and reset links", self.links),
            (2, "admin list of sessions", self.sessions),
            (2, "support view", self.support_view),
            (6, "page from a CDN's cache", self.cdn),
            (4, "token reply", self.token_reply),
            (3, "token introspection", self.introspect),
            (2, "token exchange", self.exchange),
            (3, "team settings", self.team),
            (3, "search with its own query", self.search),
            (3, "login of a second device", self.second_device),
            (3, "signed settings, the same for all", self.signed),
            (3, "page of an author", self.author),
        ]

    # ---- parts ----

    def token(self, size: int, alphabet: str = URLSAFE) -> str:
        return "".join(self.rng.choices(alphabet, k=size))

    def text(self, words: int = 60) -> str:
        return " ".join(self.rng.choices(WORDS, k=words))

    def jwt(self, subject: str) -> str:
        claims = {"iss": "https://accounts.shop.example/", "aud": "shop", "sub": subject, "exp": 1_700_003_600, "jti": self.token(12)}
        parts = ({"alg": "RS256", "typ": "JWT", "kid": "2023-11"}, claims)
        return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts) + "." + self.token(86)

    def html(self, user: User, inner: str = "") -> str:
        csrf = user.cookies.get("csrf_token", "")
        return (
            f"<!DOCTYPE html><html><head><title>Shop</title><meta name=csrf content='{csrf}'>"
            f"<script>ga('{self.analytics_site}')</script></head><body><p>{self.text()}</p>{inner}</body></html>"
        )

    def new_session(self, user: User) -> Headers:
        kind = hash(user.name) % 4
        session = (self.token(43), self.token(32, HEX), self.token(64, HEX), self.jwt(user.name))[kind]
        user.cookies["session"] = session
        user.cookies.setdefault("_ga", f"GA1.2.{self.rng.randrange(10**9)}.{self.rng.randrange(10**9)}")
        user.cookies.setdefault("visitor", self.token(32))
        user.cookies["csrf_token"] = self.token(32)
        out = [("Set-Cookie", f"session={session}; Path=/; HttpOnly; Secure; SameSite=Lax"), ("Set-Cookie", f"csrf_token={user.cookies['csrf_token']}; Path=/")]
        if self.rng.random() < 0.3:
            user.cookies["remember_token"] = self.token(50)
            out.append(("Set-Cookie", f"remember_token={user.cookies['remember_token']}; Max-Age=2592000; HttpOnly"))
        return out

    # ---- pages: method, target, request body, reply ----

    def page(self, user: User) -> tuple[str, str, bytes, Reply]:
        return "GET", f"/item/{self.rng.randrange(9999)}", b"", Reply(self.html(user))

    def api(self, user: User) -> tuple[str, str, bytes, Reply]:
        items = [{"id": self.token(24, HEX), "etag": self.token(32, HEX), "name": self.text(3)} for _ in range(10)]
        return "GET", "/api/items", b"", Reply(json.dumps({"items": items}), content_type="application/json")

    def login(self, user: User) -> tuple[str, str, bytes, Reply]:
        body = f"email={user.name}%40mail.example&password={self.token(12)}&csrf_token={user.cookies.get('csrf_token', '')}".encode()
        return "POST", "/login", body, Reply(self.html(user), self.new_session(user))

    def logout(self, user: User) -> tuple[str, str, bytes, Reply]:
        had = dict(user.cookies)
        user.cookies = {k: v for k, v in had.items() if k in ("_ga", "visitor")}
        return "POST", "/logout", b"", Reply(self.html(user), [("Set-Cookie", "session=; Max-Age=0; Path=/")])

    def slide(self, user: User) -> tuple[str, str, bytes, Reply]:
        return "GET", "/", b"", Reply(self.html(user), self.new_session(user) if user.cookies.get("session") else [])

    def shared_account(self, user: User) -> tuple[str, str, bytes, Reply]:
        # Another browser with the same login: its own session, the same account's page with the account's key.
        other = self.users[(self.users.index(user) + 1) % len(self.users)] if user.role == "user" else user
        key = other.api_key = user.api_key = user.api_key or self.token(40)
        return "GET", "/account", b"", Reply(self.html(user, f"<p>Your API key: <code>{key}</code></p>"))

    def echo(self, user: User) -> tuple[str, str, bytes, Reply]:
        return "GET", "/debug/headers", b"", Reply(self.html(user, "<pre>" + "\n".join(f"{k}: {v}" for k, v in user.headers()) + "</pre>"))

    def form(self, user: User) -> tuple[str, str, bytes, Reply]:
        token = user.cookies.get("csrf_token", self.token(32))
        hidden = f"<form method=post><input type=hidden name=csrf_token value='{token}'><input type=hidden name=nonce value='{self.token(24)}'></form>"
        return "POST", "/form", f"csrf_token={token}&text={self.text(5).replace(' ', '+')}".encode(), Reply(self.html(user, hidden))

    def share(self, user: User) -> tuple[str, str, bytes, Reply]:
        if not self.shares or self.rng.random() < 0.2:
            self.shares.append(self.token(32))
            link = f"https://shop.example/s/{self.shares[-1]}"
            return "POST", "/share", b"", Reply(self.html(user, f"<a href='{link}'>{link}</a>"))
        share = self.rng.choice(self.shares[-200:])
        return "GET", f"/s/{share}", b"", Reply(self.html(user, f"<link rel=canonical href='/s/{share}'>"))

    def links(self, user: User) -> tuple[str, str, bytes, Reply]:
        if not self.invites or self.rng.random() < 0.3:
            self.invites.append(self.token(40))
            made = json.dumps({"invite": self.invites[-1], "url": f"/join?token={self.invites[-1]}"})
            return "POST", "/invite", b"", Reply(made, content_type="application/json")
        invite = self.rng.choice(self.invites[-100:])
        hidden = f"<form action=/reset><input type=hidden name=reset_token value={invite}></form>"
        return "GET", f"/join?token={invite}", b"", Reply(self.html(user, hidden))

    def sessions(self, user: User) -> tuple[str, str, bytes, Reply]:
        live = [u for u in self.rng.sample(self.users, 60) if u.cookies.get("session")]
        if len(live) < 5:
            return self.page(user)
        rows = "".join(f"<tr><td>{u.name}</td><td><code>{u.cookies['session']}</code></td><td>192.0.2.{self.rng.randrange(255)}</td></tr>" for u in live[:40])
        if self.rng.random() < 0.3 and getattr(self, "listed", None):
            # The page of one session, reached from the list a moment ago.
            session = self.rng.choice(self.listed)
            return "GET", "/admin/session", b"", Reply(self.html(user, f"<h1>{session}</h1>"))
        self.listed = [u.cookies["session"] for u in live[:3]]
        return "GET", "/admin/sessions", b"", Reply(self.html(user, f"<table>{rows}</table>"))

    def support_view(self, user: User) -> tuple[str, str, bytes, Reply]:
        who = self.rng.choice(self.users)
        inner = (
            f"<dl><dt>User<dd>{who.name}<dt>API key<dd>{who.api_key or '-'}<dt>Visitor<dd>{who.cookies.get('visitor', '-')}"
            f"<dt>CSRF<dd>{who.cookies.get('csrf_token', '-')}<dt>Session<dd>{who.cookies.get('session', '-')[:8]}...</dl>"
        )
        return "GET", f"/support/{who.name}", b"", Reply(self.html(user, inner))

    def cdn(self, user: User) -> tuple[str, str, bytes, Reply]:
        path = f"/landing/{self.rng.randrange(50)}"
        # The first visitor's CSRF token and visitor id are in it, which is bad practice and common.
        page = self.cached.setdefault(path, self.html(user, f"<script>visitor='{user.cookies.get('visitor', '')}'</script>"))
        if self.rng.random() < 0.01:
            del self.cached[path]
        return "GET", path, b"", Reply(page, [("Age", str(self.rng.randrange(3600)))])

    def token_reply(self, user: User) -> tuple[str, str, bytes, Reply]:
        user.bearer = self.jwt(user.name) if self.rng.random() < 0.5 else self.token(43)
        reply = {"access_token": user.bearer, "token_type": "Bearer", "expires_in": 3600, "refresh_token": self.token(64)}
        return "POST", "/oauth/token", b"grant_type=password", Reply(json.dumps(reply), [("Cache-Control", "no-store")], "application/json")

    def introspect(self, user: User) -> tuple[str, str, bytes, Reply]:
        who = self.rng.choice(self.users)
        if not who.bearer:
            return self.page(user)
        reply = {"active": True, "sub": who.name, "token": who.bearer, "jti": self.token(20)}
        return "POST", "/oauth/introspect", f"token={who.bearer}".encode(), Reply(json.dumps(reply), content_type="application/json")

    def exchange(self, user: User) -> tuple[str, str, bytes, Reply]:
        who = self.rng.choice(self.users)
        subject = who.bearer or self.token(43)
        who.bearer = self.token(43)  # the service hands it on: the user's next requests carry it
        reply = {"access_token": who.bearer, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer"}
        return "POST", "/oauth/exchange", f"subject_token={subject}".encode(), Reply(json.dumps(reply), content_type="application/json")

    def team(self, user: User) -> tuple[str, str, bytes, Reply]:
        return "GET", "/team/settings", b"", Reply(self.html(user, f"<p>Deploy key <code>{self.team_key}</code></p>"))

    def search(self, user: User) -> tuple[str, str, bytes, Reply]:
        query = self.token(24) if self.rng.random() < 0.3 else self.text(2).replace(" ", "+")
        return "GET", f"/search?q={query}", b"", Reply(self.html(user, f"<p>Nothing for {query}</p>"))

    def second_device(self, user: User) -> tuple[str, str, bytes, Reply]:
        # One token a user, on whatever device it signs in (djoser), and a cookie that is signed and holds nothing else (Flask-Login).
        one = random.Random(f"token of {user.name}")
        auth, remember = "".join(one.choices(HEX, k=40)), f"{user.name}|{''.join(one.choices(HEX, k=128))}"
        user.cookies = {}
        fields = [*self.new_session(user), ("Set-Cookie", f"remember_token={remember}; HttpOnly")]
        return "POST", "/api/login", b'{"user": "x"}', Reply(json.dumps({"auth_token": auth, "session": user.cookies["session"]}), fields, "application/json")

    def signed(self, user: User) -> tuple[str, str, bytes, Reply]:
        fields = [("Set-Cookie", f"session.sig={self.signature}; HttpOnly"), ("Set-Cookie", f"ARRAffinity={self.affinity}; HttpOnly; Secure")]
        return "GET", "/settings", b"", Reply(self.html(user, f"<p>{self.text(5)}</p>"), fields)

    def author(self, user: User) -> tuple[str, str, bytes, Reply]:
        for who in (user, writer := self.rng.choice(self.users)):
            who.cookies.setdefault("user_id", self.token(32, HEX))
        return "GET", f"/post/{self.rng.randrange(999)}", b"", Reply(self.html(user, f"<article data-author='{writer.cookies['user_id']}'></article>"))

    # ---- one exchange, as a proxy sees it ----

    def step(self) -> None:
        """One request and its response."""
        self.now += self.rng.randrange(1, 20)
        _, name, way = self.rng.choices(self.ways, [w[0] for w in self.ways])[0]
        who = {"admin list of sessions": self.admins, "support view": self.support, "token introspection": self.services, "token exchange": self.services}
        user = self.rng.choice(who.get(name, self.users))
        before = user.headers()
        if user.role == "service":
            before.append(("X-Api-Key", user.api_key))
        if name == "team settings":
            before.append(("X-Api-Key", self.team_key))
        method, target, body, reply = way(user)
        request = overread.Request(method, target, before, body)
        page = self.scanner.filter(POLICY, reply.content_type, headers=reply.headers, request=request, unix_ms=self.now)
        text = reply.body.encode()
        for at in range(0, len(text), CHUNK):
            page.body(text[at : at + CHUNK])
        page.end()
        bits = page.verdict().bits
        self.seen[name] += 1
        self.alarms[name] += bits >= 22 or page.verb != "pass"
        self.weak[name] += 14 <= bits < 22


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m calibration.foreign.false_alarms", description=__doc__.split("\n")[0])
    parser.add_argument("--responses", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--draw", action="store_true", help="also put the table into docs/foreign-secrets.md")
    args = parser.parse_args()
    started = time.monotonic()
    site = Site(args.seed, args.users)
    for _ in range(args.responses):
        site.step()
    alarms, weak = sum(site.alarms.values()), sum(site.weak.values())
    lines = ["| kind of response | n | 22 bits or more | 14 to 22 |", "|---|---|---|---|"]
    lines += [f"| {name} | {site.seen[name]:,} | {site.alarms[name]} | {site.weak[name]} |" for _, name, _ in site.ways]
    bound = 3 / args.responses if not alarms else (alarms + 2 * math.sqrt(alarms) + 2) / args.responses
    lines += ["", f"{alarms} false alarms and {weak} weak ones in {args.responses:,} responses: at most {bound:.1e} with 95 % confidence, under the model"]
    print("\n".join(lines))
    if args.draw:
        page.put("false alarms table", "\n".join(lines), DOCS)
    metrics = site.registry.metrics(unix_ms=site.now)
    print(", ".join(f"{k} {v:,}" for k, v in metrics.items()), f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    return alarms > 0


if __name__ == "__main__":
    sys.exit(main())
