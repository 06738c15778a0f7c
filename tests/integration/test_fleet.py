"""`overread agent` of two nodes, each with a segment of its own, through a real Redis."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import overread
from overread.agent import RegistryAgent, fleet
from overread.agent.batch import Batch, Sealer
from overread.canaries import CanaryFile
from overread.cli import main

from .nginx_site import started
from .processes import command, end, free_ports, make_certificate, ready, until
from .redis_site import RedisSite, running_redis
from .shop import Shop
from .test_nginx_registry import SITE, login, rules, show

HTML = "text/html; charset=utf-8"
MEMORY = 1 << 20
SECONDS = 30.0  # for what takes one or two


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents inside a test come back at once."""
    monkeypatch.setattr(fleet, "WAITS", (0.05,))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RedisSite]:
    with running_redis(tmp_path / "redis") as site:
        yield site


class Node:
    """A proxy's end of a segment, and its agent inside this process."""

    def __init__(self, folder: Path, name: str, key: bytes, urls: Sequence[str], life: int = 900) -> None:
        self.segment = folder / name
        self.registry = overread.SecretRegistry(segment=self.segment, key=key, memory=MEMORY, life=life)
        self.scanner = overread.Scanner(registry=self.registry)
        self.agent = RegistryAgent(self.segment, key, life=life, redis=urls)

    @property
    def fleet(self) -> fleet.Fleet:
        assert self.agent.fleet
        return self.agent.fleet

    def issue(self, user: str, token: str, unix_ms: int | None = None) -> None:
        self.registry.observe_response(user, [("Set-Cookie", f"sid={token}; HttpOnly")], unix_ms=unix_ms)

    def sees(self, user: str, token: str) -> float:
        verdict = self.scanner.scan(f"<html><body><p>{token}</p></body></html>".encode(), HTML, owner=user)
        return sum(t.bits for t in verdict.terms if t.group == "foreign")

    def turn(self) -> None:
        while self.agent.look():
            pass


@contextmanager
def nodes(folder: Path, url: str, *keys: bytes, life: int = 900) -> Iterator[list[Node]]:
    there = [Node(folder, f"node{i}", key, [url], life) for i, key in enumerate(keys)]
    try:
        yield there
    finally:
        for node in there:
            node.agent.close()


def token() -> str:
    """A session as servers draw them; one in a thousand is too even for the registry, and is drawn again."""
    while True:
        drawn = secrets.token_hex(16)
        with contextlib.suppress(ValueError):
            overread.SecretRegistry(memory=1 << 16).plant(drawn)
            return drawn


@contextmanager
def running_agent(folder: Path, name: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The agent as it is installed."""
    (folder / f"{name}.d").mkdir()
    process = ready(command("agent", *words), folder / f"{name}.d", "overread agent: sharing")
    try:
        yield process
    finally:
        killed = process.poll() is not None  # by the test
        end(process, signal.SIGTERM, 15)
    assert killed or process.returncode == 0, "the agent did not end when it was asked to"


def metrics_of(path: Path) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"^([^#\s]+) (\S+)$", path.read_text(), re.M)} if path.exists() else {}


def test_a_secret_that_one_node_issued_is_foreign_on_the_other(store: RedisSite, tmp_path: Path) -> None:
    """As installed: two agents, two segments, and nobody but the agents has a connection."""
    key = tmp_path / "key"
    assert main(["selftest", "--new-key", str(key)]) == 0
    raw = bytes.fromhex(key.read_text())
    address = tmp_path / "address"
    address.write_text(store.url + "\n")
    common = ["--registry-key", str(key), "--registry-memory", str(MEMORY), "--redis-file", str(address)]
    a, b, metrics = tmp_path / "a", tmp_path / "b", tmp_path / "metrics"
    with (
        running_agent(tmp_path, "one", "--registry", str(a), *common) as one,
        running_agent(tmp_path, "two", "--registry", str(b), *common, "--metrics", str(metrics)),
    ):
        here, there = (overread.SecretRegistry(segment=path, key=raw, memory=MEMORY) for path in (a, b))
        scanner = overread.Scanner(registry=there)
        secret = token()
        here.observe_response("alice", [("Set-Cookie", f"sid={secret}; HttpOnly")])
        page = f"<html>sid={secret}</html>".encode()
        assert until(lambda: scanner.scan(page, HTML, owner="bob").tier == "certain", SECONDS)
        assert not scanner.scan(page, HTML, owner="alice").leaked  # whose it is, is known as well
        assert until(lambda: metrics_of(metrics).get("overread_redis_received_records_total", 0) > 0, SECONDS)
        assert metrics_of(metrics)["overread_redis_up"] == 1
        assert store.connected == 2
        end(one, signal.SIGTERM, 15)
        assert one.returncode == 0
    assert [main(["agent", "--registry", str(a), "--registry-key", str(tmp_path / "none")])] == [2]


def test_two_nginxes_of_a_fleet(shop: Shop, store: RedisSite, tmp_path: Path) -> None:
    """Who signs in through one is protected by the other, and what the agent planted is found by both."""
    key, planted = tmp_path / "key", tmp_path / "canaries"
    assert main(["selftest", "--new-key", str(key)]) == 0
    with CanaryFile(planted, create=True) as file:
        (secret,) = file.new("row").tokens
    site = SITE.replace("memory=4m", f"memory=4m segment={{folder}}/segment key={key}")
    one, two = tmp_path / "1", tmp_path / "2"
    one.mkdir()
    two.mkdir()
    with started(one, shop.url, site) as here, started(two, shop.url, site) as there, ExitStack() as agents:
        login(here, shop, "a")
        login(there, shop, "b")
        assert show(there, shop, shop.sessions["a"], to=shop.cookie("b")) == 200
        assert show(there, shop, secret, to=shop.cookie("b")) == 200
        for folder in (one, two):
            words = ["--registry", str(folder / "segment"), "--registry-key", str(key), "--redis", store.url, "--canaries", str(planted)]
            agents.enter_context(running_agent(tmp_path, f"agent{folder.name}", *words))
        assert until(lambda: show(there, shop, shop.sessions["a"], to=shop.cookie("b")) == 502, SECONDS)
        assert show(there, shop, shop.sessions["a"], to=shop.cookie("a")) == 200
        for nginx in (here, there):
            assert until(lambda: show(nginx, shop, secret, to=shop.cookie("b")) == 502, SECONDS)  # noqa: B023 - called at once
        assert rules(json.loads(there.events[-1])) == {"foreign.canary"}


def test_a_new_node_has_what_the_others_know(store: RedisSite, tmp_path: Path) -> None:
    key, secret = secrets.token_bytes(16), token()
    with nodes(tmp_path, store.url, key) as (a,):
        a.issue("alice", secret)
        a.turn()
    with nodes(tmp_path, store.url, key, key) as (_, late):
        assert late.sees("bob", secret) == 0
        late.turn()
        assert late.sees("bob", secret) >= 30
        # What came from others does not go back to them.
        late.turn()
        assert late.fleet.counts.sent == 0
        # Nor does one take its own.
        late.issue("carol", token())
        received = late.fleet.counts.received
        late.turn()
        late.turn()
        assert late.fleet.counts.sent > 0
        assert late.fleet.counts.received == received


def test_a_node_may_read_from_a_replica(store: RedisSite, tmp_path: Path) -> None:
    key, there, here = secrets.token_bytes(16), token(), token()
    with running_redis(tmp_path / "replica", "--replicaof", f"127.0.0.1 {store.port}") as replica, nodes(tmp_path, store.url, key) as (a,):
        b = Node(tmp_path, "b", key, [store.url, replica.url])
        try:
            a.issue("alice", there)
            b.issue("carol", here)
            assert until(lambda: a.turn() is None and b.turn() is None and b.sees("bob", there) >= 30, SECONDS)
            assert until(lambda: a.turn() is None and a.sees("bob", here) >= 30, SECONDS)
            with replica.client() as client:
                assert client.info("commandstats")["cmdstat_xread"]["calls"] > 0
        finally:
            b.agent.close()


def test_an_account_needs_no_more_than_four_commands(store: RedisSite, tmp_path: Path) -> None:
    key, secret = secrets.token_bytes(16), token()
    with store.client() as client:
        client.acl_setuser("agent", enabled=True, passwords=["+hunter2"], keys=["overread:registry:*"], commands=["+time", "+xadd", "+pexpire", "+xread"])
    with nodes(tmp_path, store.url.replace("//", "//agent:hunter2@"), key, key) as (a, b):
        a.issue("alice", secret)
        a.turn()
        b.turn()
        assert a.fleet.counts.up
        assert b.sees("bob", secret) >= 30


def test_what_is_old_is_neither_kept_nor_taken(store: RedisSite, tmp_path: Path) -> None:
    key, secret = secrets.token_bytes(16), token()
    with nodes(tmp_path, store.url, key, key, life=2) as (a, b):
        a.issue("alice", secret)
        a.turn()
        with store.client() as client:
            assert 0 < client.pttl(a.fleet.stream) <= 4000
            b.turn()
            assert b.sees("bob", secret) >= 30
            assert until(lambda: b.sees("bob", secret) == 0, SECONDS)
            # Trimmed by the next batch, and gone where there is none.
            a.issue("carol", token())
            a.turn()
            assert client.xlen(a.fleet.stream) <= 1
            assert until(lambda: not client.exists(a.fleet.stream), SECONDS)


def test_a_stream_that_begins_anew_by_an_earlier_clock_is_read(store: RedisSite, tmp_path: Path) -> None:
    """A node that had read further than the new one has come finds out when it sends."""
    key, secret = secrets.token_bytes(16), token()
    with nodes(tmp_path, store.url, key, key) as (a, b), store.client() as client:
        tomorrow = time.time_ns() // 1_000_000 + 86_400_000
        client.xadd(b.fleet.stream, {b"x": b"y"}, id=f"{tomorrow}-0")
        b.turn()
        client.delete(b.fleet.stream)
        a.issue("alice", secret)
        a.turn()
        b.turn()
        assert b.sees("bob", secret) == 0
        b.issue("carol", token())
        b.turn()
        b.turn()
        assert b.sees("bob", secret) >= 30


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_the_registry_goes_on_while_the_store_is_away(how: signal.Signals, store: RedisSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "SECONDS", 0.5)
    key = secrets.token_bytes(16)
    before, meanwhile = token(), token()
    with nodes(tmp_path, store.url, key, key) as (a, b):
        a.issue("alice", before)
        a.turn()
        b.turn()
        assert store.process
        if how == signal.SIGKILL:
            store.stop()
        else:
            store.process.send_signal(how)
        a.issue("carol", meanwhile)
        for node in (a, b):
            assert until(lambda: node.turn() is None and node.fleet.counts.away > 1, SECONDS)  # noqa: B023 - called at once
            assert not node.fleet.counts.up
        assert a.sees("bob", meanwhile) >= 30
        assert b.sees("bob", before) >= 30
        assert "overread_redis_up 0\n" in a.agent.text()
        assert a.fleet.unsent < 100
        if how == signal.SIGKILL:
            store.start()  # with nothing of what it held
        else:
            store.process.send_signal(signal.SIGCONT)
        assert until(lambda: a.turn() is None and b.turn() is None and b.sees("bob", meanwhile) >= 30, SECONDS)
        assert "overread_redis_up 1\n" in b.agent.text()
        assert a.fleet.counts.dropped == 0


@pytest.mark.parametrize("how", ["OOM", "READONLY", "MISCONF", "NOAUTH", "WRONGTYPE"])
def test_the_registry_goes_on_while_the_store_refuses(how: str, store: RedisSite, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    key, secret = secrets.token_bytes(16), token()
    with nodes(tmp_path, store.url, key, key) as (a, b), store.client() as client:
        if how == "OOM":
            client.config_set("maxmemory", "1")
        elif how == "READONLY":
            client.replicaof("127.0.0.1", 1)
        elif how == "MISCONF":
            client.config_set("save", "3600 1")
            (store.folder / "dump.rdb").mkdir()  # a snapshot cannot take its place
            client.set("x", 1)
            client.bgsave()
            assert until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", SECONDS)
        elif how == "NOAUTH":
            client.config_set("requirepass", "hunter2")
        else:
            client.set(a.fleet.stream, "x")
        a.issue("alice", secret)
        assert until(lambda: a.turn() is None and a.fleet.counts.rejected > 1, SECONDS)
        assert not a.fleet.counts.up
        assert a.fleet.counts.sent == 0
        assert a.sees("bob", secret) >= 30
        said = capfd.readouterr().err
        assert said.count("Redis: ") == 1
        assert secret not in said
        if how == "OOM":
            client.config_set("maxmemory", "0")
        elif how == "READONLY":
            client.replicaof("NO", "ONE")
        elif how == "MISCONF":
            client.config_set("stop-writes-on-bgsave-error", "no")
        elif how == "NOAUTH":
            client.execute_command("AUTH", "hunter2")
            client.config_set("requirepass", "")
        else:
            client.delete(a.fleet.stream)
        assert until(lambda: a.turn() is None and b.turn() is None and b.sees("bob", secret) >= 30, SECONDS)
        assert a.fleet.counts.dropped == 0


def test_where_tls_fails_the_reason_is_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "other").mkdir()
    make_certificate(tmp_path / "server")
    make_certificate(tmp_path / "other")
    (port,) = free_ports(1)
    options = ["--tls-port", str(port), "--tls-auth-clients", "no", "--requirepass", "hunter2"]
    for name, file in (("cert", "cert"), ("key", "key"), ("ca-cert", "cert")):
        options += [f"--tls-{name}-file", f"{tmp_path}/server/{file}.pem"]
    with running_redis(tmp_path / "redis", *options):
        ca = tmp_path / "ca.pem"
        ca.write_bytes((tmp_path / "other/cert.pem").read_bytes())
        url = f"rediss://:hunter2@127.0.0.1:{port}/0?ssl_ca_certs={ca}"
        with nodes(tmp_path, url, secrets.token_bytes(16)) as (node,):

            def said_at(tries: int) -> str:
                assert until(lambda: node.turn() is None and node.fleet.counts.tls >= tries, SECONDS)
                assert (node.fleet.counts.away, node.fleet.counts.rejected) == (0, 0)
                said = capfd.readouterr().err
                assert said.count("overread agent: ") == 1
                assert "hunter2" not in said
                return said

            assert f"Redis at 127.0.0.1:{port}: TLS failed: the certificate does not verify against {ca}: " in said_at(3)
            assert 'overread_redis_errors_total{reason="tls"} ' in node.agent.text()
            ca.unlink()
            assert f"ssl_ca_certs={ca}: No such file" in said_at(node.fleet.counts.tls + 3)
            ca.write_bytes((tmp_path / "server/cert.pem").read_bytes())
            assert until(lambda: node.turn() is None and node.fleet.counts.up, SECONDS)
        assert "overread agent" not in capfd.readouterr().err


def test_what_cannot_be_sent_is_bounded(store: RedisSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry is what waits; of what was taken out of it there is never more than a few batches, and what dies there is counted."""
    monkeypatch.setattr(fleet, "HELD", 2)
    monkeypatch.setattr(fleet, "BATCH", 1 << 10)
    key = secrets.token_bytes(16)
    with nodes(tmp_path, store.url, key, key, life=3) as (a, b), store.client() as client:
        client.config_set("maxmemory", "1")
        for i in range(200):
            a.issue(f"user{i}", token())
        assert until(lambda: a.turn() is None and a.fleet.counts.rejected > 2, SECONDS)
        assert 0 < a.fleet.unsent <= 2 * (1 << 10) // 24
        assert until(lambda: a.turn() is None and a.fleet.counts.dropped > 0, SECONDS)
        client.config_set("maxmemory", "0")
        late = token()
        a.issue("carol", late)
        assert until(lambda: a.turn() is None and b.turn() is None and b.sees("bob", late) >= 30, SECONDS)


def test_a_flood_of_inventions_stays_where_it_comes_in(store: RedisSite, tmp_path: Path) -> None:
    """What a client sends once goes nowhere, its owner neither; what comes back does, and then counts on every node."""
    key, known = secrets.token_bytes(16), token()
    now = time.time_ns() // 1_000_000
    with nodes(tmp_path, store.url, key, key) as (a, b):
        for _ in range(a.registry.metrics()["slots"]):
            a.registry.observe_request(None, [("Cookie", f"sid={secrets.token_hex(16)}")])
        a.turn()
        assert a.fleet.counts.sent == 0
        for node in (a, b):
            node.registry.observe_request(None, [("Cookie", f"sid={known}")], unix_ms=now - 5000)
        a.registry.observe_request(None, [("Cookie", f"sid={known}")], unix_ms=now)
        a.turn()
        b.turn()
        assert 0 < b.fleet.counts.received == a.fleet.counts.sent < 10
        b.registry.observe_request(None, [("Cookie", f"sid={known}")], unix_ms=now)
        b.turn()
        assert b.fleet.counts.sent == 0  # it knows already that it is none
        assert 0 < b.sees("bob", known) <= 12


def test_a_client_is_known_on_every_node(store: RedisSite, tmp_path: Path) -> None:
    """A session that was changed by a login on one node is the same client's on another: its own older secret is not foreign there."""
    key, first, second = secrets.token_bytes(16), token(), token()
    with nodes(tmp_path, store.url, key, key) as (a, b):
        request = overread.Request("GET", "/", [("Cookie", f"sid={first}")])
        a.registry.observe_response(None, [("Set-Cookie", f"sid={first}; HttpOnly")])
        a.registry.observe_response(None, [("Set-Cookie", f"sid={second}; HttpOnly")], request=request)
        a.turn()
        b.turn()
        assert b.sees("bob", first) >= 30
        assert b.sees("bob", second) >= 30
        assert b.sees(first, second) == 0
        assert b.sees(second, first) == 0


def test_another_key_shares_nothing(store: RedisSite, tmp_path: Path) -> None:
    secret = token()
    with nodes(tmp_path, store.url, secrets.token_bytes(16), secrets.token_bytes(16)) as (a, b):
        a.issue("alice", secret)
        a.turn()
        b.turn()
        assert a.fleet.stream != b.fleet.stream
        assert b.sees("bob", secret) == 0
        # Also where its batches are put into the other's stream: each is refused.
        with store.client() as client:
            entries = client.xrange(a.fleet.stream)
            for _, fields in entries:
                client.xadd(b.fleet.stream, fields)
        b.turn()
        assert b.fleet.counts.refused == len(entries) > 0
        assert b.fleet.counts.received == 0
        assert b.sees("bob", secret) == 0


def test_what_is_no_batch_is_counted(store: RedisSite, tmp_path: Path) -> None:
    """Cut, changed, empty, foreign and random entries, also with the right seal over records that mean nothing."""
    seed = secrets.randbits(32)
    print(f"seed: {seed}")
    chance = random.Random(seed)
    key, secret = secrets.token_bytes(16), token()
    sealer = Sealer(key)
    with nodes(tmp_path, store.url, key, key) as (a, b), store.client() as client:
        a.issue("alice", secret)
        a.turn()
        ((_, fields),) = client.xrange(a.fleet.stream)
        good = fields[fleet.FIELD]
        client.delete(a.fleet.stream)
        bad = [{b"x": b"y"}, {fleet.FIELD: b""}, {fleet.FIELD: good, b"x": b"y"}, {fleet.FIELD: good + b"\0"}, {b"b2": good}]
        bad += [{fleet.FIELD: good[: chance.randrange(len(good))]} for _ in range(100)]
        for _ in range(200):
            at, changed = chance.randrange(len(good)), bytearray(good)
            changed[at] ^= 1 << chance.randrange(8)
            bad.append({fleet.FIELD: bytes(changed)})
        bad += [{fleet.FIELD: chance.randbytes(chance.choice((16, 32, 56, 80, 5000, 300_000)))} for _ in range(100)]
        now = time.time_ns() // 1_000_000
        bad.append({fleet.FIELD: sealer.seal(Batch(b"12345678", now + 3_600_000, good[16:-16]))})  # of tomorrow
        for entry in bad:
            client.xadd(b.fleet.stream, entry)
        b.turn()
        assert b.fleet.counts.refused == len(bad)
        assert b.fleet.counts.up
        assert b.registry.metrics()["imported"] == 0
        # Whoever has the key and lies makes no alarm of what nobody issued.
        for _ in range(50):
            client.xadd(b.fleet.stream, {fleet.FIELD: sealer.seal(Batch(chance.randbytes(8), now, chance.randbytes(24 * 500)))})
        for days in (1, 150):  # what was true then; a registry's clock of 24 bits turns after 194 days
            client.xadd(b.fleet.stream, {fleet.FIELD: sealer.seal(Batch(b"12345678", now - days * 86_400_000, good[16:-16]))})
        b.turn()
        assert b.fleet.counts.refused == len(bad)
        assert b.sees("bob", secret) == 0
        assert b.sees("bob", token()) == 0
        client.xadd(b.fleet.stream, {fleet.FIELD: good})
        b.turn()
        assert b.sees("bob", secret) >= 30


def test_the_store_holds_no_value(tmp_path: Path) -> None:
    """Snapshot and journal: no planted value, no plain hash of one, no twelve bytes of one (sixteen of hexadecimal digits)."""
    key = secrets.token_bytes(16)
    with running_redis(tmp_path / "redis", "--appendonly", "yes", "--rdbcompression", "no") as store:
        with nodes(tmp_path, store.url, key) as (a,), store.client() as client, CanaryFile(tmp_path / "canaries", create=True) as file:
            values = [secrets.token_urlsafe(24) for _ in range(50)] + [secrets.token_hex(16) for _ in range(50)]
            for i, value in enumerate(values):
                a.issue(f"user{i}@shop.example", value)
                a.registry.observe_request(f"user{i}@shop.example", [("Cookie", f"sid={value}"), ("Authorization", f"Bearer {value[::-1]}")])
            planted = [t for kind in ("session", "cloud-key", "row") for t in file.new(kind).tokens]
            for value in planted:
                a.registry.plant(value)
            a.turn()
            assert a.fleet.counts.sent >= len(values)
            client.save()
        store.stop(signal.SIGTERM)
    kept = b"".join(path.read_bytes() for path in sorted((tmp_path / "redis").rglob("*")) if path.is_file() and path.name != "log")
    assert a.fleet.stream.encode() in kept
    assert len(kept) > 24 * len(values)
    lower = kept.lower()
    assert key not in kept
    for value in [*values, *(v[::-1] for v in values), *planted]:
        raw = value.encode()
        size = 16 if re.fullmatch(r"[0-9a-f-]+", value) else 12
        assert not any(raw[i : i + size] in kept for i in range(len(raw) - size + 1))
        for name in ("md5", "sha1", "sha256"):
            digest = hashlib.new(name, raw).digest()
            assert digest not in kept
            assert digest.hex().encode() not in lower
    assert not any(f"user{i}@shop".encode() in kept for i in range(100))


def test_canaries_follow_their_file_and_the_segment(tmp_path: Path) -> None:
    key = secrets.token_bytes(16)
    path, segment = tmp_path / "canaries", tmp_path / "segment"

    def seen(value: str) -> bool:
        scanner = overread.Scanner(registry=overread.SecretRegistry(segment=segment, key=key, memory=MEMORY))
        return scanner.scan(f"<html>{value}</html>".encode(), HTML).tier == "certain"

    with CanaryFile(path, create=True) as file:
        first = file.new("session")
        agent = RegistryAgent(segment, key, memory=MEMORY, canaries=path)
        try:
            assert seen(first.tokens[0])
            second = file.new("cloud-key")
            agent.look()
            assert all(map(seen, second.tokens))
            file.retire(first.id)
            agent.look()
            assert not seen(first.tokens[0])
            assert "overread_registry_canaries 1\n" in agent.text()
            # A segment that was made anew is told again, also where the file has not changed for long; one that is only gone is not.
            os.utime(path, (0, 0))
            agent.look()
            segment.unlink()
            agent.look()
            assert not segment.exists()
            assert not seen(second.tokens[0])  # and so makes the new one
            agent.look()
            assert seen(second.tokens[0])
            with pytest.raises(overread.ConfigError, match="another agent is at it"):
                RegistryAgent(segment, key, memory=MEMORY)
        finally:
            agent.close()
        # What was retired while no agent ran.
        file.retire(second.id)
        RegistryAgent(segment, key, memory=MEMORY, canaries=path).close()
        assert not seen(second.tokens[0])


def test_canaries_do_not_go_to_other_nodes(store: RedisSite, tmp_path: Path) -> None:
    """They could not be retired there: each node's agent reads the file."""
    key, planted = secrets.token_bytes(16), token()
    with nodes(tmp_path, store.url, key, key) as (a, b):
        a.registry.plant(planted)
        a.turn()
        b.turn()
        assert a.sees("bob", planted) == 40
        assert b.sees("bob", planted) == 0
        assert a.fleet.counts.sent == 0
