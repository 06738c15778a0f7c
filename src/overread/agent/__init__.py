"""`overread agent`: one process beside the proxies, which know files only. If it dies, filtering goes on and a metric says so."""

from .registry import RegistryAgent
from .service import Agent, run
from .webhook import Webhooks

__all__ = ["RegistryAgent", "Agent", "Webhooks", "run"]
