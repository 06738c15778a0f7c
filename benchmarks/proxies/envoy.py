"""Envoy with the filter and without, before one nginx that serves the files: CPU time of the whole Envoy process over the responses of a round.

Rounds are interleaved; `plain again` is a second Envoy without the filter: what it differs from `plain` by is the noise. `off` is the filter with
mode=off: it looks at nothing, so what it adds is what any module costs in Envoy.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from calibration.leaks import servers

from benchmarks import results
from benchmarks.proxies import measuring
from overread import proxy

KINDS = {"plain": None, "plain again": None, "off": "mode=off", "monitor": "mode=monitor", "enforce": "mode=enforce"}


@contextlib.contextmanager
def envoy(name: str, config: str | None, module: Path, origin: int, folder: Path) -> Iterator[measuring.Variant]:
    """One worker on one core; without the filter where there is no config."""
    folder.mkdir()
    port = servers.free_port()
    upstream = proxy.parse_upstream(f"http://127.0.0.1:{origin}")
    settings: dict[str, Any] = proxy.bootstrap(upstream, port=port, admin_port=servers.free_port(), filter_config=config or "")
    if config is None:
        manager = settings["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        manager["http_filters"] = manager["http_filters"][1:]
    (folder / "envoy.json").write_text(json.dumps(settings))
    command = ["taskset", "-c", "0", "env", f"ENVOY_DYNAMIC_MODULES_SEARCH_PATH={module}", f"HOME={folder}"]
    command += [proxy.find_envoy(), "-c", str(folder / "envoy.json"), "--disable-hot-restart", "--log-level", "warning", "--concurrency", "1"]
    with servers.running(command, port, folder) as pid:
        yield measuring.Variant(name, port, pid)


def main() -> int:
    """Measures and keeps the figures in benchmarks/figures/envoy.json."""
    args = measuring.options("python -m benchmarks.proxies.envoy", "the folder of liboverread_envoy.so").parse_args()
    with contextlib.ExitStack() as stack:
        of = stack.enter_context(measuring.pages(args.size))
        origin = stack.enter_context(measuring.origin(of)).port
        modules = {"": Path(proxy.find_module())} | ({"other ": args.other} if args.other else {})
        variants = []
        for which, module in modules.items():
            for name, config in KINDS.items():
                if which and config is None:
                    continue
                folder = of.folder / f"{which}{name}".replace(" ", "-")
                variants.append(stack.enter_context(envoy(which + name, config, module, origin, folder)))
        result = measuring.measure(variants, of, args.rounds, args.seconds)
    measuring.show(result)
    if not args.other and not args.size:
        results.keep("envoy", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
