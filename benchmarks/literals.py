"""Packs of literals as an operator adds them: own header names, internal hosts, key formats. Seeded."""

from __future__ import annotations

import json
import random

from overread import ruleset

_COMPANIES = ("acme", "umbra", "nordwind", "tessera", "kestrel", "halcyon", "brightline", "orchard", "quillon", "verity", "lumen", "copperfield")
_SERVICES = """
auth billing cart catalog checkout config customer delivery events export feature fraud gateway identity images import invoice ledger login
mailer media metrics notify orders partner payment pricing profile queue ranking refund report risk search session shipping stock storage tax
tenant token tracing upload user wallet webhook
""".split()  # noqa: SIM905 - a list of words reads better without quotes
_THINGS = """
account actor agent batch bucket client cluster context correlation device group host id key node origin owner parent region request role
scope shard signature source span state tier trace version zone
""".split()  # noqa: SIM905 - a list of words reads better without quotes
_STAGES = ("prod", "staging", "canary", "eu1", "eu2", "us1", "us2", "ap1", "dr", "blue", "green")
_ZONES = ("internal", "corp.example", "svc.cluster.local", "lan.example", "consul", "db.example", "mesh.example")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _header(rng: random.Random) -> tuple[str, dict[str, object], str]:
    name = "-".join(["X", *(w.capitalize() for w in (rng.choice(_COMPANIES), rng.choice(_SERVICES), rng.choice(_THINGS)))])
    if rng.random() < 0.5:
        name += "-" + rng.choice(_THINGS).capitalize()
    value = "".join(rng.choices(_LETTERS, k=20))
    return name.lower(), {"nocase": True, "after": "[!-~]{4}", "check": "header-line"}, f"\r\n{name}: {value}\r\n"


def _host(rng: random.Random) -> tuple[str, dict[str, object], str]:
    host = f"{rng.choice(_SERVICES)}-{rng.choice(_THINGS)}{rng.randrange(1, 40)}.{rng.choice(_STAGES)}.{rng.choice(_COMPANIES)}.{rng.choice(_ZONES)}"
    return host, {"before": "^[^A-Za-z0-9.-]", "after": "[^A-Za-z0-9.-]$"}, f" http://{host}/ "


def _key(rng: random.Random) -> tuple[str, dict[str, object], str]:
    prefix = f"{rng.choice(_COMPANIES)[:4]}_{rng.choice(_SERVICES)[:5]}_{rng.choice(_STAGES)}_{rng.choice('abcdefghkmnpqrstvwxyz')}{rng.randrange(10)}_"
    return prefix, {"before": "^[^A-Za-z0-9_]", "after": "[A-Za-z0-9]{24}"}, f" {prefix}{''.join(rng.choices(_LETTERS, k=24))} "


_KINDS = (("http", _header, 4), ("http", _host, 4), ("secret", _key, 2))  # family, maker, share in ten


def pack(count: int) -> str:
    """TOML of a rule pack with so many literals, one a rule; the example of each rule is a text that holds it."""
    rng = random.Random(count)
    rules: list[str] = []
    seen: set[str] = set()
    makers = [(family, make) for family, make, share in _KINDS for _ in range(share)]
    while len(rules) < count:
        family, make = makers[len(rules) % len(makers)]
        anchor, conditions, example = make(rng)
        if anchor in seen or len(anchor) > ruleset.MAX_ANCHOR:
            continue
        seen.add(anchor)
        keys = {
            "id": f"{family}.operator-{len(rules)}",
            "title": f"Operator's {make.__name__[1:]}",
            "anchor": [anchor],
            **conditions,
            "reference": "the operator",
            "examples": [example],
            "counterexamples": ["nothing of the kind"],
        }
        rules.append("[[rule]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in keys.items()))
    return "\n".join(rules)
