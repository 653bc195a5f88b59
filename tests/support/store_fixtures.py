"""The store that tests share, for a `conftest.py` to import."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backend.store.embedded import EmbeddedStore
from tests.support.store_world import World


@contextmanager
def running_store(folder: Path) -> Iterator[EmbeddedStore]:
    """A store in `folder`, stopped at the end."""
    server = EmbeddedStore(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    """A store of its own for the tests of one process."""
    with running_store(tmp_path_factory.mktemp("store")) as server:
        yield server


@pytest.fixture
def world(server: EmbeddedStore) -> Iterator[World]:
    """A service of its own in that store."""
    world = World(server.url)
    try:
        yield world
    finally:
        world.close()
