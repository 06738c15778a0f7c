"""What the registry and canaries add to recall: ``python -m calibration.foreign.recall [--servers nginx,squid] [--each N] [--seed N]``.

Real servers carry the traffic of made-up people (calibration/leaks). The registry is filled by replaying that traffic through
``observe_*`` and by 100,000 other live sessions that occur in no window. Every request carries a transport canary as a proxy in front
would plant it: inside the Cookie value and as a field of its own. Windows are cut from the servers' memory, put into clean pages and
scanned as another client's response: with the structure alone, the registry alone, canaries alone, and all together.
"""

from __future__ import annotations

import argparse
import collections
import random
import re
import string
import sys
from collections.abc import Sequence
from pathlib import Path

import overread

from .. import page
from ..bodies import Body
from ..leaks import people, recall
from ..leaks.recall import base_bodies, splice, wilson
from ..leaks.windows import Window

LIVE = 100_000  # other sessions
DOCS = Path(__file__).resolve().parents[2] / "docs/foreign-secrets.md"
PIECES = (16, 24, 32, 40, 47)  # bytes
NOW = 1_700_000_000_000
READER = "reader"
_CANARY = re.compile(rb"oc[0-9a-f]{44}")


class Replay:
    """The registry, filled by what the recorded exchanges say."""

    def __init__(self, seed: int) -> None:
        self.registry = overread.SecretRegistry(memory=64 << 20)
        self.canaries = overread.SecretRegistry(memory=1 << 20)
        rng = random.Random(seed)
        for i in range(LIVE):
            session = "".join(rng.choices(string.ascii_letters + string.digits, k=rng.choice((32, 43, 64))))
            self.registry.observe_response(f"absent{i}", [("Set-Cookie", f"sid={session}; HttpOnly")], unix_ms=NOW)

    def take(self, exchanges: Sequence[people.Exchange]) -> None:
        """In the order in which they happened."""
        for x in exchanges:
            self.registry.observe_request(x.owner, x.request, x.body, target=x.target, unix_ms=NOW)
            self.registry.observe_response(x.owner, x.response, unix_ms=NOW)


def gather(names: Sequence[str], each: int, seed: int) -> tuple[list[tuple[Window, list[bytes]]], Replay]:
    """Windows with the sessions that servers issued and that stand in them whole; and the registry."""
    replay = Replay(seed)
    exchanges: dict[str, list[people.Exchange]] = {}
    windows = recall.gather(names, each, seed, exchanges, lambda owner: replay.canaries.canary(owner, unix_ms=NOW))
    issued: dict[str, set[bytes]] = {}
    for name, traffic in exchanges.items():
        replay.take(traffic)
        cookies = [f.partition(";")[0].partition("=")[2].encode() for x in traffic for n, f in x.response if n.lower() == "set-cookie"]
        issued[name] = {v for v in cookies if len(v) >= 16}
    return [(w, [s for s in issued[w.server] if s in w.data]) for w in windows], replay


def measure(windows: Sequence[tuple[Window, list[bytes]]], replay: Replay, bases: Sequence[Body], seed: int) -> str:
    """The tables of docs/foreign-secrets.md."""
    contenders = {
        "structure": overread.Scanner(),
        "registry": overread.Scanner(registry=replay.registry),
        "canaries": overread.Scanner(registry=replay.canaries),
    }
    rng = random.Random(seed)
    whole: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
    any_sign: dict[str, dict[str, int]] = collections.defaultdict(collections.Counter)
    strong: dict[str, dict[str, int]] = collections.defaultdict(collections.Counter)
    for w, issued in windows:
        base = rng.choice(bases)
        _, body = splice(base.data, w.data, rng)
        verdicts = {n: s.scan(body, base.content_type, owner=READER, unix_ms=NOW) for n, s in contenders.items()}
        foreign = {n: max((t.bits for t in v.terms if t.group == "foreign"), default=0.0) for n, v in verdicts.items()}
        signs = {
            "structure": verdicts["structure"].bits > 0,
            "registry": foreign["registry"] > 0,
            "canaries": foreign["canaries"] > 0,
        }
        signs["all"] = any(signs.values())
        # What the window's labels say that it holds, found or not: more than public text.
        signs["there"] = bool(w.raw_kinds or w.header or w.secrets or issued or _CANARY.search(w.data))
        if issued:
            row = whole[w.stratum]
            row[0] += 1
            row[1] += any(f.family == "foreign" for f in verdicts["registry"].findings)
        signs["there and found"] = signs["there"] and signs["all"]
        near = {"c-string": "a head", "c-string-line": "a parsed line"}.get(w.stratum)
        key = f"C string of 64 B or more near {near}, {w.server}" if near else f"{w.stratum}, all servers"
        any_sign[key]["n"] += 1
        any_sign[key].update(n for n, found in signs.items() if found)
        bits = verdicts["registry"].bits + foreign["canaries"]
        strong[key].update(n for n, b in (("structure", verdicts["structure"].bits), ("all", bits)) if b >= 22)
    lines = ["| windows that hold a whole session that a server issued | n | found, % [95 %] |", "|---|---|---|"]
    total = [sum(r[i] for r in whole.values()) for i in (0, 1)]
    lines += [f"| {k} | {n} | {wilson(found, n)} |" for k, (n, found) in sorted(whole.items())]
    lines.append(f"| all | {total[0]} | {wilson(total[1], total[0])} |")
    columns = ("windows", "n", "structure", "registry", "canaries", "any sign, % [95 %]", "holds a sign, % [95 %]", "found of these, % [95 %]")
    columns += ("22 bits, structure", "22 bits, all")
    lines += ["", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for key, row in sorted(any_sign.items()):
        n = row["n"]
        share = [f"{100 * row[c] / n:.0f}" for c in ("structure", "registry", "canaries")]
        share += [wilson(row[c], row[of]) for c, of in (("all", "n"), ("there", "n"), ("there and found", "there"))]
        at_22 = [f"{100 * strong[key][c] / n:.0f}" for c in ("structure", "all")]
        lines.append(f"| {key} | {n} | {' | '.join((*share, *at_22))} |")
    return "\n".join(lines)


def pieces(seed: int, each: int = 400) -> str:
    """How many pieces of a session, cut anywhere, are found, by their length."""
    rng = random.Random(seed)
    lines = ["| session | " + " | ".join(f"{n} B" for n in PIECES) + " |", "|---" * (len(PIECES) + 1) + "|"]
    for name, alphabet, size in (
        ("32 hexadecimal digits", "0123456789abcdef", 32),
        ("43 characters of base64url", string.ascii_letters + string.digits + "-_", 43),
        ("64 hexadecimal digits", "0123456789abcdef", 64),
        ("128 characters of base64url", string.ascii_letters + string.digits + "-_", 128),
    ):
        cells = []
        for n in PIECES:
            found = tried = 0
            for _ in range(each if n <= size else 0):
                registry = overread.SecretRegistry(memory=1 << 16)
                scanner = overread.Scanner(registry=registry)
                value = "".join(rng.choices(alphabet, k=size))
                registry.observe_response("owner", [("Set-Cookie", f"sid={value}; HttpOnly")], unix_ms=NOW)
                at = rng.randrange(size - n + 1)
                body = f"<p>some words of a page {value[at : at + n]} and more of it</p>".encode()
                found += bool(scanner.scan(body, "text/html", owner=READER, unix_ms=NOW).findings)
                tried += 1
            cells.append(f"{100 * found / tried:.0f} %" if tried else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m calibration.foreign.recall", description=__doc__.split("\n")[0])
    parser.add_argument("--servers", default="nginx,apache2,squid")
    parser.add_argument("--each", type=int, default=600, help="windows of each stratum from each server")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path(__file__).resolve().parents[2] / ".cache" / "calibration")
    parser.add_argument("--draw", action="store_true", help="also put the tables into docs/foreign-secrets.md")
    args = parser.parse_args()
    try:
        windows, replay = gather(args.servers.split(","), args.each, args.seed)
    except RuntimeError as e:
        print(e, file=sys.stderr)
        return 1
    text = measure(windows, replay, base_bodies(args.cache, args.seed), args.seed) + "\n\n" + pieces(args.seed)
    print(text)
    if args.draw:
        page.put("foreign recall table", text, DOCS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
