"""Which files a run writes when it is asked to save and stop."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from backend.training.checkpoints import Checkpoints


class Heard:
    """A reporter that keeps which files it was told of."""

    def __init__(self) -> None:
        self.files: list[tuple[str, str]] = []

    def phase(self, name: str) -> None: ...

    def log(self, line: str) -> None: ...

    def file(self, kind: str, path: Path, *, step: int, epoch: int) -> None:
        self.files.append((kind, path.name))


def checkpoints(folder: Path, heard: Heard, *, save_state: bool) -> Checkpoints:
    args = SimpleNamespace(
        output_dir=folder,
        output_name="sun",
        save_every_n_steps=5,
        save_every_n_epochs=None,
        save_n_epoch_ratio=None,
        save_state=save_state,
        save_last_n_steps=None,
        save_last_n_steps_state=None,
        save_precision=None,
    )
    plan = SimpleNamespace(
        epochs=1,
        epoch_of=lambda step: 1,
        is_epoch_end=lambda step: False,
        total_steps=30,
        batches_per_epoch=30,
    )
    network = SimpleNamespace(state_dict=lambda dtype: {"a.lora_up.weight": torch.ones(1)})
    metadata = SimpleNamespace(of=lambda **said: {})
    parts: list[Any] = [args, plan, network, metadata, heard]
    return Checkpoints(*parts, lambda path, step: path.mkdir(), cast(Any, nullcontext))


@pytest.mark.parametrize("save_state", [True, False])
def test_what_was_just_saved_is_not_saved_again(tmp_path: Path, save_state: bool) -> None:
    heard = Heard()
    saved = checkpoints(tmp_path, heard, save_state=save_state)
    saved.after_step(5)
    saved.save_now(5)
    assert heard.files == [
        ("checkpoint", "sun-step00000005.safetensors"),
        ("state", "sun-step00000005-state"),
    ]


def test_a_step_between_two_checkpoints_is_saved_with_its_state(tmp_path: Path) -> None:
    heard = Heard()
    saved = checkpoints(tmp_path, heard, save_state=False)
    saved.after_step(5)
    saved.save_now(7)
    assert [name for _, name in heard.files[1:]] == ["sun-step00000007.safetensors", "sun-step00000007-state"]
