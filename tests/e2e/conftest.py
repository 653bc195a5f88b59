"""One deployment for the end-to-end tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.box import Box, until


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    running = Box(tmp_path_factory.mktemp("e2e") / "data").start()
    try:
        yield running
    finally:
        running.stop()
    until(lambda: not running.processes(), f"no process is left: {running.processes()}", 10.0)
