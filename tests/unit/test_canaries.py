"""The file of planted tokens, what is made for it, and the commands over it; the digests of `overread digest`."""

from __future__ import annotations

import gzip
import io
import json
import re
import sqlite3
import stat
from pathlib import Path

import pytest

import overread
from overread import canaries
from overread.canaries import KINDS, CanaryFile, digests, plant, registry_for
from overread.cli import main

from .test_api import HTML, PAGE
from .test_cli import run

LOOKS = {
    "session": [r"[A-Za-z0-9]{32}"],
    "cloud-key": [r"AKIA[A-Z2-7]{16}", r"[A-Za-z0-9+/]{40}"],
    "email": [r"[a-z0-9]{20}@shop\.example"],
    "row": [r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "canaries"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """The operator's, and the registry's."""
    for name in ("key", "registry-key"):
        assert main(["selftest", "--new-key", str(tmp_path / name)]) == 0
    return tmp_path / "key", tmp_path / "registry-key"


def page(text: str) -> bytes:
    return PAGE + text.encode() + PAGE


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_blends_in_and_is_found_whole_or_cut(kind: str, path: Path) -> None:
    with CanaryFile(path, create=True) as file:
        made = [file.new(kind, domain="shop.example") for _ in range(30)]
        assert len({token for c in made for token in c.tokens}) == 30 * len(LOOKS[kind])
        scanner = overread.Scanner(registry=registry_for(file.all()))
        for canary in made:
            for token, look in zip(canary.tokens, LOOKS[kind], strict=True):
                assert re.fullmatch(look, token)
                secret = token.partition("@")[0]
                for text in (f"<b>{token}</b>", f"k={secret[:16]};", f"\r\n{secret[-16:]}\0"):
                    assert scanner.scan(page(text), HTML).tier == "certain", (token, text)
        others = " ".join(token for _ in range(3) for token in KINDS[kind]("shop.example"))  # of the kind, and planted by nobody
        assert not any(t.group == "foreign" for t in scanner.scan(page(others), HTML).terms)


def test_the_file_keeps_what_it_is_told(path: Path) -> None:
    with CanaryFile(path, create=True) as file:
        one, two = file.new("session", "users, row 17"), file.new("row")
        file.retire(one.id)
        with pytest.raises(overread.ConfigError, match="no live canary 1"):
            file.retire(one.id)
        three = file.new("email")
    with CanaryFile(path) as file:
        found = file.all()
        assert [(c.id, c.kind, c.note, c.retired_ms is None, c.tokens) for c in found] == [
            (1, "session", "users, row 17", False, one.tokens),
            (2, "row", "", True, two.tokens),
            (3, "email", "", True, three.tokens),
        ]
        assert one.tokens[0] not in repr(one) + repr(found) + repr(file)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(mode: int, path: Path) -> None:
    CanaryFile(path, create=True).close()
    path.chmod(mode)
    for create in (False, True):
        with pytest.raises(overread.ConfigError, match="mode 0600"):
            CanaryFile(path, create=create)


def test_what_is_no_file_of_canaries_is_an_error(path: Path, tmp_path: Path) -> None:
    with pytest.raises(overread.ConfigError, match="No such file"):
        CanaryFile(path)
    path.touch(0o600)
    with pytest.raises(overread.ConfigError, match="another version"):
        CanaryFile(path)
    path.write_bytes(b"not a database, " * 100)
    with pytest.raises(overread.ConfigError, match="not a database"):
        CanaryFile(path)
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    path.chmod(0o600)
    with pytest.raises(overread.ConfigError, match="another version"):
        CanaryFile(path, create=True)
    with pytest.raises(overread.ConfigError):
        CanaryFile(tmp_path, create=True)


def test_weak_and_known_tokens_are_refused(path: Path) -> None:
    with CanaryFile(path, create=True) as file:
        for weak in ("", "hunter2", "correct horse battery staple", "4111111111111111", "aaaaaaaaaaaaaaaaaaaaaaaa", "a1b2c3d4e5f60718\n293a4b5c6d7e8f90"):
            with pytest.raises(overread.ConfigError, match="64 bits") as error:
                file.new("own", token=weak)
            assert not weak or weak not in str(error.value)
        own = "q7Xw2mKp9Zr4Tb8Ls3Vd"
        assert file.new("own", token=own).kind == "own"
        with pytest.raises(overread.ConfigError, match="already") as error:
            file.new("own", token=own)
        assert own not in str(error.value)
        with pytest.raises(overread.ConfigError, match="domain"):
            file.new("email", domain="shop.example\n")


def test_a_registry_is_told_of_all_and_forgets_what_is_retired(path: Path) -> None:
    registry = overread.SecretRegistry()
    scanner = overread.Scanner(registry=registry)
    with CanaryFile(path, create=True) as file:
        canary = file.new("cloud-key")
        file.new("row")
        assert plant(registry, file.all()) == plant(registry, file.all()) == 2
        assert all(scanner.scan(page(token), HTML).tier == "certain" for token in canary.tokens)
        file.retire(canary.id)
        assert plant(registry, file.all()) == plant(registry, file.all()) == 1
        assert not any(t.group == "foreign" for token in canary.tokens for t in scanner.scan(page(token), HTML).terms)
    # Thousands have room in a registry that is made for them.
    many = [canaries.Canary(i, "session", "", 0, None, (f"{i:08x}kQ7x{i * 7919:08x}Zp3w{i:08x}",)) for i in range(3000)]
    registry_for(many)
    with pytest.raises(overread.ConfigError, match="more memory"):
        plant(overread.SecretRegistry(memory=1 << 16), many)


def test_a_finding_tells_which_canary_it_is(path: Path) -> None:
    """The digests are those of a proxy with the same two keys, wherever the token was cut."""
    key, registry_key = b"operator's key__", b"registry's key__"
    with CanaryFile(path, create=True) as file:
        made = [file.new(kind) for kind in KINDS]
        ours = overread.Scanner(key=key, registry=registry_for(made, registry_key))
        known = {d: c for c in made for d in digests(ours, c)}
        assert len(known) == sum(len(digests(ours, c)) for c in made)
        theirs = overread.SecretRegistry(key=registry_key)
        plant(theirs, made)
        proxy = overread.Scanner(key=key, registry=theirs)
        for canary in made:
            for token in canary.tokens:
                secret = token.partition("@")[0]
                for text in (token, f"Location: /?{token}", secret[-16:], secret[:16]):
                    findings = [f for f in proxy.scan(page(f" {text} "), HTML).findings if f.rule == "foreign.canary"]
                    assert [known[f.digest] for f in findings] == [canary]
        assert not known.keys() & {d for c in made for d in digests(overread.Scanner(registry=registry_for(made, registry_key)), c)}


def test_the_commands(path: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    at = ["--canaries", str(path)]
    tokens = {}
    for kind in ("session", "cloud-key", "email", "row"):
        made = run("canary", "new", kind, "--note", f"a {kind}", "--domain", "shop.example", *at)
        assert made.returncode == 0
        tokens[kind] = made.stdout.decode().split()
    weak = run("canary", "new", "own", *at, stdin=b"hunter2\n")
    assert (weak.returncode, weak.stdout) == (2, b"")
    assert b"64 bits" in weak.stderr
    assert b"hunter2" not in weak.stderr
    listed = run("canary", "list", *at).stdout.decode()
    assert re.fullmatch(r"(\d (session|cloud-key|email|row), made [-\d]+ [:\d]+ UTC: a \2\n){4}", listed)
    assert run("canary", "retire", "4", *at).returncode == 0
    assert run("canary", "retire", "4", *at).returncode == 2
    shown = run("canary", "list", "--show", *at).stdout.decode()
    assert re.search(r"4 row, made .+, retired .+: a row", shown)
    for token in (t for ts in tokens.values() for t in ts):
        assert token in shown
        assert token not in listed

    # In a file, in a coded response, and nowhere; a retired one is none.
    (tmp_path / "mail.html").write_bytes(page(tokens["email"][0]))
    body = gzip.compress(page(tokens["cloud-key"][1]))
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    (tmp_path / "coded.http").write_bytes(head.encode() + body)
    (tmp_path / "row.html").write_bytes(page(tokens["row"][0]))
    found = run("scan", "--json", str(tmp_path / "mail.html"), str(tmp_path / "coded.http"), str(tmp_path / "row.html"), *at)
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert [(row["leaked"], row["notes"]) for row in rows] == [(True, ["canary 3, email: a email"]), (True, ["canary 2, cloud-key: a cloud-key"]), (False, [])]
    assert not any(t.encode() in found.stdout + found.stderr for ts in tokens.values() for t in ts)
    assert run("scan", str(tmp_path / "mail.html")).returncode == 0

    # Events of a proxy with the same keys name the canary by digest.
    key, registry_key = keys
    registry = overread.SecretRegistry(key=bytes.fromhex(registry_key.read_text()))
    with CanaryFile(path) as file:
        plant(registry, file.all())
    scanner = overread.Scanner(key=bytes.fromhex(key.read_text()), registry=registry)
    with (tmp_path / "events").open("w") as events:
        for _ in range(2):
            f = scanner.filter(overread.Policy(), HTML)
            f.body(page(tokens["session"][0][3:]))
            f.end()
            events.write(f.event("x", unix_ms=1) + "\n")
    both = ["--key-file", str(key), "--registry-key", str(registry_key)]
    told = run("canary", "list", *at, *both, "--events", str(tmp_path / "events")).stdout.decode()
    assert [int(n) for n in re.findall(r"seen in (\d+) events", told)] == [2, 0, 0, 0]
    digest = json.loads((tmp_path / "events").read_text().splitlines()[0])["findings"][0]["digest"]
    assert f"  digest {digest}" in told.partition("\n2 ")[0].splitlines()


def test_canary_commands_want_a_file_and_both_keys(
    path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OVERREAD_CANARIES", raising=False)
    with pytest.raises(SystemExit):
        main(["canary", "list"])
    monkeypatch.setenv("OVERREAD_CANARIES", str(path))
    assert main(["canary", "list"]) == 2
    assert main(["canary", "new", "row"]) == 0
    assert main(["canary", "list"]) == 0
    with pytest.raises(SystemExit):
        main(["canary", "list", "--key-file", str(keys[0])])
    keys[1].chmod(0o640)
    assert main(["canary", "list", "--key-file", str(keys[0]), "--registry-key", str(keys[1])]) == 2
    assert "its mode must be 0600" in capsys.readouterr().err


# ---- overread digest ----


def test_a_digest_is_what_events_say_as_owner(keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    key = keys[0]
    scanner = overread.Scanner(key=bytes.fromhex(key.read_text()))
    wanted = []
    for owner in (b"alice", b"4f2c9a7be01d3358aa61f0c2d9e87b14", b"\xff\0 x"):
        f = scanner.filter(overread.Policy(), HTML, headers=[("Allow", "GET,HEAD,,:09:44 GMT")])
        f.end()
        wanted.append(json.loads(f.event("x", unix_ms=1, owner=owner))["owner"])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"alice\n4f2c9a7be01d3358aa61f0c2d9e87b14\n\xff\0 x")))
    assert main(["digest", "--key-file", str(key)]) == 0
    assert capsys.readouterr().out.split() == wanted
    assert main(["digest", "--key-file", str(key), "alice"]) == 0
    assert capsys.readouterr().out.split() == wanted[:1]
    key.chmod(0o644)
    assert main(["digest", "--key-file", str(key), "alice"]) == 2
    said = capsys.readouterr()
    assert "its mode must be 0600" in said.err
    assert said.out == ""
    key.chmod(0o600)
    key.write_text("too short")
    assert main(["digest", "--key-file", str(key), "alice"]) == 2
