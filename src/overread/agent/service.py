"""The agent's loops: shows life and tells of features that were switched off or on; beside that, the registry's care."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

from ..control import Control, Feature
from ..errors import ConfigError
from . import atomic_file
from .registry import RegistryAgent
from .webhook import Webhooks

SECONDS = 0.5  # between looks
REGISTRY_SECONDS = 1.0  # and at the registry, when there is no more to do


class Agent:
    """Watches one control file.

    What every receiver has had is kept in ``FILE.told``, so that an agent that was started anew forgets nothing; it repeats what it had
    not got rid of.

    Parameters
    ----------
    control
        The filters' control file.
    webhooks
        Who is told; they have threads of their own, so that a slow receiver delays nothing here.
    flags
        A folder that has a file for each feature that is switched off, or ``None``.

    Raises
    ------
    ConfigError
        When the folder or the file beside the control file cannot be written.
    """

    def __init__(self, control: Control, webhooks: Webhooks, flags: Path | None) -> None:
        self.control, self.webhooks, self.flags = control, webhooks, flags
        self._memory = control.path.with_name(control.path.name + ".told")
        try:
            if flags:
                flags.mkdir(parents=True, exist_ok=True)
            control.show_life()
        except OSError as error:
            raise ConfigError(f"{error.filename}: {error.strerror}") from None
        self._told = self._remembered()  # feature -> when it was tripped, as told last
        self._unsaved = False

    def look(self) -> None:
        """One look: shows life, and tells what has changed since the last."""
        self.control.show_life()
        state = self.control.look()
        if state.fault:
            print(f"overread agent: {self.control.path} {state.fault}", file=sys.stderr, flush=True)
        if self.flags:
            self._keep_flags(state.features)
        self.remember()
        now = {name: feature.at_ms for name, feature in state.features.items() if feature.tripped}
        if now == self._told:
            return
        for name, at_ms in now.items():
            if self._told.get(name) != at_ms:
                self._tell("tripped", name, state.features[name])
        for name in self._told:
            if name not in now:
                self._tell("rearmed", name, state.features.get(name))
        self._told, self._unsaved = now, True

    def remember(self) -> None:
        """Keeps what was told, once every receiver has had it."""
        if self._unsaved and self.webhooks.idle:
            atomic_file.write(self._memory, json.dumps(self._told))
            self._unsaved = False

    def _tell(self, what: str, name: str, feature: Feature | None) -> None:
        message: dict[str, object] = {"schema": 1, "what": what, "feature": name, "host": socket.gethostname()}
        if feature:
            message |= {"at_ms": feature.at_ms, "until_ms": feature.until_ms, "alarms": feature.alarms, "trips": feature.trips}
        print(f"overread agent: {name} {what}", flush=True)
        self.webhooks.send(json.dumps(message).encode())

    def _keep_flags(self, features: dict[str, Feature]) -> None:
        """A flag for what is switched off; none for what is on, also where an earlier agent left one."""
        assert self.flags
        for name, feature in features.items():
            flag = self.flags / name
            if not feature.tripped:
                flag.unlink(missing_ok=True)
            elif not flag.exists():
                atomic_file.write(flag, json.dumps({"feature": name, "at_ms": feature.at_ms, "until_ms": feature.until_ms}) + "\n")

    def _remembered(self) -> dict[str, int]:
        try:
            told = json.loads(self._memory.read_text())
        except (OSError, ValueError):
            return {}
        return {str(k): int(v) for k, v in told.items()} if isinstance(told, dict) and all(isinstance(v, int) for v in told.values()) else {}


def run(control: Control | None, webhooks: Sequence[str], flags: Path | None, key: bytes | None, registry: RegistryAgent | None) -> int:
    """Looks until it is told to stop, by SIGTERM or SIGINT; 2 when one of its parts ended by itself."""
    stop, broken = threading.Event(), threading.Event()
    # A second signal may come inside the handler of the first: an Event's lock would be held then, and only a SimpleQueue may be entered twice.
    asked: SimpleQueue[None] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.put(None))

    def care(agent: RegistryAgent) -> None:
        """In a thread of its own, so that a slow Redis delays nothing else."""
        try:
            while not stop.wait(0 if agent.look() else REGISTRY_SECONDS):
                pass
            agent.close()
        except BaseException:
            broken.set()
            asked.put(None)
            raise

    caring = threading.Thread(target=care, args=(registry,)) if registry else None
    if caring and registry:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the key is in this process, and belongs in no file
        print(f"overread agent: at {registry.segment}", flush=True)
        caring.start()
    try:
        if control:
            _watch(control, webhooks, flags, key, asked)
        else:
            asked.get()
    finally:
        stop.set()
        if caring:
            caring.join()
    return 2 if broken.is_set() else 0


def _watch(control: Control, webhooks: Sequence[str], flags: Path | None, key: bytes | None, asked: SimpleQueue[None]) -> None:
    with Webhooks(webhooks, key) as out:
        agent = Agent(control, out, flags)
        print(f"overread agent: watching {control.path}", flush=True)
        while True:
            try:
                agent.look()
            except OSError as error:  # a full disk, a folder that is gone: the next look may find it mended
                print(f"overread agent: {error.filename}: {error.strerror}", file=sys.stderr, flush=True)
            try:
                asked.get(timeout=SECONDS)
                break
            except Empty:
                pass
    with contextlib.suppress(OSError):
        agent.remember()
