"""What is said of a training state that is not there any more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backend.errors import InvalidArgument
from backend.training import position
from backend.training.lost_state import STATE_FILE, explain

TASK = "0a1b2c3d-0000-4000-8000-000000000000"


class Deployment:
    """A data folder with what is left of one training."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.output = root / "jobs" / TASK / "output"
        self._now = 1e9
        for folder in (self.output, root / "loras"):
            folder.mkdir(parents=True)

    def write(self, path: str) -> None:
        """A file, newer than those before."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        self._now += 1
        os.utime(file, (self._now, self._now))

    def state(self, name: str) -> None:
        self.write(f"jobs/{TASK}/output/{name}/{STATE_FILE}")

    def said(self, name: str = "cat-step00000100-state") -> str:
        return explain(self.output / name)


@pytest.fixture
def there(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


def test_a_later_state_is_named(there: Deployment) -> None:
    there.state("cat-step00000200-state")
    there.state("cat-step00000300-state")
    there.write(f"loras/cat-{TASK[:8]}.safetensors")
    said = there.said()
    assert f"There is no training state jobs/{TASK}/output/cat-step00000100-state any more" in said
    assert "a later one took its place" in said
    assert f"jobs/{TASK}/output/cat-step00000300-state is still there: go on from that state" in said


def test_without_another_state_the_lora_is(there: Deployment) -> None:
    (there.output / "half-state").mkdir()  # a folder that is no state
    there.write(f"jobs/{TASK}/output/cat-000002.safetensors")
    assert f"jobs/{TASK}/output/cat-000002.safetensors is still there" in there.said()
    there.write("loras/other-11111111.safetensors")
    there.write(f"loras/cat-{TASK[:8]}.safetensors")
    said = there.said()
    assert f"loras/cat-{TASK[:8]}.safetensors is still there: name it in `network_weights`" in said


def test_of_a_job_that_was_deleted(there: Deployment) -> None:
    there.output.rmdir()
    there.output.parent.rmdir()
    assert "its job was deleted with its files" in there.said()
    assert "Nothing else of that training is left: start without a state." in there.said()
    there.write(f"loras/cat-{TASK[:8]}.safetensors")
    assert f"loras/cat-{TASK[:8]}.safetensors is still there" in there.said()


def test_of_a_folder_somewhere_else(there: Deployment) -> None:
    assert "moved, renamed or deleted" in explain(there.root / "kept" / "cat-state")


def test_the_trainer_says_it_too(there: Deployment) -> None:
    there.state("cat-step00000200-state")
    with pytest.raises(InvalidArgument, match="go on from that state") as refusal:
        position.read(there.output / "cat-step00000100-state")
    assert refusal.value.field == "resume"
