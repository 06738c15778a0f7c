"""What sharing a registry costs: ``python -m benchmarks.registry_fleet``. Two agents and a real Redis on the loopback interface.

One node is given a million live secrets, session cookies of 32 hexadecimal digits, and sends them; another one, which is new, takes
them. Then each secret is seen again, as late as makes it worth telling. Bytes are the server's own counts of what it read and wrote,
seconds are those of the two agents, one after the other, and of one core each.
"""

from __future__ import annotations

import argparse
import secrets
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.integration.redis_site import RedisSite, running_redis

import overread
from benchmarks import results
from overread.agent import RegistryAgent

LIFE = 900  # seconds
REQUESTS_PER_SESSION, SESSION_SECONDS = 20, 300  # assumed of the fleet on paper
NODES, RATE = 100, 10_000  # requests a second of each


@dataclass
class Figures:
    """Of ``live`` secrets."""

    live: int
    table_bytes: int
    slots_used: int
    records: int
    export_seconds: float  # sending, all of it
    import_seconds: float  # taking
    wire_in: int
    wire_out: int
    redis_bytes: int
    redis_cpu_seconds: float
    again_records: int  # when each was seen again
    idle_sweep_seconds: float  # a look at a table in which nothing changed


def _turn(agent: RegistryAgent) -> float:
    start = time.process_time()
    while agent.look():
        pass
    return time.process_time() - start


def _server(site: RedisSite) -> dict[str, float]:
    with site.client() as client:
        info = client.info("all")
    return {name: info[name] for name in ("total_net_input_bytes", "total_net_output_bytes", "used_memory", "used_cpu_user", "used_cpu_sys")}


def measure(live: int, memory: int) -> Figures:
    """Fills, sends, takes, and sees again."""
    key = secrets.token_bytes(16)
    with tempfile.TemporaryDirectory() as there, running_redis(Path(there) / "redis") as site:
        here = overread.SecretRegistry(segment=Path(there) / "a", key=key, memory=memory)
        tokens = [secrets.token_hex(16) for _ in range(live)]
        for token in tokens:
            here.observe_response(token, [("Set-Cookie", f"sid={token}; HttpOnly")])
        one = RegistryAgent(Path(there) / "a", key, redis=[site.url])
        two = RegistryAgent(Path(there) / "b", key, memory=memory, redis=[site.url])
        assert one.fleet
        assert two.fleet
        before = _server(site)
        sending = _turn(one)
        between = _server(site)
        sent = one.fleet.counts.sent
        read = between["total_net_output_bytes"]  # the sender reads its own batches, too
        taking = _turn(two)
        after = _server(site)
        assert two.fleet.counts.received == sent
        page = b"<html>" + tokens[live // 2].encode() + b"</html>"
        assert overread.Scanner(registry=two.registry).scan(page, "text/html", owner="another").tier == "certain"
        start = time.process_time()
        for _ in range(10):
            one.registry.export_changed()
        idle = (time.process_time() - start) / 10
        later = time.time_ns() // 1_000_000 + 1000 * (LIFE // 8 + 2)
        for token in tokens:
            here.observe_request(token, [("Cookie", f"sid={token}")], unix_ms=later)
        again = 0
        while records := here.export_changed(unix_ms=later):
            again += len(records) // 24
        used = one.registry.metrics()["live"]
        for agent in (one, two):
            agent.close()
    return Figures(
        live=live,
        table_bytes=memory,
        slots_used=used,
        records=sent,
        export_seconds=sending,
        import_seconds=taking,
        wire_in=round(between["total_net_input_bytes"] - before["total_net_input_bytes"]),
        wire_out=round(after["total_net_output_bytes"] - read),
        redis_bytes=round(between["used_memory"] - before["used_memory"]),
        redis_cpu_seconds=sum(after[n] - before[n] for n in ("used_cpu_user", "used_cpu_sys")),
        again_records=again,
        idle_sweep_seconds=idle,
    )


def on_paper(f: Figures) -> dict[str, float]:
    """A fleet, out of the figures of one."""
    issued = NODES * RATE / REQUESTS_PER_SESSION
    told_again = SESSION_SECONDS // (LIFE / 8)
    records = issued * (f.records + told_again * f.again_records) / f.live
    per_record = f.wire_in / f.records
    live = issued * (SESSION_SECONDS + LIFE)
    return {
        "secrets issued a second": issued,
        "live secrets": live,
        "records a second": records,
        "MB a second into Redis": records * per_record / 1e6,
        "MB a second to each node": records * f.wire_out / f.records / 1e6,
        "MB a second out of Redis, to all nodes": NODES * records * f.wire_out / f.records / 1e6,
        "GB in Redis": records * LIFE * f.redis_bytes / f.records / 1e9,
        "GB of table on each node": live * f.slots_used / f.live * 25 / 0.8 / 1e9,
        "cores of each node's agent": records * f.import_seconds / f.records + records / NODES * f.export_seconds / f.records,
    }


def main() -> None:
    """Measures, prints and keeps the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.registry_fleet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--live", type=int, default=1_000_000, help="secrets")
    parser.add_argument("--memory", type=int, default=0, help="bytes of each table; by default 160 a secret")
    args = parser.parse_args()
    figures = measure(args.live, args.memory or max(1 << 20, 160 * args.live))
    million = 1e6 / figures.live
    print(f"{figures.live:,} live secrets: {figures.records:,} records, {figures.slots_used:,} places of a table of {figures.table_bytes / 1e6:,.0f} MB")
    print(f"sent    {figures.records / figures.export_seconds:,.0f} records/s, {figures.wire_in * million / 1e6:,.0f} MB of wire a million secrets")
    print(f"applied {figures.records / figures.import_seconds:,.0f} records/s, {figures.wire_out * million / 1e6:,.0f} MB of wire a million secrets")
    print(f"Redis   {figures.redis_bytes * million / 1e6:,.0f} MB a million secrets, {figures.redis_cpu_seconds * million:.2f} s of CPU for both")
    print(f"again   {figures.again_records * 24 * million / 1e6:,.0f} MB of records a million secrets that are seen {LIFE // 8} s later")
    print(f"idle    {figures.idle_sweep_seconds * 1e3:.1f} ms a second")
    paper = on_paper(figures)
    print(f"on paper: {NODES} nodes of {RATE:,} requests/s, a session of {REQUESTS_PER_SESSION} requests in {SESSION_SECONDS} s")
    for name, value in paper.items():
        print(f"  {value:14,.1f} {name}")
    results.keep("registry-fleet", {**asdict(figures), "on paper": paper})


if __name__ == "__main__":
    main()
