from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from tests.integration.training.runs import ENVIRONMENT, MODEL, ROOT, Trainer


@pytest.fixture(scope="session")
def trainer() -> Iterator[Trainer]:
    script = Path(__file__).with_name("template.py")
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield Trainer(process)
    process.stdin.close()
    process.wait(timeout=30)
    process.stdout.close()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Nine 64×64 pictures of circles on dark ground, with captions, shown twice an epoch."""
    parent = tmp_path / "pictures"
    folder = parent / "2_sks style"
    folder.mkdir(parents=True)
    colours = ("red", "green", "blue", "yellow", "purple", "orange", "white", "pink", "cyan")
    for number, colour in enumerate(colours):
        image = Image.new("RGB", (64, 64), "#101030")
        ImageDraw.Draw(image).ellipse((12 + number, 12, 44 + number, 44), fill=colour)
        image.save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a {colour} circle, sks style")
    return parent


@pytest.fixture
def arguments(pictures: Path, tmp_path: Path) -> list[str]:
    """18 pictures an epoch in batches of 3: 6 steps an epoch, 18 steps in all."""
    return [
        *("--pretrained_model_name_or_path", str(MODEL), "--train_data_dir", str(pictures)),
        *("--output_dir", str(tmp_path / "out"), "--output_name", "circles"),
        *("--resolution", "64", "--caption_extension", ".txt", "--train_batch_size", "3"),
        *("--max_train_epochs", "3", "--seed", "11", "--network_dim", "4", "--network_alpha", "2"),
        *("--learning_rate", "2e-3", "--cache_latents"),
    ]
