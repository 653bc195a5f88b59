"""The three notebooks, from top to bottom, on one deployment: what the first trains, the second draws with."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from backend.client import Client
from tests.e2e.notebooks.running import NOTEBOOKS, pictures, printed, run, widgets
from tests.support.box import Box, until

PICTURES = os.environ.get("SCREENSHOTS", "")
"""A folder for the grid that the notebook displays."""

EPOCHS = 12
"""Of one step each: six pictures, shown once."""


@pytest.fixture
def few(box: Box) -> str:
    """A data set of six pictures of the sample, by its name in the data folder."""
    _, dataset = box.install_samples()
    folder = box.data_dir / "datasets" / "few" / "1_sks style"
    folder.mkdir(parents=True, exist_ok=True)
    for picture in sorted(dataset.rglob("*.png"))[:6]:
        for file in (picture, picture.with_suffix(".txt")):
            shutil.copy(file, folder)
    return "datasets/few"


@pytest.fixture
def both(box: Box) -> Iterator[list[str]]:
    """The ids of two instances; afterwards there are as many as before."""
    with box.client() as client:
        service = client.service("kohya_job")
        before = service.view().description["autoscaler"]
        service.scale(2)
        until(lambda: len(ready(client)) == 2, "there are two instances")
        yield ready(client)
        service.autoscale(before)
        until(lambda: len(client.instances()) == 1, "the second one has left")


def ready(client: Client) -> list[str]:
    return [each.id for each in client.instances() if each.state in ("idle", "busy")]


def test_a_lora_is_trained_and_then_drawn_with(box: Box, few: str, both: list[str], tmp_path: Path) -> None:
    # When the first notebook runs
    book = run("01_train_a_lora", tmp_path, DATA=str(box.data_dir), PICTURES=few, EPOCHS=EPOCHS)
    # Then its training has succeeded, and the form and the monitor are shown
    assert "succeeded" in printed(book)
    assert "lora" in printed(book)
    assert widgets(book) == 2
    assert list((box.data_dir / "loras").glob("moonlight*.safetensors"))

    # When the second notebook draws with what the first has made
    book = run("02_generate", tmp_path, DATA=str(box.data_dir), STEPS=6)
    # Then there is a picture without the LoRA, and one with it
    said = printed(book)
    assert "without a LoRA" in said and "'loras/moonlight" in said
    before, after, grid = pictures(book)
    assert difference(opened(before), opened(after)) > 5
    assert widgets(book) == 1
    # And a grid of four epochs and three weights, drawn by both instances
    cells = re.findall(r"^moonlight(?:-0*(\d+))? × (\S+): drawn by (\S+)$", said, re.MULTILINE)
    rows, columns = ("3", "6", "9", ""), ("0.5", "0.75", "1")
    assert sorted(cell[:2] for cell in cells) == sorted(product(rows, columns)), said
    assert {instance for *_, instance in cells} == set(both)
    if PICTURES:
        opened(grid).save(Path(PICTURES) / "notebook-grid.png")
    tiles = {tile(opened(grid), row, column).tobytes() for row in range(4) for column in range(3)}
    assert len(tiles) == 12, "some cells show the same"


def opened(picture: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures, 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


def tile(sheet: Image.Image, row: int, column: int) -> Image.Image:
    """The picture of a cell, from the sheet's lower right corner."""
    right, bottom = sheet.width - (2 - column) * 136, sheet.height - (3 - row) * 136
    return sheet.crop((right - 136, bottom - 136, right - 8, bottom - 8))


def test_a_pool_is_looked_after(box: Box, tmp_path: Path) -> None:
    book = run("03_run_a_pool", tmp_path, DATA=str(box.data_dir))
    said = printed(book)
    assert "task 1 begins" in said and "task 1 ends" in said
    assert "cancelled" in said
    assert "because" in said
    with box.client() as client:
        ended = {view.name: client.task(view.id).wait(60).state for view in client.tasks(limit=4)}
    assert ended == {
        "task 0": "succeeded",
        "task 1": "succeeded",
        "task 2": "cancelled",
        "urgent": "succeeded",
    }


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)
    assert 4 <= sum(cell["cell_type"] == "code" for cell in cells) <= 6
