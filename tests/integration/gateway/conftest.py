from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.client import Client
from backend.store.connection import Store
from tests.support.gateway_box import Box

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """One store and one gateway for the tests of a file."""
    box = Box(tmp_path_factory.mktemp("box"))
    try:
        yield box.start()
    finally:
        box.close()


@pytest.fixture
def own_box(tmp_path: Path) -> Iterator[Box]:
    """A store and a gateway that a test may kill."""
    box = Box(tmp_path)
    try:
        yield box.start()
    finally:
        box.close()


@pytest.fixture
def name() -> str:
    """A service name that no other test uses."""
    return f"svc{next(_NUMBERS)}"


@pytest.fixture
def client(box: Box) -> Iterator[Client]:
    """The SDK, with the deployment's token."""
    with box.client() as client:
        yield client


@pytest.fixture
def store(box: Box) -> Iterator[Store]:
    """The store behind that gateway."""
    store = box.store()
    yield store
    store.close()
