"""Other clients' secrets and canaries in Envoy: found in another's page, by every worker and route; and never told to anybody."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from pathlib import Path

import pytest

import overread

from .envoy_site import Envoy, running_envoy
from .processes import command, free_ports, start_proxy, stop_demo, until
from .shop import CANARY, Shop, documented_metrics, held_canaries, new_session, pieces_of, the_canary_of, writable_memory
from .test_envoy import PROTOCOLS, curl

REGISTRY = "mode=enforce\nowner=cookie:session\nregistry=on\nregistry_memory=4194304\n"
ANONYMOUS = REGISTRY.replace("owner=cookie:session\n", "")
CONFIGS = pytest.mark.parametrize("config", [REGISTRY, ANONYMOUS], ids=["owner", "strongest secret"])


def login(envoy: Envoy, shop: Shop, *names: str, protocol: str = "--http1.1") -> None:
    for name in names:
        assert curl(protocol, envoy.url(f"/login?as={name}"))[0] == 200
        assert name in shop.sessions


def show(envoy: Envoy, shop: Shop, text: str, *, to: str, path: str = "/shown", protocol: str = "--http1.1") -> int:
    """The status of a page with that text."""
    shop.shown = text
    return curl(protocol, "-H", f"Cookie: {to}", envoy.url(path))[0]


def events(envoy: Envoy) -> list[dict[str, object]]:
    file = envoy.folder / "events.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def rules(event: dict[str, object]) -> set[object]:
    findings = event["findings"]
    assert isinstance(findings, list)
    return {finding["rule"] for finding in findings}


def with_events(config: str, folder: Path) -> str:
    return f"{config}events={folder}/events.jsonl\n"


def statistics(envoy: Envoy) -> dict[str, int]:
    _, text = curl(f"http://127.0.0.1:{envoy.admin_port}/stats/prometheus")
    found = re.findall(rb"^\w*?overread_(registry_\w+)(?:\{[^}]*\})? (\d+)", text, re.M)
    return {name.decode(): int(value) for name, value in found}


def told(envoy: Envoy, name: str, value: int) -> bool:
    """Whether a statistic comes to be that much: they are read every five seconds, and told with the next response."""

    def here() -> bool:
        curl(envoy.url("/"))
        return statistics(envoy).get(name) == value

    return until(here, 20)


@CONFIGS
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_session_of_another_is_blocked_and_told_to_nobody(shop: Shop, tmp_path: Path, config: str, protocol: str) -> None:
    with running_envoy(tmp_path, shop.url, with_events(config, tmp_path), [], concurrency=2) as envoy:
        login(envoy, shop, "a", "b", "c", protocol=protocol)
        assert show(envoy, shop, "nothing", to=shop.cookie("b"), protocol=protocol) == 200
        for _ in range(8):  # whichever of the two workers has the connection
            assert show(envoy, shop, shop.sessions["a"], to=shop.cookie("b"), protocol=protocol) == 502
        assert until(lambda: len(events(envoy)) == 8, 5)
        assert {(event["tier"], event["action"], *rules(event)) for event in events(envoy)} == {("certain", "block", "foreign.session")}
        assert show(envoy, shop, new_session(), to=shop.cookie("b"), protocol=protocol) == 200
        # The owner's own page may show it; from then on it is content.
        assert show(envoy, shop, shop.sessions["c"], to=shop.cookie("c"), protocol=protocol) == 200
        assert show(envoy, shop, shop.sessions["c"], to=shop.cookie("b"), protocol=protocol) == 200
        _, metrics = curl(f"http://127.0.0.1:{envoy.admin_port}/stats/prometheus")
        told = metrics + envoy.log.encode() + (tmp_path / "events.jsonl").read_bytes()
        assert [piece for session in shop.sessions.values() for piece in pieces_of(session) if piece in told] == []


def test_without_a_registry_it_is_plain_text(shop: Shop, tmp_path: Path) -> None:
    with running_envoy(tmp_path, shop.url, with_events("mode=enforce\nowner=cookie:session\n", tmp_path), []) as envoy:
        login(envoy, shop, "a", "b")
        assert show(envoy, shop, shop.sessions["a"], to=shop.cookie("b")) == 200
        assert events(envoy) == []
        assert not any(statistics(envoy).values())


def test_a_form_and_a_json_body_are_observed_and_are_the_clients_own(shop: Shop, tmp_path: Path) -> None:
    config = REGISTRY.replace("mode=enforce", "mode=monitor\nthreshold=14")
    with running_envoy(tmp_path, shop.url, with_events(config, tmp_path), []) as envoy:
        login(envoy, shop, "a", "b")
        kinds = {"application/x-www-form-urlencoded": f"access_token={new_session()}", "application/json": f'{{"api_key": "{new_session()}"}}'}
        for kind, body in kinds.items():
            assert curl("-H", f"Cookie: {shop.cookie('a')}", "-H", f"Content-Type: {kind}", "--data", body, envoy.url("/page"))[0] == 200
        assert told(envoy, "registry_observed_total", 6)  # two cookies that were set, two that were sent, and what the two bodies have
        # Whoever sends it knows it.
        shop.shown = shop.sessions["a"]
        assert curl("-H", f"Cookie: {shop.cookie('b')}", "--data", f"token={shop.sessions['a']}", envoy.url("/shown"))[0] == 200
        assert events(envoy) == []


def test_routes_share_it_and_one_without_does_not_look(shop: Shop, tmp_path: Path) -> None:
    routes = [("/login", REGISTRY), ("/page", "mode=enforce\n")]
    with running_envoy(tmp_path, shop.url, with_events(REGISTRY, tmp_path), routes) as envoy:
        login(envoy, shop, "a", "b")
        assert show(envoy, shop, shop.sessions["a"], to=shop.cookie("b")) == 502
        assert show(envoy, shop, shop.sessions["a"], to=shop.cookie("b"), path="/page-shown") == 200


def test_a_segment_is_shared_by_two_envoys(shop: Shop, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(os.urandom(16).hex() + "\n")
    key.chmod(0o600)
    config = REGISTRY + f"registry_segment={tmp_path}/segment\nregistry_key_file={key}\nregistry_life_ms=600000\nregistry_name=visitor\n"
    folders = [tmp_path / name for name in "xy"]
    for folder in folders:
        folder.mkdir()
    with running_envoy(folders[0], shop.url, config, []) as one, running_envoy(folders[1], shop.url, with_events(config, folders[1]), []) as other:
        login(one, shop, "a")
        login(other, shop, "b")
        assert show(other, shop, shop.sessions["a"], to=shop.cookie("b")) == 502
    assert (tmp_path / "segment").stat().st_mode & 0o777 == 0o600
    text = (tmp_path / "segment").read_bytes()
    assert [piece for session in shop.sessions.values() for piece in pieces_of(session) if piece in text] == []


def test_statistics_are_those_of_the_documentation(shop: Shop, tmp_path: Path) -> None:
    with running_envoy(tmp_path, shop.url, with_events(REGISTRY, tmp_path), []) as envoy:
        login(envoy, shop, "a", "b")
        assert show(envoy, shop, shop.sessions["a"], to=shop.cookie("b")) == 502

        assert told(envoy, "registry_observed_total", 3)
        found = statistics(envoy)
        assert found["registry_slots"] > found["registry_live"] > 0
        assert found["registry_stored_total"] > 0
        assert found["registry_foreign_total"] > 0
        assert set(found) == documented_metrics()


# ---- canaries ----


@CONFIGS
def test_a_canary_is_in_memory_only_and_certain_once(shop: Shop, tmp_path: Path, config: str) -> None:
    with running_envoy(tmp_path, shop.url, with_events(config + "canary=on\n", tmp_path), []) as envoy:
        mine = f"session={new_session()}; theme=dark"
        held = held_canaries(shop, lambda: curl("-H", f"Cookie: {mine}", envoy.url("/hold")), [envoy.process.pid])
        canary = the_canary_of(shop, mine, held)
        login(envoy, shop, "b")
        assert events(envoy) == []
        assert show(envoy, shop, canary, to=shop.cookie("b")) == 502
        assert until(lambda: len(events(envoy)) == 1, 5)
        event = events(envoy)[0]
        assert (event["tier"], rules(event)) == ("certain", {"foreign.canary"})
        assert canary.encode() not in (tmp_path / "events.jsonl").read_bytes() + envoy.log.encode()
        # Burnt: seen again it is content.
        assert show(envoy, shop, canary, to=shop.cookie("b")) == 200
        assert len(events(envoy)) == 1


@CONFIGS
def test_a_canary_in_the_answer_to_its_own_request_is_silent(shop: Shop, tmp_path: Path, config: str) -> None:
    """The origin gets the canary out of Envoy's memory while the request waits for it."""
    with running_envoy(tmp_path, shop.url, with_events(config + "canary=on\n", tmp_path), []) as envoy:

        def put() -> None:
            assert shop.held.wait(10)
            for piece in writable_memory(envoy.process.pid):
                if match := CANARY.search(piece):
                    shop.shown = match[0].decode()
            shop.release.set()

        putter = threading.Thread(target=put)
        putter.start()
        status, body = curl("-H", f"Cookie: session={new_session()}", envoy.url("/hold-and-show"))
        putter.join(20)
        assert status == 200
        assert CANARY.search(body)
        assert events(envoy) == []


# ---- configuration ----

BAD = [
    (("--registry", "--registry-memory", "1000"), "registry: ovr_registry_open: options.memory must be 64 KiB to 64 GiB, or 0"),
    (("--registry", "--registry-life-ms", "10"), "registry: ovr_registry_open: options.life_ms must be a second to a day, or 0"),
    (("--registry", "--registry-segment", "segment"), "registry: ovr_registry_open: a segment needs options.key"),
    (("--registry", "--registry-key", "open.key"), "chmod 600 it"),
    (("--registry", "--registry-key", "absent.key"), "--registry-key absent.key: No such file or directory"),
    (("--registry", "--registry-key", "good.key", "--registry-segment", "other-version", "--registry-memory", "65536"), "another version of overread made it"),
    (("--registry", "--registry-key", "good.key", "--registry-segment", "/absent/segment"), "/absent/segment: No such file or directory"),
    (("--canary",), "--canary needs --registry"),
    (("--registry-memory", "65536"), "--registry-memory needs --registry"),
    (("--registry-key", "good.key"), "--registry-key needs --registry"),
]


@pytest.mark.parametrize(("options", "says"), BAD)
def test_bad_values_get_one_line(shop: Shop, tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    for name, mode in (("open.key", 0o644), ("good.key", 0o600)):
        (tmp_path / name).write_text(os.urandom(16).hex())
        (tmp_path / name).chmod(mode)
    overread.SecretRegistry(memory=65536, key=bytes(16), segment=tmp_path / "other-version")
    with (tmp_path / "other-version").open("r+b") as file:
        file.write(b"another.")
    status, said = refused(command("proxy", "--upstream", shop.url, "--port", str(free_ports(1)[0]), *options), tmp_path)
    assert status == 2
    assert says in said
    assert len(said.splitlines()) == 1


def refused(argv: list[str], folder: Path) -> tuple[int, str]:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def test_overread_proxy_has_it(shop: Shop, tmp_path: Path) -> None:
    made = start_proxy(
        tmp_path,
        shop.url,
        "--mode",
        "enforce",
        "--registry",
        "--canary",
        "--registry-memory",
        "4194304",
        "--owner",
        "cookie:session",
        "--route",
        "/page",
        "registry=off",
    )
    try:
        for name in "ab":
            assert curl(f"{made.filtered}/login?as={name}")[0] == 200
        shop.shown = shop.sessions["a"]
        assert curl("-H", f"Cookie: {shop.cookie('b')}", made.filtered + "/page-shown")[0] == 200
        assert curl("-H", f"Cookie: {shop.cookie('b')}", made.filtered + "/shown")[0] == 502
        assert b"overread" not in shop.seen.lower()
    finally:
        stop_demo(made.process)
