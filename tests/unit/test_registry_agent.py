"""The agent's care of a segment without a store, its metrics, its batches, and what its command refuses."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

import overread
from overread.agent import RegistryAgent
from overread.agent.batch import RECORD, Batch, Sealer
from overread.cli import main

from .test_control import running_agent, until

KEY = b"registry's key__"
MEMORY = 1 << 17


def test_a_batch_opens_under_its_key_alone() -> None:
    batch = Batch(b"node one", 1_700_000_000_123, secrets.token_bytes(7 * RECORD))
    sealed = Sealer(KEY).seal(batch)
    assert Sealer(KEY).open(sealed) == batch
    assert Sealer(b"another key_____").open(sealed) is None
    for i in range(len(sealed)):
        assert Sealer(KEY).open(sealed[:i]) is None
        assert Sealer(KEY).open(sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :]) is None
    assert Sealer(KEY).open(Sealer(KEY).seal(Batch(b"node one", 1, b"no whole record"))) is None
    assert KEY not in sealed


def test_metrics_are_prometheus_text(tmp_path: Path) -> None:
    agent = RegistryAgent(tmp_path / "segment", KEY, memory=MEMORY, metrics=tmp_path / "metrics")
    try:
        registry = overread.SecretRegistry(segment=tmp_path / "segment", key=KEY, memory=MEMORY)
        registry.observe_response("alice", [("Set-Cookie", f"sid={secrets.token_hex(16)}")])
        agent.look()
    finally:
        agent.close()
    text = (tmp_path / "metrics").read_text()
    assert text == agent.text()
    rows = dict(re.findall(r"^(overread_registry_[a-z]+(?:_total)?) (\d+)$", text, re.M))
    assert len(rows) == len(registry.metrics()) == text.count("# TYPE ")
    assert int(rows["overread_registry_observed_total"]) == 1
    assert int(rows["overread_registry_live"]) == registry.metrics()["live"] > 0
    assert "redis" not in text


def test_a_segment_keeps_its_size(tmp_path: Path) -> None:
    registry = overread.SecretRegistry(segment=tmp_path / "segment", key=KEY, memory=MEMORY, life=60)
    agent = RegistryAgent(tmp_path / "segment", KEY, memory=1 << 20, life=60)
    assert agent.registry.metrics()["slots"] == registry.metrics()["slots"]
    agent.close()
    # The smallest one's file is smaller than what was asked for.
    smallest = overread.SecretRegistry(segment=tmp_path / "smallest", key=KEY, memory=1 << 16)
    RegistryAgent(tmp_path / "smallest", KEY).close()
    assert (tmp_path / "smallest").stat().st_size < 1 << 16
    assert smallest.metrics()["slots"]
    for other in ({"life": 61}, {}):
        with pytest.raises(overread.ConfigError, match="another size or life"):
            RegistryAgent(tmp_path / "segment", KEY, **other)
    with pytest.raises(overread.ConfigError, match="another key"):
        RegistryAgent(tmp_path / "segment", b"another key_____", life=60)


def test_what_the_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, segment = str(tmp_path / "key"), str(tmp_path / "segment")
    assert main(["selftest", "--new-key", key]) == 0
    for wrong in ([], ["--registry", segment], ["--registry-key", key], ["--control", "c", "--redis", "redis://x"], ["--control", "c", "--metrics", "m"]):
        with pytest.raises(SystemExit):
            main(["agent", *wrong])
    both = ["--registry", segment, "--registry-key", key, "--registry-memory", str(MEMORY)]
    for url in ("hunter2@localhost", "redis://:hunter2@localhost:port/0", "http://hunter2", "redis://:hunter2@localhost/0?absent=1"):
        assert main(["agent", *both, "--redis", url]) == 2
        said = capsys.readouterr().err
        assert "expected redis://" in said
        assert "hunter2" not in said
    (tmp_path / "no.pem").write_text("no certificate")
    for option, file, why in (
        ("ssl_ca_certs", "absent.pem", "No such file"),
        ("ssl_ca_certs", "no.pem", "no certificate in PEM form"),
        ("ssl_ca_path", "no.pem", "not a folder"),
        ("ssl_certfile", "absent.pem", "No such file"),
        ("ssl_certfile", "no.pem", "not a certificate with its key"),
    ):
        (tmp_path / "urls").write_text(f"rediss://:hunter2@localhost/0?{option}={tmp_path / file}\n")
        assert main(["agent", *both, "--redis-file", str(tmp_path / "urls")]) == 2
        said = capsys.readouterr().err
        assert f"{option}={tmp_path / file}" in said
        assert why in said
        assert "expected" in said
        assert "hunter2" not in said
    assert main(["agent", *both, "--redis-file", str(tmp_path / "none")]) == 2
    (tmp_path / "urls").write_text("redis://a\nredis://b\nredis://c\n")
    assert main(["agent", *both, "--redis-file", str(tmp_path / "urls")]) == 2
    assert main(["agent", *both, "--canaries", str(tmp_path / "none")]) == 2
    os.chmod(key, 0o640)
    assert main(["agent", *both]) == 2
    assert "its mode must be 0600" in capsys.readouterr().err


def test_without_redis_py_the_remedy_is_named(tmp_path: Path) -> None:
    key = tmp_path / "key"
    assert main(["selftest", "--new-key", str(key)]) == 0
    argv = ["agent", "--registry", str(tmp_path / "segment"), "--registry-key", str(key), "--registry-memory", str(MEMORY), "--redis", "redis://localhost"]
    script = f"import sys; sys.modules['redis'] = None; from overread.cli import main; sys.exit(main({argv!r}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, text=True)
    assert done.returncode == 2
    assert "pip install 'overread[cluster]'" in done.stderr


def test_the_agent_dumps_no_core_and_ends_when_it_is_told(tmp_path: Path) -> None:
    """Also beside a control file: both loops end."""
    key = tmp_path / "key"
    assert main(["selftest", "--new-key", str(key)]) == 0
    words = ["--control", str(tmp_path / "control"), "--registry", str(tmp_path / "segment"), "--registry-key", str(key), "--registry-memory", str(MEMORY)]
    with running_agent(*words, "--metrics", str(tmp_path / "metrics")) as (agent, said):
        assert said == f"overread agent: at {tmp_path / 'segment'}\n"
        until(lambda: (tmp_path / "metrics").exists() and (tmp_path / "control.agent").exists())
        limits = Path(f"/proc/{agent.pid}/limits").read_text()
        assert re.search(r"^Max core file size +0 +0 ", limits, re.M)
