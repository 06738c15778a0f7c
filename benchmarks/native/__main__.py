"""Builds benchmarks/native and runs it: the C ABI beside Hyperscan and Vectorscan, with operators' literals, on hostile bodies."""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

from calibration import bodies

from overread import ruleset

from .. import corpora, expressions, literals, planted, results

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "bench"
CHECKED = ("html", "js", "css", "json")  # on them every scanner can find what is planted
WITH_LITERALS = ("html", "js", "css", "json", "png")
LITERALS = (0, 1000, 10000)


def build() -> None:
    """The programs; CMake and a compiler say themselves what they lack."""
    for command in (["cmake", "-S", str(HERE), "-B", str(BUILD), "-G", "Ninja"], ["cmake", "--build", str(BUILD)]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def hyperscan() -> Path:
    """Debian's library."""
    done = subprocess.run(["pkg-config", "--variable=libdir", "libhs"], capture_output=True, text=True, timeout=10, check=True)
    return Path(done.stdout.strip()) / "libhs.so"


def vectorscan() -> Path:
    """Debian's library out of its package: it cannot be installed beside Hyperscan."""
    target = BUILD / "vectorscan" / "libhs.so"
    if not target.exists():
        package = bodies.download("deb", "libvectorscan5", corpora.CACHE / "packages")
        if package is None:
            sys.exit("the Debian package libvectorscan5 cannot be had; it is a peer of this comparison")
        target.parent.mkdir(parents=True, exist_ok=True)
        for name, stream, _ in bodies.members(package):
            if "/libhs.so." in name:
                target.write_bytes(stream.read())
    return target


def run(program: str, *arguments: object) -> dict[str, object]:
    """What a program of this folder prints."""
    command = [str(BUILD / program), *map(str, arguments)]
    result: dict[str, object] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=600, check=True).stdout)
    print(program, json.dumps(result), file=sys.stderr)
    return result


def check(result: dict[str, object]) -> None:
    """A comparison is worth something only between scanners that find what is there."""
    peers = result["peers"]
    assert isinstance(peers, dict)
    found = {"overread": peers["overread"]["found at 14 bits"], **{n: peers[n]["bodies with a hit"] for n in ("hyperscan", "vectorscan")}}
    assert set(found.values()) == {result["planted"]}, found
    assert peers["hyperscan"]["expressions in the leak"] == peers["vectorscan"]["expressions in the leak"] > 0


def rates(packs: dict[str, Path], kinds: list[str]) -> dict[str, object]:
    """The race on bodies of each type."""
    patterns, leak = corpora.CACHE / "expressions.txt", corpora.CACHE / "leak"
    patterns.write_text(expressions.hyperscan_lines(expressions.of_rules(ruleset.load(ruleset.shipped_packs()))))
    leak.write_bytes(planted.memory(random.Random(1)))
    of_kind: dict[str, object] = {}
    for kind in kinds:
        of_kind[kind] = result = run("bench", corpora.TYPES[kind.split("-")[0]], packs[kind], patterns, leak, hyperscan(), vectorscan())
        if kind in CHECKED:
            check(result)
    return of_kind


def with_literals(packs: dict[str, Path]) -> dict[str, object]:
    """The race with operators' literals added to the shipped rules."""
    page = max((b for b in corpora.unpack(packs["html"].read_bytes()) if len(b) < 4096), key=len)
    arguments: list[object] = []
    for count in LITERALS:
        stem = corpora.CACHE / f"literals-{count}"
        toml, blob, patterns, bodies_with = (stem.with_suffix(s) for s in (".toml", ".blob", ".txt", ".pack"))
        toml.write_text(literals.pack(count))
        paths = [*ruleset.shipped_packs(), *([toml] if count else [])]
        rules = ruleset.load(paths)
        blob.write_bytes(ruleset.compile(paths))
        patterns.write_text(expressions.hyperscan_lines(expressions.of_rules(rules)))
        bodies_with.write_bytes(corpora.pack(page + r.examples[0] + page for r in rules[len(rules) - count :]))
        arguments += [count, blob, patterns, bodies_with]
    result = run("literals", hyperscan(), *arguments, ":", *(a for kind in WITH_LITERALS for a in (kind, corpora.TYPES[kind], packs[kind])))
    rulesets = result["rulesets"]
    assert isinstance(rulesets, dict)
    for found in rulesets.values():
        assert found["overread found"] == found["hyperscan found"] == found["literals"], found
    return result


def worst() -> dict[str, object]:
    """Hostile bodies, made of the shipped rules' own anchors."""
    anchors = corpora.CACHE / "anchors.pack"
    anchors.write_bytes(corpora.pack(a for r in ruleset.load(ruleset.shipped_packs()) for a in r.anchor))
    return run("worst", anchors)


def main() -> int:
    """Builds, runs, keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", default="html,js,css,json,html-1-percent,html-cjk,png,jpeg,woff2")
    parser.add_argument("--only", choices=("rates", "literals", "worst"), help="one part of it")
    args = parser.parse_args()
    build()
    parts = {
        "rates": lambda: rates(corpora.build(), args.kinds.split(",")),
        "literals": lambda: with_literals(corpora.build()),
        "worst": worst,
    }
    for name, part in parts.items():
        if args.only in (None, name):
            results.keep(f"native-{name}", part())
    return 0


if __name__ == "__main__":
    sys.exit(main())
