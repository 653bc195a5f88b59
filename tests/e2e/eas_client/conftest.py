from __future__ import annotations

import os
import subprocess
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support.eas_sdk import Sdk
from tests.support.gateway_box import Box

ROOT = Path(__file__).parents[3]

CLIENT = "eas-prediction==0.36"
PROGRAM = Path(__file__).with_name("program.py")


@pytest.fixture(scope="session")
def sdk_python() -> Path:
    """An interpreter with the official client: it pins an old protobuf, so it has an environment of its own."""
    folder = ROOT / ".cache" / "eas-client"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        return _install(folder)


def _install(folder: Path) -> Path:
    python = folder / "bin" / "python"
    done = folder / "installed.txt"
    if not done.exists() or done.read_text() != CLIENT:
        venv.create(folder, with_pip=True, clear=True)
        install = subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", CLIENT], capture_output=True, text=True
        )
        if install.returncode != 0 and "CI" not in os.environ:
            pytest.skip(f"{CLIENT} cannot be installed: {install.stderr[-500:]}")
        assert install.returncode == 0, install.stderr
        done.write_text(CLIENT)
    return python


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    box = Box(tmp_path_factory.mktemp("box"))
    try:
        yield box.start()
    finally:
        box.close()


@pytest.fixture
def own_box(tmp_path: Path) -> Iterator[Box]:
    """One that a test may kill."""
    box = Box(tmp_path)
    try:
        yield box.start()
    finally:
        box.close()


@pytest.fixture
def sdk_of(sdk_python: Path) -> Iterator[Callable[[Box], Sdk]]:
    """Official clients for a box; those that still run are ended after the test."""
    made: list[Sdk] = []

    def make(box: Box) -> Sdk:
        made.append(Sdk(sdk_python, PROGRAM, box))
        return made[-1]

    yield make
    for each in made:
        each.close()
