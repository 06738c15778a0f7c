"""Scans the clean bodies of packages and keeps what was counted: resumable, two processes, one file of counts a package."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import hashlib
import os
import pickle
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .bodies import bodies, download, download_debs
from .enriched import CONTAINERS, HTML, NATURAL, PLAIN, made, made_tails

if TYPE_CHECKING:
    import overread

BATCH = 20  # packages downloaded together
TEXT = ("html", "js", "css", "json", "svg", "xml", "text", "event-stream", "legacy")
CONTAINER = ("png", "jpeg", "gif", "webp", "woff", "woff2")
BINARY = ("utf16", *CONTAINER, "ttf", "wasm", "pdf", "archive", "other")
# Chains are measured per family: what follows the text of pages and documents, of plain text (where logs, mails, dumps and
# saved exchanges live), of scripts; and what follows a complete container.
FAMILY = {**dict.fromkeys(TEXT, "page"), "text": "plain", "legacy": "plain", "js": "js", **dict.fromkeys(CONTAINER, "container")}


@dataclass(frozen=True, slots=True)
class Row:
    """One clean body: which levels its groups reached, and the bits the shipped weights gave it."""

    digest: bytes
    cls: str
    source: str
    levels: dict[str, int]
    crlf: bool
    bits: float
    path: str


@dataclass
class Mixtures:
    """The enriched sample of one family: bodies in which raw level 3 holds."""

    n: collections.Counter[str] = field(default_factory=collections.Counter)  # by kind of mixture
    raw4: collections.Counter[str] = field(default_factory=collections.Counter)
    unknown: collections.Counter[str] = field(default_factory=collections.Counter)  # those in which no known format's file begins
    http: collections.Counter[tuple[str, int]] = field(default_factory=collections.Counter)  # by kind and level reached
    packages: set[str] = field(default_factory=set)

    def add(self, other: Mixtures) -> None:
        """Adds another tally to this one."""
        self.n.update(other.n)
        self.raw4.update(other.raw4)
        self.unknown.update(other.unknown)
        self.http.update(other.http)
        self.packages |= other.packages


@dataclass
class Package:
    """What one package gave. ``file`` is empty when it could not be had; ``error`` says why."""

    name: str
    file: str = ""
    error: str = ""
    rows: list[Row] = field(default_factory=list)
    mixtures: dict[str, Mixtures] = field(default_factory=dict)


def package_list(path: Path) -> list[tuple[str, str]]:
    """Registry and name of each line of a package list."""
    lines = [line.split("#")[0].split() for line in path.read_text().splitlines()]
    return [(line[0], line[1]) for line in lines if line]


def _levels(verdict: object) -> dict[str, int]:
    levels = {t.group: t.level_index for t in verdict.terms}  # type: ignore[attr-defined] # no import of overread at module level: workers fork first
    if verdict.content_class in CONTAINER and "raw" in levels:  # type: ignore[attr-defined]
        levels["place"] = 3  # raw bytes of a container count behind its end only
    return levels


def ends_well(scanner: overread.Scanner, content_type: str, data: bytes) -> bool:
    """Whether a container ends where its bytes do: behind one that is cut off, or that has a tail, nothing shows what another tail shows."""
    verdict = scanner.scan(data + b"behind the end of it", content_type=content_type)
    return any(f.family == "place" and f.offset == len(data) for f in verdict.findings)


def count_package(registry: str, name: str, cache: Path, enrich: bool) -> Package:
    """Counts one package: its bodies and, if asked for, the mixtures made of them."""
    import overread

    scanner = overread.Scanner(hold=0)
    out = Package(f"{registry}:{name}")
    path = download(registry, name, cache)
    if path is None:
        out.error = "not found"
        return out
    out.file = f"{registry}:{path.name}"
    texts: list[bytes] = []
    binaries: list[tuple[str, bytes]] = []

    def mixture(kind: str, content_type: str, data: bytes) -> None:
        verdict = scanner.scan(data, content_type=content_type)
        levels = _levels(verdict)
        if levels.get("raw", 0) < 3 or verdict.content_class not in FAMILY:
            return
        m = out.mixtures.setdefault(FAMILY[verdict.content_class], Mixtures())
        m.n[kind] += 1
        m.packages.add(out.name)
        m.raw4[kind] += levels["raw"] >= 4
        # Where a known format's file begins, header lines do not add to it: they are not counted there either.
        if all(f.rule != "raw.known-file" for f in verdict.findings):
            m.unknown[kind] += 1
            for level in range(1, levels.get("http", 0) + 1):
                m.http[kind, level] += 1

    for body in bodies(registry, name, path):
        if Path(body.path).suffix.lower() in NATURAL:
            if enrich:
                for content_type in (PLAIN, HTML, "text/javascript"):
                    mixture("found " + Path(body.path).suffix.lower(), content_type, body.data)
            continue
        verdict = scanner.scan(body.data, content_type=body.content_type)
        cls, levels = verdict.content_class, _levels(verdict)
        digest = hashlib.sha256(body.data).digest()[:10]
        out.rows.append(Row(digest, cls, body.source, levels, b"\r\n" in body.data, verdict.bits, f"{body.package} {body.path}"))
        if cls in TEXT:
            if len(texts) < 40 and len(body.data) > 1500 and cls != "legacy" and "raw" not in levels:
                texts.append(body.data)
            if enrich and levels.get("raw", 0) >= 3:
                mixture("found " + Path(body.path).suffix.lower(), body.content_type, body.data)
        elif len(binaries) < 24 and len(body.data) < 300_000:
            binaries.append((body.content_type, body.data))
    if enrich:
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
        for kind, content_type, data in made(texts, [b for _, b in binaries], seed):
            mixture(kind, content_type, data)
            if content_type == HTML:
                mixture(kind, "text/javascript", data)
        for kind, content_type, data in made_tails(texts, [(t, b) for t, b in binaries if not t.startswith(CONTAINERS) or ends_well(scanner, t, b)], seed):
            mixture(kind, content_type, data)
    return out


def _scanner_id() -> str:
    import overread._core

    here = Path(__file__).parent
    parts = [Path(overread._core.__file__), *(here / name for name in ("bodies.py", "counting.py", "enriched.py"))]
    return hashlib.sha256(b"".join(p.read_bytes() for p in parts)).hexdigest()[:16]


def _kept(job: tuple[str, str, Path, bool, str]) -> Package:
    """A package's counts, from the cache when the same scanner counted it before."""
    registry, name, cache, enrich, scanner = job
    kept = cache / "counts" / scanner / f"{registry}-{re.sub('[^A-Za-z0-9.+-]', '-', name)}{'-enriched' if enrich else ''}"
    with contextlib.suppress(OSError, pickle.UnpicklingError, EOFError):
        found = pickle.loads(kept.read_bytes())
        if isinstance(found, Package):
            return found
    try:
        package = count_package(registry, name, cache, enrich)
    except Exception as e:  # one broken archive must not end a count of hours
        return Package(f"{registry}:{name}", error=f"{type(e).__name__}: {e}")
    if not package.error:
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_name(kept.name + f".{os.getpid()}")
        part.write_bytes(pickle.dumps(package))
        part.replace(kept)
    return package


def _kept_batch(jobs: Sequence[tuple[str, str, Path, bool, str]]) -> list[Package]:
    download_debs([name for registry, name, *_ in jobs if registry == "deb"], jobs[0][2])
    return [_kept(job) for job in jobs]


def count(packages: Sequence[tuple[str, str]], cache: Path, enrich: bool, jobs: int) -> Iterator[Package]:
    """The counts of each package, in the order given, with a progress bar on a terminal."""
    scanner = _scanner_id()
    work = [(r, n, cache, enrich, scanner) for r, n in packages]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[n]:,} bodies"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as bar, concurrent.futures.ProcessPoolExecutor(jobs) as pool:
        task = bar.add_task("packages", total=len(work), n=0)
        n = 0
        futures = [pool.submit(_kept_batch, work[i : i + BATCH]) for i in range(0, len(work), BATCH)]
        try:
            # In the order of the list: a body that two packages hold counts for the first, whatever runs faster.
            for done in futures:
                for package in done.result():
                    n += len(package.rows)
                    bar.update(task, advance=1, n=n)
                    yield package
        finally:
            for f in futures:
                f.cancel()


def distinct(packages: Iterator[Package] | Sequence[Package]) -> Iterator[Row]:
    """Rows whose body no package before had."""
    seen: set[bytes] = set()
    for package in packages:
        for row in package.rows:
            if row.digest not in seen:
                seen.add(row.digest)
                yield row
