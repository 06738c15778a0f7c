"""Clean response bodies, straight out of packages.

Packages come through the ordinary clients (apt-get, npm, pip) into a cache and are read in place; nothing is unpacked.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import re
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from .enriched import NATURAL

PER_PACKAGE = 1000  # bodies; a package is one author's habits, however many files it has
MIXED_PER_PACKAGE = 100  # files for the enriched sample alone
SMALLEST, LARGEST = 64, 8 << 20  # bytes

TYPES = {
    ".html": "text/html", ".htm": "text/html", ".xhtml": "text/html", ".js": "text/javascript", ".mjs": "text/javascript",
    ".cjs": "text/javascript", ".ts": "application/typescript", ".css": "text/css", ".json": "application/json",
    ".map": "application/json", ".svg": "image/svg+xml", ".xml": "application/xml", ".rss": "application/xml",
    ".txt": "text/plain", ".md": "text/markdown", ".rst": "text/plain", ".yaml": "application/yaml", ".yml": "application/yaml",
    ".csv": "text/csv", ".py": "text/plain", ".h": "text/plain", ".c": "text/plain", ".cpp": "text/plain", ".tex": "text/plain",
    ".eml": "text/plain", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
    ".gif": "image/gif", ".webp": "image/webp", ".woff": "font/woff", ".woff2": "font/woff2", ".ttf": "font/ttf",
    ".otf": "font/otf", ".wasm": "application/wasm", ".pdf": "application/pdf", ".gz": "application/gzip",
    ".zip": "application/zip", ".jar": "application/zip", ".whl": "application/zip", ".ico": "image/x-icon",
    ".eot": "application/octet-stream", ".inv": "application/octet-stream",
}  # fmt: skip
_DEB_SRC = """Types: deb-src
URIs: http://deb.debian.org/debian
Suites: bookworm sid
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
_TEXT = ("text/html", "text/plain", "text/markdown", "text/csv")
_CHARSET = re.compile(rb"charset\s*=\s*[\"']?\s*([A-Za-z0-9_-]+)", re.I)
_GENERATOR = re.compile(rb"(doxygen|javadoc|rustdoc|sphinx|haddock|docbook|gtk-doc|ocamldoc|hevea|latex2html)", re.I)


@dataclass(frozen=True)
class Body:
    """One body as a plain file server would send it. ``source`` is what counts as one independent source."""

    package: str
    source: str
    path: str
    content_type: str
    data: bytes


def content_type(path: str, data: bytes) -> str | None:
    """Type by file name, with the charset the document itself names, else the usual default of UTF-8."""
    kind = TYPES.get(_suffix(path))
    if path.endswith(".map") and not data.startswith(b"{"):
        return None  # a Doxygen image map or a game's level, no source map
    if kind not in _TEXT:
        return kind
    named = _CHARSET.search(data[:1024]) if kind == "text/html" else None
    return f"{kind}; charset={named[1].decode().lower() if named else 'utf-8'}"


def _apt_sources(cache: Path) -> list[str]:
    """Options of an apt-get that knows source packages, whatever the machine's own lists hold."""
    root = cache.resolve() / "apt"
    lists = root / "heads.sources"
    options = [f"Dir::Etc::sourcelist={lists}", "Dir::Etc::sourceparts=-", f"Dir::State::lists={root / 'lists'}", f"Dir::Cache={root}"]
    command = [word for option in (*options, "APT::Sandbox::User=root") for word in ("-o", option)]
    if not lists.exists():
        for folder in ("lists/partial", "archives/partial"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        lists.write_text(_DEB_SRC)
        subprocess.run(["apt-get", "update", "-q", *command], timeout=300, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return command


def download(registry: str, name: str, cache: Path, timeout: float = 180) -> Path | None:
    """Path of the cached package file, or None when the registry does not have it. Tries twice."""
    folder = cache / registry / name.replace("@", "").replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)  # one folder a package: what lies in it can only be that package
    for _ in range(2):
        if found := [p for p in folder.iterdir() if p.suffix in {".deb", ".tgz", ".whl", ".gz", ".zip", ".xz", ".bz2"}]:
            return found[0]
        command = {
            "deb": ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", name],
            "npm": ["npm", "pack", "--silent", name],
            "pypi": ["pip", "download", "-q", "--no-deps", "--disable-pip-version-check", "-d", ".", name],
            "pypi-sdist": ["pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "--disable-pip-version-check", "-d", ".", name],
            "deb-src": [
                "apt-get",
                "source",
                "-q",
                "--tar-only",
                "--download-only",
                "--only-source",
                *(_apt_sources(cache) if registry == "deb-src" else ()),
                name,
            ],
        }[registry]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(command, cwd=folder, timeout=timeout, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return None


def download_debs(names: Sequence[str], cache: Path, timeout: float = 600) -> None:
    """Brings those Debian packages that are not cached in one call of apt-get, which reads its lists once instead of once a package.

    What cannot be had this way, because one name of the call is unknown, is left to :func:`download`.
    """
    missing = [name for name in names if not any((cache / "deb" / name).glob("*.deb"))]
    if not missing:
        return
    (cache / "deb").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache / "deb", prefix=".batch-") as folder:
        with contextlib.suppress(subprocess.TimeoutExpired):
            command = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", *missing]
            subprocess.run(command, cwd=folder, timeout=timeout, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        for file in Path(folder).glob("*.deb"):
            home = cache / "deb" / file.name.partition("_")[0]
            home.mkdir(exist_ok=True)
            file.replace(home / file.name)


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def members(path: Path) -> Iterator[tuple[str, IO[bytes], int]]:
    """Name, stream and size in bytes of each file of an archive, in its order; a stream is read before the next is asked for."""
    if path.suffix == ".deb":
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as p:
            assert p.stdout
            with tarfile.open(fileobj=p.stdout, mode="r|") as tar:
                for m in tar:
                    if m.isfile() and (f := tar.extractfile(m)):
                        yield m.name, f, m.size
    elif path.suffix in {".whl", ".zip"}:
        with zipfile.ZipFile(path) as z:
            for i in z.infolist():
                if not i.is_dir():
                    yield i.filename, z.open(i), i.file_size
    else:
        with tarfile.open(path, mode="r|*") as tar:
            for m in tar:
                if m.isfile() and (f := tar.extractfile(m)):
                    yield m.name, f, m.size


def project_of(registry: str, name: str, path: Path) -> str:
    """What a package's files have in common: its Debian source package, else its name; without a version."""
    if registry == "deb":
        shown = subprocess.run(["dpkg-deb", "-f", str(path), "Source"], capture_output=True, text=True, timeout=60, check=False).stdout.split()
        name = shown[0] if shown else name
    name = re.sub(r"[-_.]?(\d[\d.]*)?(-doc|-docs|-doc-html|-documentation)?$", "", name)
    return re.sub(r"-?\d+(\.\d+)*$", "", name)


def bodies(registry: str, name: str, path: Path) -> Iterator[Body]:
    """Bodies of one package: the ``PER_PACKAGE`` whose path hashes lowest, so that the choice is stable and unbiased."""
    names = [n for n, _, size in members(path) if SMALLEST <= size <= LARGEST and _suffix(n) in TYPES.keys() | NATURAL]
    names.sort(key=lambda n: hashlib.sha256(n.encode()).digest())
    chosen = {*[n for n in names if _suffix(n) in TYPES][:PER_PACKAGE], *[n for n in names if _suffix(n) not in TYPES][:MIXED_PER_PACKAGE]}
    project = project_of(registry, name, path)
    for member, stream, _ in members(path):
        if member not in chosen:
            continue
        data = stream.read()
        # Debian compresses text documentation; a server sends it decoded.
        if member.endswith(".gz") and _suffix(member[:-3]) in TYPES.keys() | NATURAL:
            with contextlib.suppress(OSError, EOFError):
                data, member = gzip.decompress(data)[:LARGEST], member[:-3]
        kind = content_type(member, data)
        if kind is None and _suffix(member) in NATURAL:
            kind = "text/plain; charset=utf-8"
        if kind is None or len(data) < SMALLEST:
            continue
        generator = _GENERATOR.search(data[:2048]) if kind.startswith("text/html") else None
        source = generator[1].decode().lower() if generator else project
        yield Body(f"{registry}:{path.name}", source, member, kind, data)
