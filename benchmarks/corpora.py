"""Bodies to measure speed on, straight out of packages that neither weights nor fingerprints were chosen on."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable
from pathlib import Path

from calibration import bodies
from calibration.counting import package_list

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "bench"
TYPES = {
    "html": "text/html; charset=utf-8", "js": "text/javascript", "css": "text/css", "json": "application/json",
    "png": "image/png", "jpeg": "image/jpeg", "woff2": "font/woff2",
}  # fmt: skip
PACKAGES = 150  # of calibration/held-back.txt
PER_PACKAGE = 12  # bodies of one type
MOST = 24 << 20  # bytes of one type


def pack(parts: Iterable[bytes]) -> bytes:
    """One file of bodies: for each its length, four bytes little-endian, and its bytes."""
    return b"".join(len(p).to_bytes(4, "little") + p for p in parts)


def unpack(data: bytes) -> list[bytes]:
    """The bodies of such a file."""
    parts, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        parts.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return parts


def build(cache: Path = ROOT / ".cache" / "calibration") -> dict[str, Path]:
    """One pack a type, made when it is missing."""
    wanted = {kind: CACHE / f"{kind}.pack" for kind in [*TYPES, "html-1-percent", "html-cjk"]}
    if all(p.exists() for p in wanted.values()):
        return wanted
    CACHE.mkdir(parents=True, exist_ok=True)
    rng = random.Random(5)
    rows = package_list(ROOT / "calibration/held-back.txt")
    npm = [r for r in rows if r[0] != "deb"]
    chosen = npm + rng.sample([r for r in rows if r[0] == "deb"], PACKAGES - len(npm))
    found: dict[str, list[bytes]] = {kind: [] for kind in TYPES}
    for n, (registry, name) in enumerate(chosen):
        print(f"\rcorpora: package {n + 1} of {PACKAGES}", end="", file=sys.stderr, flush=True)
        path = bodies.download(registry, name, cache)
        if path is None:
            continue
        count = dict.fromkeys(TYPES, 0)
        for body in bodies.bodies(registry, name, path):
            kind = next((k for k, t in TYPES.items() if body.content_type.split(";")[0] == t.split(";")[0]), None)
            if kind and count[kind] < PER_PACKAGE and sum(map(len, found[kind])) < MOST:
                count[kind] += 1
                found[kind].append(body.data)
    print(file=sys.stderr)
    for kind, parts in found.items():
        wanted[kind].write_bytes(pack(parts))
    pages = [p for p in found["html"] if p.isascii()]
    one = [bytes(p).replace(b"e", "é".encode(), max(1, len(p) // 200)) for p in pages]  # about one byte in a hundred is not ASCII
    chinese = ["".join(chr(rng.randrange(0x4E00, 0x9FFF)) if c.isalpha() and i % 4 else c for i, c in enumerate(p[:60000].decode())) for p in pages[:60]]
    wanted["html-1-percent"].write_bytes(pack(one))
    wanted["html-cjk"].write_bytes(pack([c.encode() for c in chinese]))
    return wanted
