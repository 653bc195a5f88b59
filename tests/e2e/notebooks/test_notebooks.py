"""The three notebooks, from top to bottom, on one deployment: what the first trains, the second draws with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.notebooks.running import NOTEBOOKS, pictures, printed, run, widgets
from tests.support.box import Box

STEPS = 12


def test_a_lora_is_trained_and_then_drawn_with(box: Box, tmp_path: Path) -> None:
    # When the first notebook runs
    book = run("01_train_a_lora", tmp_path, DATA=str(box.data_dir), STEPS=STEPS)
    # Then its training has succeeded, and the form and the monitor are shown
    assert "succeeded" in printed(book)
    assert "lora" in printed(book)
    assert widgets(book) == 2
    assert list((box.data_dir / "loras").glob("moonlight*.safetensors"))

    # When the second notebook draws with what the first has made
    book = run("02_generate", tmp_path, DATA=str(box.data_dir), STEPS=4)
    # Then there is a picture without the LoRA, one with it, and a grid of both weights
    said = printed(book)
    assert "without a LoRA" in said and "'loras/moonlight" in said
    assert said.count("done") == 2, said
    before, after, grid = pictures(book)
    assert before != after
    assert len(grid) > len(after)
    assert widgets(book) == 1


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
