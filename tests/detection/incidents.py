"""Named incidents, each rebuilt from its public description as one response with random contents.

``python -m tests.detection.incidents > docs/incidents.md`` redraws the table; a test compares the committed one with what the scanner says today.
"""

from __future__ import annotations

import base64
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

import overread

from .material import HTML, JSON, TEXT, XML, Response, document, heap, page, pointers, scan, sentence, stranger, text, token

SEEDS = range(12)
TIERS = ("none", "weak", "strong", "certain")


@dataclass(frozen=True)
class Incident:
    """One incident: where foreign bytes stood, the signs every rebuilt response shows, the lowest tier, and why it is that tier."""

    id: str
    title: str
    where: str
    tier: str
    signs: tuple[str, ...]
    why: str
    make: Callable[[random.Random], Response]


def _cloudbleed(rng: random.Random) -> Response:
    who = stranger(rng)
    inner = f"CF-Host-Origin-IP: 10.0.{rng.randrange(256)}.{rng.randrange(256)}\r\nX-Request-Id: {token(rng, 16)}\r\n".encode()
    memory = heap(rng, 900, inner + who.lines() + who.form())
    # The parser ran on behind an unclosed tag.
    return Response(page(rng) + b'<script type="' + memory, HTML, secrets=who.secrets)


def _optionsbleed(rng: random.Random) -> Response:
    foreign = rng.choice((",,HEAD,,HEAD", ",,HEAD,:09:44 GMT", ',="-//W3C//DTD XHTML', ",=write HTTP/1.0", ",<IfModule mod", f", ,{token(rng, 8)}"))
    return Response(headers=(("Allow", "GET,HEAD,POST,OPTIONS" + foreign), ("Content-Length", "0")), content_type=TEXT)


def _jetleak(rng: random.Random) -> Response:
    who = stranger(rng)
    escaped = "".join(f"\\x{rng.randrange(128, 256):02x}" for _ in range(3)) + "\\x00" * rng.randrange(4, 20)
    reason = f"Illegal character 0x0 in state=HEADER_VALUE in 'GET /dummy HTTP/1....>>>e: application/x-www-form{escaped}{who.form().decode()}\\x00\\x00...'"
    return Response(status=400, reason=reason, headers=(("Content-Length", "0"),), content_type=HTML, secrets=who.secrets)


def _haproxy(rng: random.Random) -> Response:
    who = stranger(rng)
    # The reply starts at a wrong place of a ring buffer, so its body ends in what an earlier exchange left there.
    old = who.lines()[rng.randrange(8) :] + who.form() + bytes(rng.randrange(3, 40))
    return Response(page(rng) + b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" + old, HTML, secrets=who.secrets)


def _jetty(rng: random.Random) -> Response:
    who = stranger(rng)
    other = f"HTTP/1.1 200 OK\r\nSet-Cookie: JSESSIONID={who.session}; Path=/\r\nContent-Type: text/html\r\nX-Request-Id: {token(rng, 16)}\r\n\r\n"
    return Response(other.encode() + page(rng, 1500), HTML, secrets=who.secrets)


def _nginx_range(rng: random.Random) -> Response:
    who = stranger(rng)
    size = rng.randrange(4000, 9000)
    cache = struct.pack("<QQQ", 5, rng.getrandbits(31), rng.getrandbits(31)) + bytes(rng.randrange(8, 40)) + rng.randbytes(16)
    upstream = f"HTTP/1.1 200 OK\r\nServer: backend\r\nSet-Cookie: session={who.session}\r\nX-Request-Id: {token(rng, 16)}\r\n\r\n"
    part = f"\r\n--000000000{rng.randrange(100):02}\r\nContent-Type: text/html\r\nContent-Range: bytes -600-{size}/{size}\r\n\r\n".encode()
    leak = cache + f"\nKEY: http://10.0.0.{rng.randrange(255)}:8080/\n".encode() + upstream.encode()
    return Response(part + leak + page(rng), "multipart/byteranges; boundary=00000000012", status=206, reason="Partial Content", secrets=who.secrets)


def _nginx_mp4(rng: random.Random) -> Response:
    who = stranger(rng)
    boxes = struct.pack(">I", 24) + b"ftypisom" + struct.pack(">I", 512) + b"isommp41" + struct.pack(">I", 4096) + b"moov" + rng.randbytes(500)
    return Response(boxes + heap(rng, 700, who.lines()) + rng.randbytes(900), "video/mp4", secrets=who.secrets)


def _nginx_location(rng: random.Random) -> Response:
    stray = bytes((rng.randrange(1, 9), 0x7F)).decode("latin-1") + rng.randbytes(5).hex()
    return Response(status=302, reason="Found", headers=(("Location", "https://shop.example/basket" + stray),), content_type=HTML)


def _nginx_location_text(rng: random.Random) -> Response:
    return Response(status=302, reason="Found", headers=(("Location", "https://shop.example/basket" + token(rng, 6)),), content_type=HTML)


def _nginx_charset(rng: random.Random) -> Response:
    seam = bytes((rng.randrange(0xC2, 0xE0), rng.randrange(1, 8), 0, rng.randrange(0x80, 0xC0)))
    return Response(page(rng, inside=seam), HTML)


def _nginx_scgi(rng: random.Random) -> Response:
    who = stranger(rng)
    return Response(page(rng), HTML, headers=(("X-Upstream-Note", "kept" + "\x00\x01" + who.session),), secrets=who.secrets)


def _squidbleed(rng: random.Random) -> Response:
    who = stranger(rng)
    left = who.lines()[rng.randrange(10, 40) :]  # a C string from the middle of an old request: no NUL, no broken character
    row = b'<tr class="entry"><td colspan="5">-rw-r--r-- 1 ' + left + b"</td></tr>\n"
    return Response(page(rng, inside=row), HTML, secrets=who.secrets)


def _citrixbleed(rng: random.Random) -> Response:
    who = stranger(rng)
    hexed = rng.randbytes(32).hex()
    return Response(document(rng, 900) + heap(rng, 2000, who.lines() + hexed.encode() + b"\0" * 7), JSON, secrets=(*who.secrets, hexed))


def _citrixbleed2(rng: random.Random) -> Response:
    who = stranger(rng)
    old = f"\r\nSet-Cookie: NSC_AAAC={who.session};Secure;HttpOnly;Path=/\r\nX-Real-IP: {who.address}\r\n"
    form = '<?xml version="1.0" encoding="UTF-8"?>\n<AuthenticateResponse xmlns="http://citrix.com/authentication/response/1">\n'
    form += "<Status>success</Status><Result>more-info</Result><Requirement><Credential><ID>login</ID></Credential><Input><Text>"
    form += f"<InitialValue>{old}</InitialValue></Text></Input></Requirement>\n</AuthenticateResponse>\n"
    return Response(form.encode(), XML, secrets=who.secrets)


def _citrixbleed3(rng: random.Random) -> Response:
    who = stranger(rng)
    value = base64.b64encode(heap(rng, 300, who.lines())).decode()
    return Response(
        status=302, reason="Found", headers=(("Location", "/vpn/index.html"), ("Set-Cookie", f"NSC_TASS={value};Secure;Path=/")), secrets=who.secrets
    )


def _netscaler_pointers(rng: random.Random) -> Response:
    leak = b"".join(struct.pack("<QQ", p, rng.randrange(1 << 16)) for p in pointers(rng, 6))
    head = b'<?xml version="1.0"?>\n<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_'
    issuer = rng.randbytes(16).hex().encode() + b'">\n<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">https://gw.example/saml</saml:Issuer>'
    return Response(head + issuer + leak + b"\n</samlp:Response>\n", XML)


def _varnish(rng: random.Random) -> Response:
    who = stranger(rng)
    error = b"<!DOCTYPE html>\n<html>\n<head><title>503 Backend fetch failed</title></head>\n<body><h1>Error 503 Backend fetch failed</h1>\n"
    error += b"<h3>Guru Meditation:</h3><p>XID: %d</p><hr><p>Varnish cache server</p></body>\n</html>\n" % rng.randrange(1 << 24)
    return Response(error + heap(rng, 1500, who.lines()), HTML, status=503, reason="Backend fetch failed", secrets=who.secrets)


def _apache_write(rng: random.Random) -> Response:
    who = stranger(rng)
    return Response(text(rng, 2000) + heap(rng, 4000, who.parsed()), TEXT, secrets=who.secrets)


def _php(rng: random.Random) -> Response:
    who = stranger(rng)
    # zend_string: reference count, hash, length, bytes; its neighbours in the bin are other requests' strings.
    cells = b"".join(struct.pack("<QQQ", rng.randrange(1, 4), rng.getrandbits(63) | 1 << 63, len(v)) + v.encode() + b"\0" for v in who.secrets)
    links = struct.pack("<2Q", *pointers(rng, 2)) + bytes(16)
    return Response(page(rng, inside=b"<td>" + sentence(rng).encode() + links + cells + b"</td>\n"), HTML, secrets=who.secrets)


def _php_row(rng: random.Random) -> Response:
    who = stranger(rng)
    return Response(page(rng, inside=b"<td>" + who.form() + b"&amp;</td>\n"), HTML, secrets=who.secrets)


def _node_slab(rng: random.Random) -> Response:
    who = stranger(rng)
    slab = document(rng, 300) + who.lines() + bytes(rng.randrange(8, 64)) + rng.randbytes(96) + who.form() + bytes(24)
    return Response(text(rng, 300) + slab, TEXT, secrets=who.secrets)


INCIDENTS = (
    Incident(
        "cloudbleed",
        "Cloudbleed, 2017",
        "memory pages behind an unclosed tag of an HTML page",
        "certain",
        ("raw.mixed", "raw.pointer-pair", "http.cookie"),
        "raw memory in text, and header lines beside it: two chained groups",
        _cloudbleed,
    ),
    Incident(
        "optionsbleed",
        "Optionsbleed, CVE-2017-9798",
        "`Allow` header",
        "none",
        ("place.head-list",),
        "Allow is no list of methods; a head sign alone is worth what the counted heads support. A leak that is a valid token stays unseen",
        _optionsbleed,
    ),
    Incident(
        "jetleak",
        "JetLeak, CVE-2015-2080",
        "reason phrase of a 400, escaped",
        "none",
        ("place.head-reason",),
        "escaped bytes in the reason phrase; a head sign alone",
        _jetleak,
    ),
    Incident(
        "haproxy",
        "HAProxy, CVE-2015-3281",
        "end of a pipelined reply",
        "strong",
        ("http.status-line", "http.cookie", "raw.nul", "place.html-tail"),
        "NULs and a second head behind `</html>`, where nobody types. Inside the page the same bytes could be typed and stay below strong",
        _haproxy,
    ),
    Incident(
        "jetty",
        "Jetty, CVE-2019-17638",
        "another client's whole reply, head first",
        "weak",
        ("http.status-line", "http.set-cookie"),
        "a head where a body should be; HTTP signs alone never pass 17 bits. The same reply without its head stays unseen",
        _jetty,
    ),
    Incident(
        "nginx-range",
        "nginx range, CVE-2017-7529",
        "cache-file head in the first part of a 206",
        "none",
        ("http.status-line", "http.set-cookie"),
        "the upstream's head shows; parts of multipart/byteranges are not read as types of their own, so raw bytes do not count",
        _nginx_range,
    ),
    Incident(
        "nginx-mp4",
        "nginx mp4, CVE-2018-16845, CVE-2026-32647, CVE-2026-27784",
        "inside MP4 boxes",
        "none",
        ("http.cookie",),
        "header lines only: pointers and NULs are natural in a binary container",
        _nginx_mp4,
    ),
    Incident(
        "nginx-location",
        "nginx rewrite, CVE-2026-60005 and the leak of 2020",
        "`Location`, with control bytes",
        "none",
        ("place.head-control",),
        "control bytes in a header value; a head sign alone",
        _nginx_location,
    ),
    Incident(
        "nginx-location-text",
        "the same, a few printable characters",
        "`Location`",
        "none",
        (),
        "nothing: a longer path is a valid path",
        _nginx_location_text,
    ),
    Incident(
        "nginx-charset",
        "nginx charset, CVE-2026-42934, CVE-2026-48142",
        "a few bytes where converted buffers meet",
        "weak",
        ("raw.nul", "raw.broken-utf8"),
        "two kinds of raw bytes after text; four bytes prove no memory",
        _nginx_charset,
    ),
    Incident(
        "nginx-scgi",
        "nginx scgi and uwsgi, CVE-2026-42946",
        "value of an upstream header",
        "none",
        ("place.head-control",),
        "control bytes in a header value; a head sign alone",
        _nginx_scgi,
    ),
    Incident(
        "squidbleed",
        "Squidbleed, CVE-2026-47729",
        "middle of a generated FTP listing, a C string",
        "weak",
        ("http.cookie", "http.authorization"),
        "clean text with header lines in it: HTTP signs alone never pass 17 bits. Without header names it stays unseen",
        _squidbleed,
    ),
    Incident(
        "citrixbleed",
        "CitrixBleed, CVE-2023-4966",
        "behind the JSON of an OpenID configuration",
        "certain",
        ("raw.mixed", "place.json-tail", "http.cookie"),
        "memory behind a complete document, and header lines in it",
        _citrixbleed,
    ),
    Incident(
        "citrixbleed2",
        "CitrixBleed 2, CVE-2025-5777",
        "`InitialValue` of an XML log-in reply, a C string",
        "weak",
        ("http.set-cookie",),
        "a Set-Cookie line inside XML: HTTP signs alone. Harmless-looking text stays unseen",
        _citrixbleed2,
    ),
    Incident(
        "citrixbleed3",
        "CitrixBleed 3, CVE-2026-3055",
        "`Set-Cookie`, base64",
        "none",
        ("place.head-cookie",),
        "the value decodes to memory; a head sign alone",
        _citrixbleed3,
    ),
    Incident(
        "netscaler-saml",
        "NetScaler SAML, CVE-2026-8451",
        "pointers inside a SAML reply",
        "weak",
        ("raw.pointer-pair", "raw.mixed"),
        "related pointers after text; XML bodies support no more for raw memory alone",
        _netscaler_pointers,
    ),
    Incident(
        "varnish",
        "Varnish, CVE-2017-8807 (VSV00002)",
        "behind a synthetic error page",
        "certain",
        ("raw.mixed", "place.html-tail", "http.cookie"),
        "memory behind `</html>`, and header lines in it",
        _varnish,
    ),
    Incident(
        "apache-rwrite",
        "Apache httpd, CVE-2022-28614",
        "behind a body written with a huge length",
        "strong",
        ("raw.mixed", "http.cookie", "http.authorization"),
        "memory after text, with headers in parsed form (NUL for colon)",
        _apache_write,
    ),
    Incident(
        "php",
        "PHP, GH-20584 and odbc over-reads",
        "a printed value, with zend strings behind it",
        "weak",
        ("raw.mixed", "raw.pointer-pair"),
        "raw memory alone: values carry no header names",
        _php,
    ),
    Incident(
        "php-mysqlnd",
        "PHP mysqlnd, CVE-2024-8929",
        "a printed row, text of another query",
        "none",
        ("secret.form-password",),
        "a password parameter is the only sign; another row's ordinary text stays unseen",
        _php_row,
    ),
    Incident(
        "node-buffer",
        "Node `Buffer(number)`, CVE-2017-15897",
        "pool slab in a text body",
        "strong",
        ("raw.mixed", "http.cookie"),
        "NUL runs and broken UTF-8 among other requests' headers",
        _node_slab,
    ),
)

UNSEEN = (
    ("Heartbleed, CVE-2014-0160", "TLS heartbeat records: wrong layer"),
    ("Ticketbleed, CVE-2016-9244", "31 bytes of a TLS session id: wrong layer"),
    ("MongoBleed, CVE-2025-14847", "database protocol; only an error text relayed over HTTP would come by, and it is plain text"),
    ("gifoeb, CVE-2017-15277, and Yahoobleed", "colours of a re-encoded picture"),
    ("ws, CVE-2026-45736", "WebSocket close reasons: frames are not scanned"),
    ("Traefik CONNECT desync, OpenRIA buffer reuse", "a complete and well-formed reply of another client: only who owns a value could tell"),
)


_BITS = {"none": "below 14", "weak": "14 to 22", "strong": "22 to 30", "certain": "30 or more"}
_HEAD = """\
# Incidents

What overread says about responses rebuilt from the public descriptions of named leaks, with random contents. Rebuilt is not recorded: sizes and
places follow the descriptions, and real leaks vary. Each row speaks for {count} instances. An alarm begins at strong (22 bits), blocking by default at
certain (30); below that the signs stand in the verdict, and no alarm is raised. Redraw with `python -m tests.detection.incidents > docs/incidents.md`.

| incident | where foreign bytes stand | tier (bits) | signs that always show | why |
|---|---|---|---|---|
"""


def said(scanner: overread.Scanner, incident: Incident) -> list[tuple[Response, overread.Verdict]]:
    """Every rebuilt response of an incident with its verdict."""
    made = [incident.make(random.Random(f"{incident.id} {seed}")) for seed in SEEDS]
    return [(r, scan(scanner, r)) for r in made]


def table() -> str:
    """docs/incidents.md, as the scanner speaks today."""
    scanner = overread.Scanner()
    lines = _HEAD.format(count=len(SEEDS)).splitlines()
    for incident in INCIDENTS:
        tiers = sorted({v.tier for _, v in said(scanner, incident)}, key=TIERS.index)
        signs = ", ".join(f"`{s}`" for s in incident.signs) or "none"
        says = ", ".join(f"{t} ({_BITS[t] if incident.signs else '0'})" for t in tiers)
        lines.append(f"| {incident.title} | {incident.where} | {says} | {signs} | {incident.why} |")
    lines += ["", "## What a filter of HTTP responses cannot see", "", "| incident | why |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {why} |" for name, why in UNSEEN), ""])


if __name__ == "__main__":
    print(table(), end="")
