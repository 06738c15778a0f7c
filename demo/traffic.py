"""Synthetic visitors for the demo origin: they sign in, browse and chat, so its pool fills with secrets."""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import random
import re
import string
import sys
import threading
import time
import urllib.parse

CLIENTS = 24
WORDS = ["harbour", "lantern", "mast", "chart", "compass", "tide", "anchor", "gull", "rope", "sail", "buoy", "pilot", "quay", "storm", "drift"]
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1",
)


class Visitor:
    """One made-up person with everything a site would want kept private."""

    def __init__(self, rng: random.Random) -> None:
        letters = string.ascii_letters + string.digits
        self.email = f"{rng.choice(WORDS)}.{rng.choice(WORDS)}{rng.randrange(10_000)}@example.net"
        self.password = "".join(rng.choices(letters + "!-_", k=rng.randrange(12, 20)))
        self.session = "".join(rng.choices(letters, k=32))
        self.csrf = "".join(rng.choices("0123456789abcdef", k=40))
        claims = {"sub": self.email, "iat": 1_700_000_000 + rng.randrange(10**7), "scope": "shop"}
        parts = [json.dumps({"alg": "HS256", "typ": "JWT"}).encode(), json.dumps(claims).encode(), rng.randbytes(32)]
        self.token = ".".join(base64.urlsafe_b64encode(p).rstrip(b"=").decode() for p in parts)
        self.agent = rng.choice(AGENTS)

    def secrets(self) -> tuple[str, ...]:
        return self.session, self.csrf, self.token, self.password, self.email

    def headers(self) -> dict[str, str]:
        return {
            "User-Agent": self.agent,
            "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "Accept-Language": "en-GB,en;q=0.7",
            "Accept-Encoding": "identity",
            "Cookie": f"sid={self.session}; theme=dark; csrftoken={self.csrf}",
            "Authorization": f"Bearer {self.token}",
        }


def visit(host: str, port: int, rng: random.Random, budget: list[int], lock: threading.Lock, plant: str | None) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    person = None
    while True:
        with lock:
            if budget[0] == 0:
                return
            budget[0] -= 1
            if person is None or rng.random() < 0.05:
                person = Visitor(rng)
                if plant:
                    with open(plant, "a", encoding="ascii") as out:
                        out.write("".join(secret + "\n" for secret in person.secrets()))
        headers = person.headers()
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        kind = rng.random()
        try:
            if kind < 0.25:
                body = urllib.parse.urlencode({"email": person.email, "password": person.password, "csrf": person.csrf}, safe="@!")
                connection.request("POST", "/login", body, headers | form)
            elif kind < 0.45:
                text = " ".join(rng.choices(WORDS, k=rng.randrange(4, 20)))
                connection.request("POST", "/chat", urllib.parse.urlencode({"message": text}), headers | form)
            else:
                page = rng.choice(("/", "/about", "/api/items", "/login", "/chat", "/logo.png"))
                connection.request("GET", page, headers=headers)
            response = connection.getresponse()
            response.read()
            if issued := re.match(r"sid=(\w+)", response.getheader("Set-Cookie", "")):
                person.session = issued[1]
                if plant:
                    with open(plant, "a", encoding="ascii") as out:
                        out.write(person.session + "\n")
        except (OSError, http.client.HTTPException):
            connection.close()
            time.sleep(0.2)
        time.sleep(rng.uniform(0.02, 0.15))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--requests", type=int, default=-1, help="stop after this many; default: go on until stopped")
    parser.add_argument("--plant", default=None, help="write every secret used to this file, one a line")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    budget, lock = [args.requests], threading.Lock()
    threads = [
        threading.Thread(
            target=visit,
            args=(args.host, args.port, random.Random(rng.random()), budget, lock, args.plant),
            daemon=True,
        )
        for _ in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
