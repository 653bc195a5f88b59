from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.processes import wait_until
from backend.store import services
from tests.support.one_template import OneTemplate
from tests.support.pool_box import PATIENCE, PoolBox, PoolWorld


@pytest.fixture(scope="session")
def template() -> Iterator[OneTemplate]:
    """A template for all who do not harm it."""
    folder = Path(tempfile.mkdtemp(prefix="lp-"))  # a short path: for the socket
    template = OneTemplate(folder).start()
    try:
        yield template
    finally:
        template.close()
        shutil.rmtree(folder)


@pytest.fixture
def own_template() -> Iterator[OneTemplate]:
    """A template that a test may kill; it is not started yet."""
    folder = Path(tempfile.mkdtemp(prefix="lp-"))
    template = OneTemplate(folder)
    try:
        yield template
    finally:
        template.close()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PoolBox]:
    """A pool with a supervisor, for tests that do it no harm."""
    box = PoolBox(tmp_path_factory.mktemp("pool") / "data")
    box.supervisor()
    try:
        yield box
    finally:
        box.close()


@pytest.fixture
def world(shared: PoolBox) -> Iterator[PoolWorld]:
    """A service of its own, removed at the end."""
    world = shared.world()
    yield world
    world.store.run_all(services.forget(world.service))
    assert wait_until(lambda: not world.here(), PATIENCE), shared.log


@pytest.fixture
def own(tmp_path: Path) -> Iterator[PoolBox]:
    """A pool that a test may harm; it has no supervisor yet."""
    box = PoolBox(tmp_path / "data")
    try:
        yield box
    finally:
        box.close()
