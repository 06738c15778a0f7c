"""Counts clean bodies and writes the weights: ``python -m calibration.calibrate [--limit N]``.

Every weight is minus log2 of the upper 95 % bound of a counted rate: the share of clean bodies whose group reached the
level. It never exceeds what the sample supports. ``--check`` verifies a file against its own counts.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import hashlib
import html
import math
import re
import sys
import time
import tomllib
from pathlib import Path

from .bodies import bodies, download
from .bounds import upper_bound
from .enriched import made

HERE = Path(__file__).parent
TEXT = ("html", "js", "css", "json", "svg", "xml", "text", "event-stream", "legacy")
BINARY = ("utf16", "png", "jpeg", "gif", "webp", "woff", "woff2", "ttf", "wasm", "pdf", "archive", "other")
LEVELS = {"raw": 3, "http": 6, "place": 3}  # the raw group's fourth level is chained
THICK = 30_000  # a class with fewer bodies borrows from the pooled text class where it showed nothing itself
HTTP_CAP = 17.0  # docs/evidence.md: http and secret together, in a text class
LINE_ENDING_BITS = 4.0  # CRLF islands in LF pages are what forms submit
_TAG = re.compile(rb"<[^>]{0,300}>")
_HEAD = re.compile(rb"^[ \t]*HTTP/1\.[01] (\d{3})([^\r\n]{0,60})\r?\n((?:[ \t]*[A-Za-z][A-Za-z0-9-]{1,40}: ?[^\r\n]{0,300}\r?\n){1,40})", re.M)


class Counts:
    """Tallies that add up across processes."""

    def __init__(self) -> None:
        self.n: collections.Counter[str] = collections.Counter()
        self.k: collections.Counter[tuple[str, str, int]] = collections.Counter()
        self.sources: dict[str, set[str]] = collections.defaultdict(set)
        self.crlf = 0
        self.crlf_header = 0
        self.mixed: collections.Counter[str] = collections.Counter()
        self.mixed_level4: collections.Counter[str] = collections.Counter()
        self.mixed_http: collections.Counter[int] = collections.Counter()
        self.mixed_sources: set[str] = set()
        self.rows: list[tuple[bytes, str, str, dict[str, int], bool, str]] = []
        self.high: list[str] = []
        self.files: list[str] = []

    def add(self, other: Counts) -> None:
        """Adds another tally to this one."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(value, collections.Counter):
                mine.update(value)
            elif isinstance(value, dict):
                for key, members in value.items():
                    mine[key] |= members
            elif isinstance(value, set):
                mine |= value
            else:
                setattr(self, name, mine + value)


def count_package(registry: str, name: str, cache: Path) -> Counts:
    """Counts of one package: its bodies, the mixtures made of them, and response heads quoted in them."""
    import overread

    scanner = overread.Scanner(hold=0)
    counts = Counts()
    path = download(registry, name, cache)
    if path is None:
        return counts
    counts.files.append(f"{registry}:{path.name}")
    texts: list[bytes] = []
    binaries: list[bytes] = []

    def reached(body: bytes, kind: str) -> tuple[str, dict[str, int]]:
        verdict = scanner.scan(body, content_type=kind)
        return verdict.content_class, {t.group: t.level_index for t in verdict.terms}

    def mixed(kind: str, source: str, levels: dict[str, int]) -> None:
        if levels.get("raw", 0) < 3:
            return
        counts.mixed[kind] += 1
        counts.mixed_sources.add(source)
        counts.mixed_level4[kind] += levels["raw"] >= 4
        for level in range(1, levels.get("http", 0) + 1):
            counts.mixed_http[level] += 1

    def head(text: bytes) -> None:
        if b"HTTP/1." not in text:
            return
        # Documentation shows heads inside markup: the tags go, the characters they hide come back.
        plain = html.unescape(_TAG.sub(b"", text).decode("utf-8", "replace")).encode()
        for m in list(_HEAD.finditer(plain))[:5]:
            headers = [tuple(line.split(b":", 1)) for line in m[3].splitlines() if b":" in line]
            verdict = scanner.scan(b"", status=int(m[1]), reason=m[2].strip().decode("latin-1"), headers=[(a.strip(), b.strip()) for a, b in headers])
            counts.n["head"] += 1
            counts.sources["head"].add(body.source)
            if any(t.group == "place" for t in verdict.terms):
                counts.k["head", "place", 4] += 1

    for body in bodies(registry, name, path):
        cls, levels = reached(body.data, body.content_type)
        digest = hashlib.sha256(body.data).digest()[:10]
        counts.rows.append((digest, cls, body.source, levels, b"\r\n" in body.data, f"{body.package} {body.path}"))
        if cls in TEXT:
            if len(texts) < 40 and len(body.data) > 1500:
                texts.append(body.data)
            mixed("found", body.source, levels)
            head(body.data)
        elif len(binaries) < 12 and len(body.data) < 300_000:
            binaries.append(body.data)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    for kind, content_type, data in made(texts, binaries, seed):
        mixed(kind, name, reached(data, content_type)[1])
    return counts


def count_rows(total: Counts, rows: list[tuple[bytes, str, str, dict[str, int], bool, str]], seen: set[bytes]) -> None:
    """Counts the bodies not seen in any package before."""
    for digest, cls, source, levels, crlf, path in rows:
        if digest in seen:
            continue
        seen.add(digest)
        for pool in (cls, "text-pool") if cls in TEXT else (cls,):
            total.n[pool] += 1
            total.sources[pool].add(source)
            for group, level in levels.items():
                for reached_level in range(1, level + 1):
                    total.k[pool, group, reached_level] += 1
        if cls in TEXT:
            total.crlf += crlf
            total.crlf_header += crlf and levels.get("http", 0) >= 3
            if levels.get("raw", 0) >= 2 or levels.get("http", 0) >= 3:
                total.high.append(f"{path} {cls} {levels}")


def bits_of(k: int, n: int) -> float:
    """Credit in bits that k hits in n support; rounded down so that no weight exceeds its bound."""
    return math.floor(-math.log2(upper_bound(k, n)) * 100) / 100 if n else 0.0


def weigh(counts: Counts) -> dict[str, object]:
    """The calibration as written to the file."""
    weights: list[dict[str, object]] = []

    def add(cls: str, group: str, level: int, counted: str, k: int, n: int, bits: float, basis: str) -> None:
        weights.append(
            {
                "class": cls, "group": group, "level": level, "bits": max(0.0, round(bits, 2)), "k": k, "n": n,
                "sources": len(counts.sources[counted]), "bound": upper_bound(k, n) if n else 1.0, "basis": basis, "counted": counted,
            }
        )  # fmt: skip

    n_mixed, k_mixed = sum(counts.mixed.values()), sum(counts.mixed_level4.values())
    worst = max(counts.mixed, key=lambda kind: counts.mixed_level4[kind] / counts.mixed[kind], default="")
    chain_bits = bits_of(k_mixed, n_mixed)
    crlf_bits = LINE_ENDING_BITS + bits_of(counts.crlf_header, counts.crlf)
    for cls in (*TEXT, *BINARY):
        for group, top in LEVELS.items():
            if group == "raw" and cls not in TEXT:
                continue
            for level in range(1, top + 1):
                k, n, counted = counts.k[cls, group, level], counts.n[cls], cls
                if cls in TEXT and n < THICK and bits_of(k, n) < bits_of(counts.k["text-pool", group, level], counts.n["text-pool"]) and k == 0:
                    k, n, counted = counts.k["text-pool", group, level], counts.n["text-pool"], "text-pool"
                bits = bits_of(k, n)
                if group == "http":
                    bits = min(bits, HTTP_CAP, crlf_bits) if cls in TEXT else min(bits, HTTP_CAP)
                add(cls, group, level, counted, k, n, bits, "counted")
                if group == "raw" and level == 3:
                    add(cls, "raw", 4, counted, k, n, bits + chain_bits, "chained")
        for level in range(1, 7):
            if cls in TEXT:
                k = counts.mixed_http[level]
                add(cls, "http-given-raw", level, "text-pool", k, n_mixed, bits_of(k, n_mixed), "chained")
    add("head", "place", 4, "head", counts.k["head", "place", 4], counts.n["head"], bits_of(counts.k["head", "place", 4], counts.n["head"]), "counted")
    pool = counts.n["text-pool"]
    cap = {c: round(math.log2(max(3, counts.n[c] if counts.n[c] >= THICK or c not in TEXT else pool) / 3) + 3, 2) for c in (*TEXT, *BINARY)}
    return {
        "bodies": dict(sorted(counts.n.items())),
        "sources": {c: len(s) for c, s in sorted(counts.sources.items())},
        "chain": {
            "given": "raw bytes after text (raw level 3)", "sign": "two kinds and no known magic (raw level 4)", "k": k_mixed, "n": n_mixed,
            "sources": len(counts.mixed_sources), "bound": upper_bound(k_mixed, n_mixed) if n_mixed else 1.0, "bits": chain_bits,
            "worst_kind": worst, "kinds": {kind: [counts.mixed_level4[kind], counts.mixed[kind]] for kind in sorted(counts.mixed)},
        },
        "crlf": {"k": counts.crlf_header, "n": counts.crlf, "http_cap_bits": round(crlf_bits, 2)},
        "pair_cap": cap,
        "weight": weights,
    }  # fmt: skip


def to_toml(data: dict[str, object], packages: list[str]) -> str:
    """The calibration as TOML, one line a weight."""

    def value(v: object) -> str:
        if isinstance(v, dict):
            return "{ " + ", ".join(f'"{k}" = {value(x)}' for k, x in v.items()) + " }"
        if isinstance(v, list):
            return "[" + ", ".join(value(x) for x in v) + "]"
        if isinstance(v, float):
            return f"{v:.6g}" if v and abs(v) < 0.01 else repr(round(v, 6))
        return f'"{v}"' if isinstance(v, str) else str(v)

    lines = [
        "# Written by `make calibrate`; checked by `python -m calibration.calibrate --check`. Bits are minus log2 of `bound`,",
        "# the upper 95 % bound of k / n; see docs/evidence.md for levels and chains.",
        "",
    ]
    for name in ("bodies", "sources", "chain", "crlf", "pair_cap"):
        lines += [f"[{name}]"] + [f'"{k}" = {value(v)}' for k, v in data[name].items()] + [""]  # type: ignore[attr-defined]
    for row in data["weight"]:  # type: ignore[attr-defined]
        lines += ["[[weight]]"] + [f"{k} = {value(v)}" for k, v in row.items()] + [""]
    lines += ["[packages]", "files = ["] + [f'  "{p}",' for p in sorted(packages)] + ["]"]
    return "\n".join(lines) + "\n"


def check(path: Path) -> list[str]:
    """What is wrong with a calibration file: weights above what their counts support."""
    data = tomllib.loads(path.read_text())
    wrong = []
    chain = data["chain"]
    chain_limit = -math.log2(upper_bound(chain["k"], chain["n"]))
    for w in data["weight"]:
        limit = -math.log2(upper_bound(w["k"], w["n"])) if w["n"] else 0.0
        if w["group"] == "raw" and w["level"] == 4:
            limit += chain_limit
        if w["n"] and not math.isclose(w["bound"], upper_bound(w["k"], w["n"]), rel_tol=1e-3):
            wrong.append(f"{w['class']} {w['group']} level {w['level']}: bound {w['bound']} is not that of {w['k']} in {w['n']}")
        if w["bits"] > limit + 1e-6:
            wrong.append(f"{w['class']} {w['group']} level {w['level']}: {w['bits']} bits, {w['k']} in {w['n']} support {limit:.2f}")
        text_cap = min(HTTP_CAP, data["crlf"]["http_cap_bits"]) if w["class"] in TEXT else HTTP_CAP
        if w["group"] == "http" and w["bits"] > text_cap:
            wrong.append(f"{w['class']} http level {w['level']}: {w['bits']} bits, the cap is {text_cap}")
    return wrong


def main() -> int:
    """Command line; 0 when written or right, 1 when a weight exceeds its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=0, help="stop after about this many bodies")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=HERE.parent / ".cache" / "calibration")
    parser.add_argument("--out", type=Path, default=HERE / "calibration.toml")
    parser.add_argument("--check", type=Path, help="only verify this file")
    args = parser.parse_args()
    if args.check:
        wrong = check(args.check)
        print("\n".join(wrong) or f"{args.check.name}: every weight is within its bound")
        return bool(wrong)
    packages = [tuple(line.split()) for line in (HERE / "packages.txt").read_text().splitlines() if line and line[0] != "#"]
    total, started, done = Counts(), time.monotonic(), 0
    failed: list[str] = []
    seen: set[bytes] = set()
    with concurrent.futures.ProcessPoolExecutor(args.jobs) as pool:
        jobs = {pool.submit(count_package, registry, name, args.cache): f"{registry}:{name}" for registry, name in packages}
        for job in concurrent.futures.as_completed(jobs):
            done += 1
            try:
                counts = job.result()
            except Exception as e:
                failed.append(f"{jobs[job]} ({type(e).__name__}: {e})")
                continue
            if not counts.files:
                failed.append(f"{jobs[job]} (not found)")
            count_rows(total, counts.rows, seen)
            counts.rows = []
            total.add(counts)
            n = sum(v for c, v in total.n.items() if c not in ("text-pool", "head"))
            sys.stderr.write(f"\r{done}/{len(jobs)} packages, {n:,} bodies, {time.monotonic() - started:.0f} s ")
            sys.stderr.flush()
            if args.limit and n >= args.limit:
                for other in jobs:
                    other.cancel()
                break
    sys.stderr.write("\n")
    for line in failed:
        print("left out:", line)
    print("\n".join(sorted(total.high)[:200]))
    args.out.write_text(to_toml(weigh(total), total.files))
    print(f"{args.out}: {sum(v for c, v in total.n.items() if c not in ('text-pool', 'head')):,} bodies")
    return 0


if __name__ == "__main__":
    sys.exit(main())
