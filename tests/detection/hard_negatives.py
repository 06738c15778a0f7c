"""Clean responses that look like leaks. None may ever alarm; those marked silent may not even reach the weak tier.

``python -m tests.detection.hard_negatives`` redraws the table in docs/detection.md.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import overread

from .material import HTML, JSON, TEXT, WORDS, XML, Response, document, github, jwt, page, scan, sentence, stranger, text, token

SEEDS = range(16)
DOCUMENT = Path(__file__).parents[2] / "docs/detection.md"
MARKS = "<!-- hard negatives -->", "<!-- end of hard negatives -->"
Make = Callable[[random.Random], Response]


@dataclass(frozen=True)
class Negative:
    """A kind of clean response, several types it comes under, and whether it must stay below the weak tier."""

    id: str
    silent: bool
    types: tuple[str, ...]
    make: Make


NEGATIVES: list[Negative] = []


def kind(id: str, *types: str, silent: bool = False) -> Callable[[Make], Make]:  # noqa: A002 - the same name as in a table
    """Registers a generator; ``types`` replace the content type it gives itself."""

    def add(make: Make) -> Make:
        NEGATIVES.append(Negative(id, silent, types, make))
        return make

    return add


def instances(n: Negative) -> Iterator[Response]:
    """Every seed under every type."""
    for seed in SEEDS:
        r = n.make(random.Random(f"{n.id} {seed}"))
        for t in n.types or (r.content_type,):
            yield Response(r.body, t, r.status, r.reason, r.headers, r.request)


# --- Pages about HTTP, and pages that show messages ---


@kind("RFC text with whole messages", TEXT, "text/html", HTML)
def _rfc(rng: random.Random) -> Response:
    message = f"   GET /hello.txt HTTP/1.1\n   User-Agent: curl/7.64.1\n   Host: www.example.com\n   Accept-Language: en, mi\n   Cookie: SID={token(rng)}\n\n"
    answer = (
        f"HTTP/1.1 200 OK\nDate: Mon, 27 Jul 2009 12:28:53 GMT\nSet-Cookie: SID={token(rng)}; Path=/; Secure; HttpOnly\nContent-Type: text/plain\n\nHello\n"
    )
    return Response((text(rng, 900) + message.encode() + answer.encode()) * 4)


@kind("documentation with CRLF messages", "text/xml", HTML, TEXT, "text/markdown")
def _curl(rng: random.Random) -> Response:
    pair = base64.b64encode(token(rng).encode() + b":x").decode()
    shown = f"> GET /a HTTP/1.1\n> Host: example.com\n\nGET / HTTP/1.1\nHost: example.com\nAuthorization: Basic {pair}\n"
    shown += f"Cookie: session={token(rng)}\nReferer: https://example.com/\n"
    return Response((text(rng, 500) + shown.encode() + text(rng, 300)).replace(b"\n", b"\r\n") * 3)


@kind("OAuth guide with tokens", HTML)
def _oauth(rng: random.Random) -> Response:
    shown = f"<pre>Authorization: Bearer {jwt(rng)}\naccess_token={token(rng, 40)}&amp;refresh_token={token(rng, 40)}\nX-Api-Key: {github(rng)}</pre>\n"
    return Response(page(rng, inside=shown.encode()))


@kind("security training with payloads", HTML, TEXT)
def _training(rng: random.Random) -> Response:
    escaped = "\\x00" * 40 + "%00" * 40 + "\\u0000" * 40 + "".join(f"\\x{b:02x}" for b in rng.randbytes(200)) + "&#0;" * 20 + "\ufffd" * 60
    request = f"\r\nPOST /login HTTP/1.1\r\nHost: victim.example\r\nCookie: PHPSESSID={token(rng)}\r\n\r\nuser=admin&password=S3cretPassw0rd%21\r\n"
    return Response(page(rng, inside=b"<pre>" + escaped.encode() + b" 0x7f34e1d2a010 0xdeadbeef " + request.encode() + b"</pre>\n"))


@kind("request bin", JSON, HTML, TEXT)
def _bin(rng: random.Random) -> Response:
    who = stranger(rng)
    return Response(json.dumps({"method": "POST", "headers": who.lines().decode(), "body": who.form().decode()}, indent=1).encode() * 1)


@kind("request bin, raw view", TEXT)
def _raw_bin(rng: random.Random) -> Response:
    who = stranger(rng)
    return Response(b"POST /hook HTTP/1.1\r\nHost: bin.example\r\n" + who.lines() + who.form())


def _own(rng: random.Random) -> overread.Request:
    who = stranger(rng)
    fields = [("Host", "echo.example"), ("Cookie", f"session={who.session}"), ("Authorization", f"Bearer {who.bearer}"), ("User-Agent", "Mozilla/5.0 (X11)")]
    return overread.Request("TRACE", f"/echo/{token(rng, 12)}?q={who.mail}", fields, who.form())


def _wire(own: overread.Request) -> str:
    return f"{own.method!s} {own.target!s} HTTP/1.1\r\n" + "".join(f"{n!s}: {v!s}\r\n" for n, v in own.headers) + "\r\n" + own.body.decode()


@kind("echo of the own request (JSON, HTML)", JSON, HTML, silent=True)
def _echo(rng: random.Random) -> Response:
    own = _own(rng)
    return Response(json.dumps({"headers": dict(own.headers), "url": own.target, "text": sentence(rng)}).encode(), request=own)


@kind("TRACE of the own request", "message/http", TEXT, silent=True)
def _trace(rng: random.Random) -> Response:
    own = _own(rng)
    return Response("".join(f"{n!s}: {v!s}\r\n" for n, v in own.headers).encode(), request=own)


@kind("TRACE with fields that proxies added", "message/http", TEXT)
def _trace_proxied(rng: random.Random) -> Response:
    own = _own(rng)
    added = f"X-Forwarded-For: {stranger(rng).address}\r\nX-Forwarded-Proto: https\r\nX-Request-Id: {token(rng)}\r\n"
    return Response(_wire(own).replace("\r\n\r\n", "\r\n" + added + "\r\n", 1).encode(), request=own)


@kind("phpinfo of the own request", HTML, silent=True)
def _phpinfo(rng: random.Random) -> Response:
    own = _own(rng)
    rows = "".join(f'<tr><td class="e">HTTP_{str(n).upper()} </td><td class="v">{v!s} </td></tr>\n' for n, v in own.headers)
    return Response(page(rng, inside=b"<table>" + rows.encode() + b"</table>\n"), request=own)


@kind("stack trace with a request", HTML, TEXT)
def _trace_page(rng: random.Random) -> Response:
    who = stranger(rng)
    frames = "".join(f'  File "/srv/app/{rng.choice(WORDS)}.py", line {rng.randrange(900)}, in handler\n' for _ in range(20))
    shown = f"Traceback (most recent call last):\n{frames}ValueError: 0x7f34e1d2a010\n\nRequest headers:\nCookie: session={who.session}\nHost: app.example\n"
    return Response(page(rng, inside=f"<pre>{shown}environ: HTTP_COOKIE=session={who.session}</pre>\n".encode()), status=500)


# --- Credentials that belong there ---


@kind("log-in that returns the caller's new token", JSON, silent=True)
def _login(rng: random.Random) -> Response:
    reply = {"access_token": jwt(rng), "refresh_token": token(rng, 48), "token_type": "Bearer", "cookie": f"session={token(rng)}", "key": github(rng)}
    return Response(json.dumps(reply).encode(), headers=(("Set-Cookie", f"session={token(rng)}; HttpOnly; Secure; Path=/"),))


@kind("admin view of other people's sessions", HTML, JSON)
def _admin(rng: random.Random) -> Response:
    rows = "".join(
        f"<tr><td>{w.mail}</td><td>{w.address}</td><td>session={w.session}</td><td>Bearer {w.bearer}</td></tr>\n" for w in (stranger(rng) for _ in range(30))
    )
    return Response(page(rng, inside=rows.encode()))


# --- Text that visitors and mail clients wrote ---


@kind("paste of a whole exchange, CRLF", TEXT)
def _paste(rng: random.Random) -> Response:
    who = stranger(rng)
    return Response(text(rng, 600).replace(b"\n", b"\r\n") + who.lines() + who.form() + b"\r\n" + jwt(rng).encode() + b" " + github(rng).encode())


@kind("textarea with CRLF inside an LF page", HTML)
def _textarea(rng: random.Random) -> Response:
    who = stranger(rng)
    return Response(page(rng, inside=b"<textarea>hello,\r\nthis is what I send:\r\n" + who.lines() + b"</textarea>\n"))


@kind("mail archive", TEXT, "application/mbox", HTML)
def _mbox(rng: random.Random) -> Response:
    def mail() -> str:
        who = stranger(rng)
        head = (
            f"From {who.mail} Mon Jan  5 10:00:00 2026\nReceived: from mx.example ([{who.address}])\nFrom: {who.mail}\nMessage-Id: <{token(rng)}@mx.example>\n"
        )
        return head + "Authorization: Bearer of this letter\nReferer: https://list.example/\n\n" + text(rng, 500).decode()

    return Response("".join(mail() for _ in range(6)).encode())


def _der(rng: random.Random, size: int) -> bytes:
    return b"\x30\x82" + struct.pack(">H", size) + b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02" + rng.randbytes(size - 11)


@kind("mail with pkcs7 in base64", "message/rfc822", TEXT)
def _smime(rng: random.Random) -> Response:
    head = "From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return Response(head.encode() + base64.encodebytes(_der(rng, 3000)).replace(b"\n", b"\r\n"))


@kind("pkcs7 mail in binary", "message/rfc822", "application/pkcs7-mime")
def _smime_binary(rng: random.Random) -> Response:
    return Response(b"MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: binary\r\n\r\n" + _der(rng, 3000))


@kind("web archive (.mht)", "multipart/related; boundary=b", "message/rfc822", TEXT, HTML)
def _mht(rng: random.Random) -> Response:
    head = b'From: <Saved>\r\nSnapshot-Content-Location: https://shop.example/\r\nContent-Type: multipart/related; boundary="b"\r\n\r\n'
    part = b"--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + page(rng).replace(b"\n", b"\r\n")
    image = b"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(png(rng)).replace(b"\n", b"\r\n") + b"--b--\r\n"
    return Response(head + part + image)


# --- Captures and envelopes ---


@kind("HAR", JSON, "application/har+json")
def _har(rng: random.Random) -> Response:
    def entry() -> dict[str, object]:
        who = stranger(rng)
        headers = [{"name": "Cookie", "value": f"session={who.session}"}, {"name": "Authorization", "value": f"Bearer {who.bearer}"}]
        return {
            "request": {"method": "POST", "url": "https://shop.example/", "headers": headers, "postData": {"text": who.form().decode()}},
            "response": {"content": {"text": "\u0000\u0001" * 20}},
        }

    return Response(json.dumps({"log": {"entries": [entry() for _ in range(12)]}}, indent=1).encode())


@kind("packet capture", "application/vnd.tcpdump.pcap", "application/octet-stream", TEXT, HTML)
def _pcap(rng: random.Random) -> Response:
    who = stranger(rng)
    frames = [b"GET / HTTP/1.1\r\nHost: a.example\r\n" + who.lines(), who.form(), rng.randbytes(1400), b"HTTP/1.1 200 OK\r\n\r\n" + page(rng, 900)]
    packets = b"".join(struct.pack("<IIII", 1700000000 + i, i, len(f) + 54, len(f) + 54) + bytes(40) + rng.randbytes(14) + f for i, f in enumerate(frames * 3))
    return Response(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + packets)


@kind("upload served back", "multipart/form-data; boundary=b", "application/octet-stream", TEXT)
def _multipart(rng: random.Random) -> Response:
    field = b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\n' + sentence(rng).encode() + b"\r\n"
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n' + png(rng) + b"\r\n--b--\r\n"
    return Response(field * 3 + file)


@kind("batch reply with HTTP parts", "multipart/mixed; boundary=b", TEXT)
def _batch(rng: random.Random) -> Response:
    def part(body: bytes, inner: str) -> bytes:
        fields = f"--b\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: {inner}\r\nX-Request-Id: {token(rng, 20)}\r\n\r\n"
        return fields.encode() + body + b"\r\n"

    return Response(
        part(document(rng), JSON) + part(png(rng), "image/png") + part(gzip.compress(rng.randbytes(700), mtime=0), "application/gzip") + b"--b--\r\n"
    )


@kind("MTOM/XOP", 'multipart/related; type="application/xop+xml"; boundary=b', TEXT)
def _mtom(rng: random.Random) -> Response:
    head = b"--b\r\nContent-Type: application/xop+xml\r\nContent-Id: <root>\r\n\r\n<soap:Envelope xmlns:soap='http://www.w3.org/2003/05/soap-envelope'/>"
    return Response(head + b"\r\n--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: binary\r\n\r\n" + pdf(rng) + b"\r\n--b--\r\n")


@kind("motion JPEG stream", "multipart/x-mixed-replace; boundary=b", silent=True)
def _mjpeg(rng: random.Random) -> Response:
    return Response(b"".join(b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(f) + f + b"\r\n" for f in (jpeg(rng) for _ in range(5))))


@kind("saved exchange with an image", "message/http", TEXT)
def _saved(rng: random.Random) -> Response:
    return Response(
        f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nSet-Cookie: session={token(rng)}\r\nX-Request-Id: {token(rng)}\r\n\r\n".encode() + jpeg(rng)
    )


@kind("WARC with coded bodies", "application/warc", "application/octet-stream", TEXT)
def _warc(rng: random.Random) -> Response:
    def record() -> bytes:
        reply = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: br\r\nSet-Cookie: session=%s\r\n\r\n" % token(rng).encode() + rng.randbytes(
            1500
        )
        head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{token(rng)}>\r\nContent-Length: {len(reply)}\r\n\r\n"
        return head.encode() + reply + b"\r\n\r\n"

    return Response(b"".join(record() for _ in range(4)))


# --- Protocols that use control bytes ---


@kind("git references, then a pack", "application/x-git-upload-pack-advertisement", TEXT)
def _git(rng: random.Random) -> Response:
    def line(data: bytes) -> bytes:
        return b"%04x" % (len(data) + 4) + data

    refs = [rng.randbytes(20).hex().encode() + b" refs/heads/" + rng.choice(WORDS).encode() + b"\n" for _ in range(20)]
    first = rng.randbytes(20).hex().encode() + b" HEAD\0multi_ack side-band-64k ofs-delta agent=git/2.39.5\n"
    pack = b"PACK" + struct.pack(">II", 2, 40) + rng.randbytes(2000)
    return Response(line(b"# service=git-upload-pack\n") + b"0000" + line(first) + b"".join(map(line, refs)) + b"0000" + line(b"NAK\n") + line(b"\1" + pack))


@kind("container log stream", "application/vnd.docker.multiplexed-stream", "application/octet-stream", TEXT)
def _docker(rng: random.Random) -> Response:
    def frame(data: bytes) -> bytes:
        return bytes((rng.choice((1, 2)), 0, 0, 0)) + struct.pack(">I", len(data)) + data

    return Response(b"".join(frame(sentence(rng).encode() + b"\n") for _ in range(60)) + frame(b"GET / HTTP/1.1\r\n" + stranger(rng).lines()))


@kind("Kubernetes log with escape sequences", TEXT)
def _kube(rng: random.Random) -> Response:
    return Response(b"".join(f"2026-01-05T10:00:00Z stdout F \x1b[32mINFO\x1b[0m {sentence(rng)} session={token(rng)}\n".encode() for _ in range(60)))


@kind("SignalR messages", TEXT, JSON)
def _signalr(rng: random.Random) -> Response:
    return Response(b"".join(json.dumps({"type": 1, "target": "send", "arguments": [sentence(rng)]}).encode() + b"\x1e" for _ in range(30)))


@kind("FIX messages", TEXT, "application/octet-stream")
def _fix(rng: random.Random) -> Response:
    return Response(
        b"".join(b"8=FIX.4.4\x019=%d\x0135=D\x0149=A\x0156=B\x0155=%s\x0110=128\x01\n" % (rng.randrange(400), rng.choice(WORDS).encode()) for _ in range(40))
    )


@kind("JSON text sequence", "application/json-seq", TEXT)
def _seq(rng: random.Random) -> Response:
    return Response(b"".join(b"\x1e" + document(rng, 200) + b"\n" for _ in range(12)))


@kind("event stream", "text/event-stream", silent=True)
def _events(rng: random.Random) -> Response:
    return Response(b"".join(f"id: {i}\nevent: message\ndata: {json.dumps({'text': sentence(rng)})}\n\n".encode() for i in range(60)))


@kind("gRPC-web", "application/grpc-web+proto", "application/grpc-web-text", "application/octet-stream", silent=True)
def _grpc(rng: random.Random) -> Response:
    message = b"\0" + struct.pack(">I", 300) + b"\x0a\x20" + rng.randbytes(298)
    trailer = b"grpc-status:0\r\ngrpc-message:OK\r\n"
    return Response(message * 3 + b"\x80" + struct.pack(">I", len(trailer)) + trailer)


# --- Text with bytes of its own ---


@kind("serialized PHP", TEXT, "application/vnd.php.serialized")
def _php(rng: random.Random) -> Response:
    row = b'O:4:"User":2:{s:7:"\0*\0name";s:5:"%s";s:12:"\0User\0secret";s:32:"%s";}\n'
    return Response(text(rng, 600) + b"".join(row % (rng.choice(WORDS).encode(), token(rng).encode()) for _ in range(20)))


@kind("var_export", TEXT)
def _var_export(rng: random.Random) -> Response:
    return Response(text(rng, 300) + b"".join(b"  '\0*\0name' => '%s',\n" % token(rng).encode() for _ in range(20)))


@kind("CI log with ESC, BEL and BS", TEXT)
def _ci(rng: random.Random) -> Response:
    return Response(b"".join(f"\x1b[36;1m{sentence(rng)}\x1b[0m\x07 {i}%\x08\x08\x08\r\n".encode() for i in range(60)))


@kind("log with NUL gaps", TEXT)
def _gaps(rng: random.Random) -> Response:
    lines = b"".join(f'{stranger(rng).address} - - "GET /?session={token(rng)} HTTP/1.1" 200\n'.encode() for _ in range(30))
    return Response(lines + bytes(rng.randrange(8, 8000)) + lines + bytes(4096) + lines)


@kind("log of header dumps with NUL gaps", TEXT)
def _gaps_heads(rng: random.Random) -> Response:
    return Response(text(rng, 700) + stranger(rng).lines() + bytes(rng.randrange(8, 2000)) + stranger(rng).lines())


@kind("journal export", "application/vnd.fdo.journal", TEXT)
def _journal(rng: random.Random) -> Response:
    def entry() -> bytes:
        message = sentence(rng).encode() + bytes((0x1B, 0x80 | rng.randrange(64))) + b"\n"
        fields = f"__CURSOR=s={token(rng)}\n__REALTIME_TIMESTAMP={rng.getrandbits(50)}\n_SYSTEMD_UNIT=nginx.service\n"
        return fields.encode() + b"MESSAGE\n" + struct.pack("<Q", len(message)) + message + b"\n\n"

    return Response(b"".join(entry() for _ in range(20)))


@kind("database dump", TEXT, "application/sql")
def _dump(rng: random.Random) -> Response:
    def row() -> bytes:
        blob = rng.randbytes(60).replace(b"\0", b"\\0").replace(b"\n", b"\\n").replace(b"\x1a", b"\\Z").replace(b"'", b"\\'")
        return f"INSERT INTO users VALUES ({rng.randrange(9999)},'{stranger(rng).mail}','session={token(rng)}',_binary '".encode() + blob + b"');\n"

    return Response(b"-- MySQL dump 10.13\n" + text(rng, 300) + b"".join(row() for _ in range(40)))


@kind("minified script with control bytes and tables", "text/javascript", "application/javascript")
def _script(rng: random.Random) -> Response:
    table = bytes(b for b in range(1, 32) if b not in (10, 13)) + b"\x7f"
    escaped = "".join(f"\\x{b:02x}" for b in rng.randbytes(300)) + "\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00"
    return Response(
        b"!function(){var a='" + table + b"',b='" + escaped.encode() + b"';" + b"".join(b"function f%d(a){return a+%d}" % (i, i) for i in range(120)) + b"}();"
    )


@kind("source map", JSON, silent=True)
def _map(rng: random.Random) -> Response:
    source = "// Cookie: session=abc\nreq.headers['Authorization'] = 'Bearer ' + token;\nconst z = '\u0000\u0001';\n"
    return Response(json.dumps({"version": 3, "mappings": "".join(rng.choice("AAC;,EDgB") for _ in range(3000)), "sourcesContent": [source * 8]}).encode())


@kind("JSON with \\u0000", JSON, silent=True)
def _nul_json(rng: random.Random) -> Response:
    return Response(json.dumps({"a": "\0" * 64 + sentence(rng), "b": ["\x01\x02\x7f\ufffd" * 30]}).encode())


@kind("base64 fonts and images", "text/css", HTML, "image/svg+xml", silent=True)
def _data(rng: random.Random) -> Response:
    font = base64.b64encode(ttf(rng) + bytes(600)).decode()
    return Response(
        f"@font-face{{src:url(data:font/ttf;base64,{font})}}\n.a{{background:url(data:image/png;base64,{base64.b64encode(png(rng)).decode()})}}\n".encode() * 2
    )


@kind("hex dump", TEXT, HTML, silent=True)
def _hex(rng: random.Random) -> Response:
    data = rng.randbytes(500) + bytes(200) + stranger(rng).lines()
    rows = (data[i : i + 16] for i in range(0, len(data), 16))
    return Response(
        b"".join(f"{16 * i:08x}  {row.hex(' '):48} |{''.join(chr(b) if 32 <= b < 127 else '.' for b in row)}|\n".encode() for i, row in enumerate(rows))
    )


@kind("blocked body filled with NULs", HTML, JSON, TEXT)
def _coraza(rng: random.Random) -> Response:
    return Response(bytes(rng.randrange(100, 9000)), status=403, reason="Forbidden")


@kind("body cut by a firewall and filled with NULs", HTML, TEXT)
def _coraza_tail(rng: random.Random) -> Response:
    return Response(page(rng)[: rng.randrange(600, 1500)] + bytes(rng.randrange(100, 9000)))


@kind("CRLF text file", TEXT, "text/csv", silent=True)
def _crlf(rng: random.Random) -> Response:
    return Response(text(rng, 4000).replace(b"\n", b"\r\n"))


# --- Charsets ---

_MANY = "Größe, naïve café — 東京の天気は晴れ。Привет, мир! "


@kind("UTF-16 and UTF-32, declared", silent=True)
def _wide(rng: random.Random) -> Response:
    charset = rng.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"))
    return Response(("<html>" + text(rng, 900).decode() + _MANY * 20).encode(charset), f"text/html; charset={charset}")


@kind("UTF-16, undeclared", HTML, TEXT, "text/csv", XML, silent=True)
def _wide_hidden(rng: random.Random) -> Response:
    return Response(("<html>" + text(rng, 900).decode() + _MANY * 20).encode(rng.choice(("utf-16", "utf-16-le", "utf-16-be"))))


@kind("UTF-16 without BOM that begins in Chinese", TEXT, "text/csv", HTML)
def _wide_chinese(rng: random.Random) -> Response:
    return Response(("東京の天気は晴れ。" * 40 + text(rng, 900).decode()).encode("utf-16-le"))


@kind("UTF-32, undeclared", HTML, TEXT)
def _wider_hidden(rng: random.Random) -> Response:
    return Response(("<html>" + text(rng, 900).decode() + _MANY * 20).encode(rng.choice(("utf-32", "utf-32-le", "utf-32-be"))))


@kind("legacy charsets, declared", silent=True)
def _legacy(rng: random.Random) -> Response:
    charset, sample = rng.choice(
        (
            ("shift_jis", "東京の天気は晴れ。"),
            ("iso-2022-jp", "東京の天気は晴れ。"),
            ("iso-8859-1", "Größe, naïve café "),
            ("gb18030", "天气很好"),
            ("koi8-r", "Привет "),
        )
    )
    return Response(("<html>" + text(rng, 900).decode() + sample * 60).encode(charset), f"text/html; charset={charset}")


@kind("legacy charsets, undeclared", "text/html", "text/plain", silent=True)
def _legacy_hidden(rng: random.Random) -> Response:
    charset, sample = rng.choice(
        (
            ("shift_jis", "東京の天気は晴れ。"),
            ("iso-2022-jp", "東京の天気は晴れ。"),
            ("iso-8859-1", "Größe, naïve café "),
            ("gb18030", "天气很好"),
            ("koi8-r", "Привет "),
        )
    )
    return Response((text(rng, 900).decode() + sample * 60).encode(charset))


@kind("legacy charsets, declared as UTF-8", HTML, TEXT, JSON)
def _legacy_wrong(rng: random.Random) -> Response:
    charset, sample = rng.choice((("shift_jis", "東京の天気は晴れ。"), ("iso-8859-1", "Größe, naïve café "), ("gb18030", "天气很好"), ("koi8-r", "Привет ")))
    return Response((text(rng, 900).decode() + sample * 60).encode(charset) + stranger(rng).lines())


@kind("mojibake", HTML, silent=True)
def _mojibake(rng: random.Random) -> Response:
    return Response(page(rng, inside=("Größe naïve “café” \ufffd\ufffd " * 40).encode().decode("latin-1").encode()))


@kind("text cut in mid-character", HTML, TEXT)
def _cut(rng: random.Random) -> Response:
    excerpts = b"".join(b"<p>" + (_MANY * 9).encode()[: rng.randrange(40, 300)] + b"...</p>\n" for _ in range(30))
    return Response(page(rng, inside=excerpts) + "東".encode()[:2])


# --- Files of their own format ---


def chunk(tag: bytes, data: bytes) -> bytes:
    """A PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))


def png(rng: random.Random) -> bytes:
    """A small picture of noise."""
    rows = b"".join(b"\0" + rng.randbytes(90) for _ in range(30))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 30, 30, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def jpeg(rng: random.Random) -> bytes:
    """The frame of a JPEG around noise."""
    scan_data = rng.randbytes(1500).replace(b"\xff", b"\xff\0")
    return (
        b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + b"\xff\xdb\0\x43\0" + rng.randbytes(64) + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + scan_data + b"\xff\xd9"
    )


def ttf(rng: random.Random) -> bytes:
    """A table directory and tables with offsets that look like pointers."""
    tables = b"".join(struct.pack(">4sIII", t, rng.getrandbits(32), 300 + i * 200, 200) for i, t in enumerate((b"cmap", b"glyf", b"head", b"loca")))
    data = b"".join(struct.pack("<Q", 0x7F00_0000_0000 | rng.getrandbits(24)) + struct.pack(">HHi", rng.randrange(400), 0xFFFF, 0) for _ in range(60))
    return b"\0\1\0\0\0\4\0\x40\0\2\0\0" + tables + data


def wasm(rng: random.Random) -> bytes:
    """A module with a data section that holds text and zeros."""
    data = b"".join(rng.choice(WORDS).encode() + bytes(4) + struct.pack("<I", rng.randrange(1 << 20)) for _ in range(200))
    return b"\0asm\1\0\0\0\x0b" + struct.pack("<H", 0x8080 | len(data) & 0x7F7F) + data + b"\r\nCookie: session=example\r\n"


def elf(rng: random.Random) -> bytes:
    """A head, addresses and strings."""
    addresses = b"".join(struct.pack("<QQ", 0x5555_5555_0000 + rng.randrange(1 << 16), rng.randrange(1 << 12)) for _ in range(150))
    return (
        b"\x7fELF\2\1\1"
        + bytes(9)
        + struct.pack("<HHI", 3, 62, 1)
        + addresses
        + b"\0".join(w.encode() for w in WORDS)
        + b"\0Cookie\0 session=\0HTTP/1.1 200 OK\r\n"
    )


def pdf(rng: random.Random, comment: bytes = b"%\xe2\xe3\xcf\xd3\n") -> bytes:
    """Objects and compressed streams; generators in PHP leave the comment of high bytes out."""
    streams = b"".join(
        b"%d 0 obj\n<</Filter /FlateDecode /Length 500>>\nstream\n" % i + zlib.compress(rng.randbytes(500)) + b"\nendstream\nendobj\n" for i in range(4)
    )
    return (
        b"%PDF-1.4\n"
        + comment
        + b"9 0 obj\n<</Type /Page /Parent 1 0 R /Resources 2 0 R>>\nendobj\n"
        + streams
        + b"xref\n0 1\n0000000000 65535 f \ntrailer\n<<>>\n%%EOF\n"
    )


@kind("binary files, rightly and wrongly labelled", "application/octet-stream", HTML, TEXT, JSON, "image/png", "text/css", "text/javascript")
def _binary(rng: random.Random) -> Response:
    return Response(rng.choice((png, jpeg, ttf, wasm, elf, pdf))(rng))


@kind("binary without a magic, labelled as text", HTML, TEXT, JSON)
def _unknown(rng: random.Random) -> Response:
    return Response(rng.choice((b"\x80\x04\x95", b"\x0a\x12", b"\x93\x01", b"")) + rng.randbytes(3000))


@kind("picture or PDF behind a PHP warning", HTML, "text/html", TEXT)
def _warning(rng: random.Random) -> Response:
    warning = b"<br />\n<b>Warning</b>:  Undefined variable $a in <b>/srv/www/report.php</b> on line <b>12</b><br />\n" * rng.randrange(1, 8)
    return Response(warning + rng.choice((png(rng), jpeg(rng), pdf(rng), pdf(rng, b""), gzip.compress(rng.randbytes(900), mtime=0))))


@kind("PDF increments", "application/pdf", HTML)
def _increments(rng: random.Random) -> Response:
    return Response(pdf(rng) + b"11 0 obj\n<<>>\nendobj\n%%EOF\n" + pdf(rng)[9:])


@kind("film behind a photograph", "image/jpeg")
def _motion(rng: random.Random) -> Response:
    return Response(jpeg(rng) + struct.pack(">I", 24) + b"ftypmp42" + bytes(4) + b"isommp42" + rng.randbytes(2000))


@kind("gain map behind a photograph", "image/jpeg")
def _gain_map(rng: random.Random) -> Response:
    return Response(jpeg(rng) + jpeg(rng) + jpeg(rng))


@kind("ZIP behind a picture", "image/png", "image/jpeg")
def _polyglot(rng: random.Random) -> Response:
    packed = zlib.compress(rng.randbytes(900))
    return Response(
        rng.choice((png, jpeg))(rng) + b"PK\3\4" + struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, rng.getrandbits(32), len(packed), 900, 5, 0) + b"a.txt" + packed
    )


@kind("range of a binary file", "image/png", "video/mp4", "application/octet-stream", "application/pdf", "font/ttf", silent=True)
def _range(rng: random.Random) -> Response:
    file = rng.choice((ttf, elf, wasm))(rng).replace(b"Cookie", b"Biscuit").replace(b"HTTP/1.1", b"HTML/5")
    start = rng.randrange(20, 400)
    return Response(file[start:], status=206, reason="Partial Content", headers=(("Content-Range", f"bytes {start}-{len(file) - 1}/{len(file)}"),))


@kind("range of text, from the middle of a character", HTML, TEXT, JSON)
def _range_text(rng: random.Random) -> Response:
    whole = json.dumps({"text": _MANY * 60}, ensure_ascii=False).encode()
    start = rng.randrange(20, 900)
    return Response(whole[start:-7], status=206, reason="Partial Content", headers=(("Content-Range", f"bytes {start}-{len(whole) - 8}/{len(whole)}"),))


@kind("coded body with its text type", HTML, TEXT, JSON, "text/css", silent=True)
def _coded(rng: random.Random) -> Response:
    plain = page(rng)
    coding, body = rng.choice((("gzip", gzip.compress(plain, mtime=0)), ("deflate", zlib.compress(plain)), ("x-own", rng.randbytes(2500))))
    return Response(body, headers=(("Content-Encoding", coding),))


@kind("head that names a coding the body has not", HTML, TEXT, JSON, "text/css", silent=True)
def _lying(rng: random.Random) -> Response:
    plain = page(rng)
    body = rng.choice((plain, gzip.compress(plain, mtime=0), zlib.compress(plain)[2:-4], rng.randbytes(2500), json.dumps({"text": plain.decode()}).encode()))
    return Response(body, headers=(("Content-Encoding", rng.choice(("br", "zstd", "gzip, gzip", "br, gzip"))),))


def table() -> str:
    """Kind, classes it was taken for, tier and signs that any instance showed."""
    scanner = overread.Scanner()
    lines = ["| kind | taken for | highest tier | signs seen |", "|---|---|---|---|"]
    for n in NEGATIVES:
        verdicts = [scan(scanner, r) for r in instances(n)]
        best = max(verdicts, key=lambda v: v.bits)
        classes = ", ".join(sorted({v.content_class for v in verdicts}))
        signs = ", ".join(sorted({f.family for v in verdicts for f in v.findings}))
        lines.append(f"| {n.id} | {classes} | {best.tier} | {signs or 'none'} |")
    return "\n".join([*lines, ""])


def redrawn() -> str:
    """The document with today's table between its marks."""
    before, _, rest = DOCUMENT.read_text().partition(MARKS[0])
    return before + MARKS[0] + "\n\n" + table() + "\n" + MARKS[1] + rest.partition(MARKS[1])[2]


if __name__ == "__main__":
    DOCUMENT.write_text(redrawn())
