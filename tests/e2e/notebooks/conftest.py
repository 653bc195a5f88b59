"""One deployment that all notebooks use, each in a kernel of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.box import Box


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    deployment = Box(tmp_path_factory.mktemp("notebooks") / "data")
    deployment.install_samples()
    deployment.start()
    try:
        yield deployment
    finally:
        deployment.stop()
