"""nginx without a compiled module: nginx/overread.lua over liboverread.so, on Debian's Lua module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .nginx_site import FIXED, FULL_GRID, HEAD, LEAK, LISTEN, LONG, PAGE, PROTOCOLS, ROOT, SECRET, Nginx, curl, event_of, started

LIBRARY = ROOT / "build/native/liboverread.so"
MODULES = Path("/usr/lib/nginx/modules")
LUA_HEAD = HEAD.replace("load_module {module};", f"load_module {MODULES}/ndk_http_module.so;\nload_module {MODULES}/ngx_http_lua_module.so;")
NAMES = ("block", "monitor", "redact", "off", "strict")
LOCATION = """
    location /NAME/ {{
      header_filter_by_lua_block {{ require("overread").head(NAME) }}
      body_filter_by_lua_block {{ return require("overread").body() }}
      proxy_pass {origin};
    }}"""
SITE = (
    """
  lua_package_path "ROOT/nginx/?.lua;;";
  init_worker_by_lua_block {{
    local overread = require "overread"
    overread.start("LIBRARY")
    local events = "{folder}/events.jsonl"
    block = overread.policy {{mode = "enforce", action = {{strong = "block"}}, events = events}}
    monitor = overread.policy {{events = events}}
    redact = overread.policy {{mode = "enforce", action = {{strong = "redact", certain = "redact"}}, events = events}}
    off = overread.policy {{mode = "off"}}
    strict = overread.policy {{mode = "enforce", on_error = "block"}}
  }}
  types {{ text/html html; }}
  root {folder}/site;
  proxy_http_version 1.1;
  server {{
""".replace("ROOT", str(ROOT)).replace("LIBRARY", str(LIBRARY))
    + LISTEN
    + "".join(LOCATION.replace("NAME", name) for name in NAMES)
    + """
    location / {{ proxy_pass {origin}; }}
    location /try {{
      content_by_lua_block {{
        ngx.req.read_body()
        ngx.say(select(2, pcall(require("overread").policy, load("return " .. ngx.req.get_body_data())())))
      }}
    }}
  }}
}}
"""
)


@pytest.fixture(scope="module")
def nginx(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    assert LIBRARY.is_file(), "build the library first: cmake -S csrc -B build/native"
    folder = tmp_path_factory.mktemp("lua")
    (folder / "events.jsonl").touch()
    with started(folder, origin, SITE, LUA_HEAD) as made:
        yield made


@pytest.mark.parametrize("protocol", PROTOCOLS if FULL_GRID else PROTOCOLS[:1])
def test_clean_pages_come_as_they_are(nginx: Nginx, protocol: str) -> None:
    for name in NAMES:
        for path in ("page", "long", "json", "nothing", "chunked", "long-chunked", "slow", "gzip", "part"):
            if path == "part" and name != "off":
                continue  # its range is a leak
            plain = curl(nginx.url(f"/{path}", protocol), protocol)
            assert curl(nginx.url(f"/{name}/{path}", protocol), protocol) == plain, (name, path)
    assert curl(nginx.url("/block/page", protocol), protocol, "-I")[1] == 200


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_leak_is_cut_before_its_first_byte(nginx: Nginx, protocol: str) -> None:
    for path in ("leak", "leak-chunked", "late-leak", "split-leak", "gzip-leak"):
        code, _, body = curl(nginx.url(f"/block/{path}", protocol), protocol)
        assert code != 0, path
        assert SECRET not in body
        event = event_of(nginx, f"/block/{path}")
        assert (event["proxy"], event["action"] in ("block", "cut"), event["mode"]) == ("nginx-lua", True, "enforce")


def test_monitor_says_what_enforce_would_do(nginx: Nginx) -> None:
    assert curl(nginx.url("/monitor/leak")) == (0, 200, LEAK)
    event = event_of(nginx, "/monitor/leak")
    assert (event["mode"], event["would"]) == ("monitor", "block")
    before = len(nginx.events)
    assert curl(nginx.url("/off/leak")) == (0, 200, LEAK)
    assert len(nginx.events) == before


def test_what_was_found_is_masked(nginx: Nginx) -> None:
    for path in ("leak", "leak-chunked", "split-leak"):
        code, status, body = curl(nginx.url(f"/redact/{path}"))
        assert (code, status, len(body)) == (0, 200, len(LEAK))
        assert SECRET not in body
        assert body.startswith(PAGE[:1500])
    assert curl(nginx.url("/redact/long"))[2] == LONG == FIXED["/long"][1]


def test_what_cannot_be_decoded_goes_as_the_policy_says(nginx: Nginx) -> None:
    assert curl(nginx.url("/block/gzip-broken"))[:2] == (0, 200)
    assert curl(nginx.url("/strict/gzip-broken"))[0] != 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ('mode = "on"', "mode: expected off, monitor or enforce"),
        ('action = {strong = "truncate"}', "expected log, no-store, redact or block, found truncate"),
        ('action = {high = "block"}', "expected weak, strong or certain, found high"),
        ('on_error = "stop"', "on_error: expected pass or block"),
        ("holds = 0", "unknown option holds"),
    ],
)
def test_bad_options_are_named(nginx: Nginx, options: str, says: str) -> None:
    _, status, body = curl(nginx.url("/try"), "--data", f"{{{options}}}")
    assert (status, says in body.decode()) == (200, True), body
