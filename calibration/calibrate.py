"""Counts clean bodies and writes the weights: ``python -m calibration.calibrate [--limit N]``.

Every weight is minus log2 of the upper 95 % bound of a counted rate: the share of clean bodies whose group reached the
level. It never exceeds what the sample supports. ``--check`` verifies a file against its own counts.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import hashlib
import math
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from .bodies import PER_PACKAGE, bodies, download
from .bounds import upper_bound
from .enriched import made
from .heads import heads

HERE = Path(__file__).parent
TEXT = ("html", "js", "css", "json", "svg", "xml", "text", "event-stream", "legacy")
BINARY = ("utf16", "png", "jpeg", "gif", "webp", "woff", "woff2", "ttf", "wasm", "pdf", "archive", "other")
LEVELS = {"raw": 3, "http": 6, "place": 3}  # the raw group's fourth level is chained
HEAD_LEVELS = (4, 5, 6)  # of the place group, behind those of bodies
THICK = 30_000  # a class with fewer bodies borrows from the pooled text class where it showed nothing itself
HTTP_CAP = 17.0  # docs/evidence.md: http and secret together, in a text class
LINE_ENDING_BITS = 4.0  # CRLF islands in LF pages are what forms submit

CHECKED = {"allow", "location", "date", "last-modified", "set-cookie"}  # fields whose grammar the scanner checks


def read_packages(path: Path) -> list[tuple[str, str]]:
    """Registry and name of every package a list names."""
    lines = [line.split("#")[0].split() for line in path.read_text().splitlines()]
    return [(line[0], line[1]) for line in lines if line]


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
    """Counts of one package: its bodies and the mixtures made of them."""
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

    for body in bodies(registry, name, path):
        cls, levels = reached(body.data, body.content_type)
        digest = hashlib.sha256(body.data).digest()[:10]
        counts.rows.append((digest, cls, body.source, levels, b"\r\n" in body.data, f"{body.package} {body.path}"))
        if cls in TEXT:
            if len(texts) < 40 and len(body.data) > 1500:
                texts.append(body.data)
            mixed("found", body.source, levels)
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


@dataclass
class HeadRow:
    """A scanned head: what makes it distinct, who sent it, the level reached and each sign as rule and field."""

    digest: bytes
    source: str
    level: int
    signs: tuple[tuple[str, str], ...]
    fields: tuple[str, ...]


def scan_heads(registry: str, name: str, cache: Path) -> tuple[str, list[HeadRow], collections.Counter[str]]:
    """File name, distinct heads and what was skipped of one package: at most ``PER_PACKAGE`` a source, those whose digests are lowest."""
    import overread

    scanner = overread.Scanner(hold=0)
    skipped: collections.Counter[str] = collections.Counter()
    path = download(registry, name, cache)
    if path is None:
        return "", [], skipped
    rows: dict[str, dict[bytes, HeadRow]] = collections.defaultdict(dict)
    for head in heads(path, skipped):
        digest = hashlib.sha256(repr((head.status, head.reason, head.headers)).encode()).digest()[:10]
        verdict = scanner.scan(b"", status=head.status, reason=head.reason, headers=head.headers)
        level = max((t.level_index for t in verdict.terms if t.group == "place" and t.level_index in HEAD_LEVELS), default=0)
        signs = tuple({(f.rule, f.name.lower()) for f in verdict.findings if f.part != "body"})
        checked = {n.decode("latin-1").lower() for n, _ in head.headers} & CHECKED
        rows[head.source][digest] = HeadRow(digest, head.source, level, signs, (*checked, *(["reason"] if head.reason else [])))
    return f"{registry}:{path.name}", [of[d] for of in rows.values() for d in sorted(of)[:PER_PACKAGE]], skipped


def count_heads(total: Counts, cache: Path, jobs: int, limit: int) -> tuple[list[str], list[str]]:
    """Counts the heads of every package of ``head-packages.txt``; files read, and a report of which signs fire on which fields."""
    packages = read_packages(HERE / "head-packages.txt")
    files: list[str] = []
    report: list[str] = []
    seen: set[bytes] = set()
    signs: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    fields: collections.Counter[str] = collections.Counter()
    skipped: collections.Counter[str] = collections.Counter()
    with concurrent.futures.ProcessPoolExecutor(jobs) as pool:
        # In the order of the list: of heads that two packages share the same one counts every time.
        for (registry, name), job in [(p, pool.submit(scan_heads, *p, cache)) for p in packages]:
            try:
                file, rows, left = job.result()
            except Exception as e:
                report.append(f"left out: {registry}:{name} ({type(e).__name__}: {e})")
                continue
            if not rows:
                report.append(f"left out: {registry}:{name} ({'no heads' if file else 'not found'})")
                continue
            files.append(file)
            skipped.update(left)
            for row in rows:
                if row.digest in seen or (limit and total.n["head"] >= limit):
                    continue
                seen.add(row.digest)
                total.n["head"] += 1
                total.sources["head"].add(row.source)
                fields.update(row.fields)
                for level in HEAD_LEVELS:
                    total.k["head", "place", level] += row.level >= level
                for sign in row.signs:
                    signs[sign].append(row.source)
    report.append(f"{total.n['head']:,} heads of {len(total.sources['head'])} sources; not read: {dict(skipped)}")
    report += [f"field {name}: in {n:,} heads" for name, n in sorted(fields.items())]
    report += [f"sign {rule} {name or 'reason'}: {len(of)} heads of {', '.join(sorted(set(of))[:5])}" for (rule, name), of in sorted(signs.items())]
    return files, report


def head_weights(counts: Counts) -> list[dict[str, object]]:
    """The weights of signs in heads."""
    n = counts.n["head"]
    return [
        {
            "class": "head", "group": "place", "level": level, "bits": bits_of(k, n), "k": k, "n": n, "sources": len(counts.sources["head"]),
            "bound": upper_bound(k, n) if n else 1.0, "basis": "counted", "counted": "head",
        }
        for level in HEAD_LEVELS
        for k in [counts.k["head", "place", level]]
    ]  # fmt: skip


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
    weights += head_weights(counts)
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


def to_toml(data: dict[str, object], packages: list[str], head_packages: list[str]) -> str:
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
    lines += ["[packages]"]
    for name, files in (("files", packages), ("heads", head_packages)):
        lines += [f"{name} = ["] + [f'  "{p}",' for p in sorted(files)] + ["]"]
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
    parser.add_argument("--only", choices=["heads"], help="recount these alone and keep the rest of the file")
    args = parser.parse_args()
    if args.check:
        wrong = check(args.check)
        print("\n".join(wrong) or f"{args.check.name}: every weight is within its bound")
        return bool(wrong)
    total, started, done = Counts(), time.monotonic(), 0
    if args.only:
        head_files, report = count_heads(total, args.cache, args.jobs, args.limit)
        print("\n".join(report))
        data = tomllib.loads(args.out.read_text())
        data["bodies"]["head"], data["sources"]["head"] = total.n["head"], len(total.sources["head"])
        data["bodies"], data["sources"] = (dict(sorted(data[key].items())) for key in ("bodies", "sources"))
        data["weight"] = [w for w in data["weight"] if w["class"] != "head"] + head_weights(total)
        args.out.write_text(to_toml(data, data["packages"]["files"], head_files))
        return 0
    packages = read_packages(HERE / "packages.txt")
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
    head_files, report = count_heads(total, args.cache, args.jobs, args.limit)
    print("\n".join(report))
    args.out.write_text(to_toml(weigh(total), total.files, head_files))
    print(f"{args.out}: {sum(v for c, v in total.n.items() if c not in ('text-pool', 'head')):,} bodies")
    return 0


if __name__ == "__main__":
    sys.exit(main())
