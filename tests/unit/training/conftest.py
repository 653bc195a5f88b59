from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

# Before torch is imported: threads that spin while they wait are slow where cores are shared.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
from PIL import Image

from backend.training.arguments import parse
from backend.training.training_arguments import TrainingArguments
from tests.unit.training.shipped import MODEL


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A parent folder with `3_sks style`: three 64×64 pictures, two with captions."""
    parent = tmp_path / "pictures"
    folder = parent / "3_sks style"
    folder.mkdir(parents=True)
    for number, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (64, 64), colour).save(folder / f"{number}.png")
    (folder / "0.txt").write_text("a red circle, sks style\n")
    (folder / "1.txt").write_text("a green circle, sks style\n")
    return parent


@pytest.fixture
def argv(pictures: Path, tmp_path: Path) -> list[str]:
    """A command line that is good as it is."""
    return [
        *("--pretrained_model_name_or_path", str(MODEL)),
        *("--train_data_dir", str(pictures)),
        *("--output_dir", str(tmp_path / "out")),
        *("--resolution", "64"),
        *("--caption_extension", ".txt"),
        *("--train_batch_size", "2"),
        *("--max_train_steps", "6"),
        *("--seed", "7"),
    ]


@pytest.fixture
def parsed(argv: list[str]) -> Callable[..., TrainingArguments]:
    """`parsed("--network_dim", "8")`: the good command line with more after it."""
    return lambda *more: parse([*argv, *more], data_dir=None)
