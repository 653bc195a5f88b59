from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from backend.client import Client
from tests.support.box import Box, until


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A deployment as `lorapool up` makes it when it is given no description."""
    running = Box(tmp_path_factory.mktemp("inference") / "data").start()
    try:
        running.install_samples()
        yield running
    finally:
        running.stop()
    until(lambda: not running.processes(), f"no process is left: {running.processes()}", 10.0)


@pytest.fixture
def client(box: Box) -> Iterator[Client]:
    with box.client() as opened:
        yield opened


@pytest.fixture
def http(box: Box) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=box.endpoint, headers={"Authorization": box.token}, timeout=30.0) as opened:
        yield opened
