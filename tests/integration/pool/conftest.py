from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.one_template import OneTemplate


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
