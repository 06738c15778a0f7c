"""What several files of tests ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .nginx_site import running_origin
from .processes import Demo, start_demo, stop_demo
from .shop import Shop, running_shop


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    running = start_demo(tmp_path_factory.mktemp("demo"))
    yield running
    stop_demo(running.process)


@pytest.fixture
def shop() -> Iterator[Shop]:
    with running_shop() as made:
        yield made


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with running_origin() as url:
        yield url
