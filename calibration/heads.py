"""Clean response heads: recorded HTTP exchanges straight out of packages.

Test suites record what real servers answered: WARC files, VCR and betamax cassettes, HAR files, nock fixtures, PyGithub's
replay data, packet captures and raw dumps. Packages are read in place like those of ``bodies.py``. What a recorder changed
is changed back where it is known to (a HAR joins repeated fields by line feeds); what cannot be is left out and counted.
"""

from __future__ import annotations

import ast
import collections
import gzip
import io
import ipaddress
import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

import dpkt
import yaml
from publicsuffixlist import PublicSuffixList
from warcio.archiveiterator import ArchiveIterator

from .bodies import members

LARGEST = 24 << 20  # bytes of a file that must be parsed whole; captures and WARC files are streamed
LARGEST_HEAD = 64 << 10
FLOWS = 4096  # of one capture, followed at a time

Fields = tuple[tuple[bytes, bytes], ...]

_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})(?: ([^\r\n]*))?(?:\r?\n|$)")
_RAW = re.compile(rb"^HTTP/1\.[01] \d{3}\b", re.M)
_CASSETTE = re.compile(rb"^-? *['\"]?((http_)?interactions|responses)['\"]?:", re.M)
# Files whose names say that somebody wrote them in order to break a parser: no server sent what is in them.
_BROKEN = re.compile(r"fuzz|malform|invalid|corrupt|broken|torture|attack|exploit|evil|oss-?fuzz|(^|[-_/.])bad([-_/.]|$)", re.I)
# What a recorder leaves in place of a secret. The server sent another value, so the head as recorded was never sent.
_SCRUBBED = re.compile(rb"^\W*(redacted|scrubbed|filtered|sanitized|dummy|removed|placeholder|fake|\*{3,})\b|^[<{*\[][A-Za-z_ -]+[>}*\]]$|^\*+$", re.I)
_PLACEHOLDER = re.compile(rb"<[A-Z][A-Z0-9_]+>")  # betamax's, also amid a value
_REPLAY = re.compile(rb"^https?\r?\n[A-Z]+\r?\n")


@dataclass(frozen=True)
class Head:
    """One response head. ``source`` is the registrable domain that sent it, else the package that recorded it."""

    source: str
    status: int
    reason: str
    headers: Fields


class MadeToBreak(ValueError):
    """The file's name says it was written to break a parser."""


class _Loader(yaml.CSafeLoader):  # type: ignore[misc]
    """Cassettes hold Ruby and Python tags: their plain content is enough."""


def _plain(loader: Any, _: str, node: yaml.Node) -> object:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


_Loader.add_multi_constructor("", _plain)
_Loader.add_multi_constructor("!", _plain)
_Loader.add_multi_constructor("tag:yaml.org,2002:python/", _plain)


@cache
def _suffixes() -> Any:
    return PublicSuffixList(only_icann=True)


@cache
def source_of(host: str, package: str) -> str:
    """Registrable domain of a host name; the package where the name is local, an address or made up."""
    host = host.lower().strip("[]. ")
    try:
        ipaddress.ip_address(host)
        return package  # who owns the address is not known, and one owner has many
    except ValueError:
        pass
    domain = _suffixes().privatesuffix(host, accept_unknown=False) if re.fullmatch(r"[a-z0-9._-]{3,253}", host) else None
    return package if domain is None or domain.startswith("example.") else str(domain)


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    text = str(value)
    try:
        return text.encode("latin-1")  # what http.client and requests decoded from
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _fields(headers: object) -> Fields:
    """Fields from what recorders write: a mapping to a value or list, pairs, or ``{name:, value:}`` rows."""
    pairs: list[tuple[object, object]] = []
    if isinstance(headers, Mapping):
        for name, value in headers.items():
            # betamax and Ruby's VCR name the same field once and list its values.
            pairs += [(name, v) for v in value] if isinstance(value, (list, tuple)) else [(name, value)]
    elif isinstance(headers, (list, tuple)):
        for row in headers:
            if isinstance(row, Mapping):
                pairs.append((row.get("name", row.get("key", "")), row.get("value", "")))
            elif isinstance(row, (list, tuple)) and len(row) == 2:
                pairs.append((row[0], row[1]))
    rows = [(_bytes(n).strip(), _bytes(v).strip(b" \t")) for n, v in pairs if n is not None and v is not None]
    # Fields of HTTP/2 itself are no header fields. A field whose value was blotted out is left out, the rest still counts.
    return tuple((n, v) for n, v in rows if n and not n.startswith(b":") and not (_SCRUBBED.match(v) or _PLACEHOLDER.search(v)))


def _head(url: object, package: str, status: object, reason: object, headers: object) -> Head | None:
    fields = _fields(headers)
    code = int(str(status).split()[0]) if str(status or "").split() else 0
    if not fields or not 100 <= code <= 999:
        return None
    try:
        host = urlsplit(str(url)).hostname or ""
    except ValueError:
        host = ""
    return Head(source_of(host, package), code, str(reason or "").strip(), fields)


def _raw_head(data: bytes, host: str, package: str) -> Head | None:
    """A head as it stood on the wire; None when its end is missing."""
    status = _STATUS.match(data)
    if not status:
        return None
    rows: list[tuple[bytes, bytes]] = []
    at = status.end()
    while at < len(data):
        end = data.find(b"\n", at)
        if end < 0:
            return None
        line, at = data[at:end].removesuffix(b"\r"), end + 1
        if not line:
            break
        if line[:1] in b" \t" and rows:  # a folded line; a parser joins it by a space
            rows[-1] = (rows[-1][0], rows[-1][1] + b" " + line.strip())
            continue
        name, colon, value = line.partition(b":")
        if not colon:
            return None
        rows.append((name.strip(), value.strip(b" \t")))
    else:
        return None
    reason = (status[2] or b"").strip().decode("latin-1")
    return Head(source_of(host, package), int(status[1]), reason, tuple(rows)) if rows else None


# --- Documents: JSON and YAML ---


def _unjoined(headers: object) -> list[tuple[object, object]]:
    # Browsers write a HAR's repeated fields as one, joined by line feeds.
    rows = headers if isinstance(headers, list) else []
    return [(r.get("name"), part) for r in rows if isinstance(r, Mapping) for part in str(r.get("value", "")).split("\n")]


def _document(doc: Any, package: str) -> Iterator[Head | None]:
    """Heads of a parsed recording, whichever tool wrote it."""
    if isinstance(doc, list):
        for item in doc:
            if not isinstance(item, Mapping):
                continue
            if "scope" in item and "status" in item:  # nock
                raw = item.get("rawHeaders")
                if isinstance(raw, list) and raw and all(isinstance(r, str) for r in raw):
                    raw = list(zip(raw[::2], raw[1::2], strict=False))
                yield _head(item["scope"], package, item["status"], "", raw or item.get("responseHeaders") or item.get("headers"))
            elif "response" in item and "request" in item:
                yield from _document({"interactions": [item]}, package)
        return
    if not isinstance(doc, Mapping):
        return
    if isinstance(doc.get("log"), Mapping):  # HAR
        for entry in doc["log"].get("entries") or ():
            response = entry.get("response") or {}
            if response.get("status"):
                yield _head(entry["request"]["url"], package, response["status"], response.get("statusText"), _unjoined(response.get("headers")))
    if isinstance(doc.get("requests"), list) and isinstance(doc.get("responses"), list):  # LangChain's cassettes
        doc = {"interactions": [{"request": a, "response": b} for a, b in zip(doc["requests"], doc["responses"], strict=False)]}
    for item in doc.get("interactions") or doc.get("http_interactions") or ():  # VCR, betamax, go-vcr
        response, request = item.get("response"), item.get("request") or {}
        if not isinstance(response, Mapping):
            continue
        status = response.get("status", response.get("status_code"))
        url = (request.get("uri") or request.get("url") or response.get("url")) if isinstance(request, Mapping) else ""
        if isinstance(status, Mapping):
            # R's vcr has a message of its own beside the reason.
            code, reason = status.get("code", status.get("status_code")), status.get("reason") if "status_code" in status else status.get("message")
        else:
            code, reason = response.get("code", status), response.get("reason") or re.sub(r"^\d+ ?", "", str(status or ""))
        yield _head(url, package, code, reason, response.get("headers"))
    for item in doc.get("Entries") or doc.get("entries") or ():  # Azure's test proxy, Google's httpreplay
        if isinstance(item, Mapping) and "ResponseHeaders" in item:
            yield _head(item.get("RequestUri"), package, item.get("StatusCode"), "", item["ResponseHeaders"])
        elif isinstance(item, Mapping) and isinstance(item.get("Response"), Mapping):
            response, request = item["Response"], item.get("Request") or {}
            yield _head(request.get("URL"), package, response.get("StatusCode"), "", response.get("Header") or response.get("Headers"))


# --- Files ---


def _replay(data: bytes, package: str) -> Iterator[Head | None]:
    """PyGithub's replay data: protocol, method, host, port, path, request head, request body, status, head, body, blank."""
    lines = data.decode("utf-8", "replace").split("\n")
    for i in range(0, len(lines) - 9, 11):
        protocol, _, host, _, _, _, _, status, headers = (line.rstrip("\r") for line in lines[i : i + 9])
        if protocol not in ("http", "https"):
            return
        yield _head(f"{protocol}://{host}", package, status, "", ast.literal_eval(headers))


def _warc(stream: IO[bytes], package: str) -> Iterator[Head | None]:
    # The payload is parsed here: warcio decodes values, and the sign may be in a byte it repairs.
    for record in ArchiveIterator(stream, no_record_parse=True, arc2warc=True):
        if record.rec_type == "response":
            url = record.rec_headers.get_header("WARC-Target-URI") or ""
            if url.startswith("http"):
                data = record.raw_stream.read(LARGEST_HEAD)
                yield _raw_head(data, urlsplit(url).hostname or "", package)


def _segments(stream: io.BufferedReader) -> Iterator[tuple[tuple[bytes, int, bytes, int], int, bytes]]:
    """TCP payloads of a capture: endpoints, sequence number, bytes."""
    first = stream.peek(4)[:4]
    capture = dpkt.pcapng.Reader(stream) if first == _PCAPNG else dpkt.pcap.Reader(stream)
    link = {
        dpkt.pcap.DLT_EN10MB: dpkt.ethernet.Ethernet, dpkt.pcap.DLT_LINUX_SLL: dpkt.sll.SLL, dpkt.pcap.DLT_LINUX_SLL2: dpkt.sll2.SLL2,
        dpkt.pcap.DLT_NULL: dpkt.loopback.Loopback, dpkt.pcap.DLT_LOOP: dpkt.loopback.Loopback,
    }.get(capture.datalink())  # fmt: skip
    for _, packet in capture:
        try:
            frame = link(packet).data if link else dpkt.ip.IP(packet) if packet[:1] and packet[0] >> 4 == 4 else dpkt.ip6.IP6(packet)
            while not isinstance(frame, (dpkt.ip.IP, dpkt.ip6.IP6, bytes)):
                frame = frame.data
            if isinstance(frame, bytes) or not isinstance(frame.data, dpkt.tcp.TCP):
                continue
            tcp = frame.data
        except (dpkt.Error, AttributeError, IndexError, struct.error, ValueError, TypeError):
            continue  # a packet cut short or of another protocol
        if tcp.data:
            yield (frame.src, tcp.sport, frame.dst, tcp.dport), tcp.seq, bytes(tcp.data)


_HOST = re.compile(rb"^Host:[ \t]*([^\s:]+)", re.M | re.I)


def _capture(stream: io.BufferedReader, package: str) -> Iterator[Head | None]:
    hosts: collections.OrderedDict[tuple[bytes, int, bytes, int], str] = collections.OrderedDict()
    begun: collections.OrderedDict[tuple[bytes, int, bytes, int], tuple[int, bytes]] = collections.OrderedDict()
    for flow, seq, data in _segments(stream):
        if (host := _HOST.search(data[:4096])) and not data.startswith(b"HTTP/"):
            hosts[(*flow[2:], *flow[:2])] = host[1].decode("latin-1")
        if data.startswith(b"HTTP/1."):
            begun[flow] = (seq + len(data), data)
        elif flow in begun:
            follows, before = begun[flow]
            if seq != follows:
                continue  # repeated or lost: a head with a gap is never completed
            begun[flow] = (seq + len(data), before + data)
        else:
            continue
        data = begun[flow][1]
        if b"\r\n\r\n" in data or b"\n\n" in data or len(data) > LARGEST_HEAD:
            del begun[flow]
            # Media protocols answer with an HTTP-like line too; only what was asked for over HTTP counts.
            if flow in hosts:
                yield _raw_head(data[:LARGEST_HEAD], hosts[flow], package)
        for table in (hosts, begun):
            if len(table) > FLOWS:
                table.popitem(last=False)


_SUFFIXES = {".json", ".yaml", ".yml", ".har", ".txt", ".http", ".https", ".raw", ".response", ".resp", ".httpdump", ".replay", ".frozen"}
_PCAPNG = b"\n\r\r\n"
_MAGIC = (b"\xa1\xb2\xc3\xd4", b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x4d\x3c\xb2\xa1", _PCAPNG)


class _Begun(io.RawIOBase):
    """A stream whose first bytes were looked at; tar members cannot seek."""

    def __init__(self, first: bytes, rest: IO[bytes]) -> None:
        self.first, self.rest = first, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.first[: len(buffer)] or self.rest.read(len(buffer))
        self.first = self.first[len(data) :] if self.first else b""
        buffer[: len(data)] = data
        return len(data)


def _parsed(name: str, data: bytes, package: str) -> Iterator[Head | None]:
    suffix = PurePosixPath(name).suffix.lower()
    if data.startswith(b"HTTP/1."):
        yield _raw_head(data[:LARGEST_HEAD] + (b"" if b"\n\n" in data or b"\r\n\r\n" in data else b"\n\n"), "", package)
    elif _REPLAY.match(data):
        yield from _replay(data, package)
    elif data[:200].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        if any(key in data for key in (b"headers", b"Headers", b'"Header"')):
            yield from _document(json.loads(data.decode("utf-8-sig")), package)
    elif suffix in (".yaml", ".yml", ".frozen", "") and _CASSETTE.search(data):
        yield from _document(yaml.load(data, Loader=_Loader), package)


def from_file(name: str, stream: IO[bytes], package: str) -> Iterator[Head | None]:
    """Heads of one file, recognised by its content; None for each that cannot be read as one."""
    first = stream.read(16)
    if _BROKEN.search(name) and first.startswith((b"HTTP/1.", b"WARC/", b"\x1f\x8b", *_MAGIC)):
        raise MadeToBreak(name)
    whole: io.BufferedReader = io.BufferedReader(_Begun(first, stream))
    if first.startswith(b"\x1f\x8b"):
        if ".warc" not in name.lower() and ".arc" not in name.lower():
            yield from from_file(re.sub(r"\.gz$", "", name, flags=re.I), io.BytesIO(gzip.GzipFile(fileobj=whole).read(LARGEST)), package)
            return
        yield from _warc(whole, package)
    elif first.startswith((b"WARC/", b"filedesc:")):
        yield from _warc(whole, package)
    elif first.startswith(_MAGIC):
        yield from _capture(whole, package)
    elif first and (PurePosixPath(name).suffix.lower() in _SUFFIXES or first.startswith(b"HTTP/1.")):
        data = whole.read(LARGEST + 1)
        if len(data) <= LARGEST:
            yield from _parsed(name, data, package)


_WANTED = re.compile(r"\.(ya?ml|json|har|txt|https?|raw|resp(onse)?|httpdump|replay|frozen|w?arc|p?cap(ng)?|trace|ntar)(\.gz)?$|/[^/.]+$", re.I)


def heads(path: Path, skipped: collections.Counter[str] | None = None) -> Iterator[Head]:
    """Heads of every recording in a package archive. ``skipped`` counts, by error, the files and heads that were not read."""
    skipped = collections.Counter() if skipped is None else skipped
    package = re.sub(r"[-_]v?\d.*$", "", path.name)
    for name, stream, _ in members(path):
        inside = name.partition("/")[2] or name  # the archive's own folder names the version, not the file
        if not _WANTED.search(name):
            continue
        try:
            for head in from_file(inside, stream, package):
                if head:
                    yield head
                else:
                    skipped["incomplete head"] += 1
        except MadeToBreak:
            skipped["named as broken"] += 1
        # Foreign parsers raise what they like on foreign files; one broken file must not end the count.
        except Exception as e:
            skipped[type(e).__name__] += 1


def distinct(found: Iterable[Head]) -> Iterator[Head]:
    """Each head once, whoever sent it."""
    seen: set[int] = set()
    for head in found:
        key = hash((head.status, head.reason, head.headers))
        if key not in seen:
            seen.add(key)
            yield head
