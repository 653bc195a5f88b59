"""The whole way: a LoRA is trained, and its epochs are compared at several weights, on one pool of two instances."""

from __future__ import annotations

import io
import uuid

import pytest
from PIL import Image, ImageChops, ImageStat

from backend.client import Client
from backend.errors import NotFound, RunFailed
from backend.service import DEFAULT_SERVICE, default_description
from tests.support.box import PATIENCE, Box, training, until

KEYS = {"model": "tiny-shapes", "steps": 6, "guidance": 3.0, "seed": 5}


def difference(one: bytes, other: bytes) -> float:
    """Mean difference of two pictures, of 255."""
    a, b = (Image.open(io.BytesIO(each)).convert("RGB") for each in (one, other))
    return sum(ImageStat.Stat(ImageChops.difference(a, b)).mean) / 3


def test_a_lora_of_this_session_and_a_grid_of_its_epochs_and_weights(box: Box, client: Client) -> None:
    # Given two instances and a training that saves four times
    wanted = default_description(most=2)
    wanted["autoscaler"]["min"] = 2
    client.create_service(wanted)
    service = client.service(DEFAULT_SERVICE)
    task_id = str(uuid.uuid4())
    argv = training(box, "--save_every_n_steps", "8", steps=30, name="moon")
    argv[argv.index("--output_dir") + 1] = str(box.data_dir / "jobs" / task_id / "model")
    argv[argv.index("--learning_rate") + 1] = "8e-3"
    assert service.submit(argv=argv, id=task_id).wait(PATIENCE).state == "succeeded"
    checkpoints = service.checkpoints(task_id)
    assert len(checkpoints) == 4

    # When every one of them is drawn with at three weights
    grid = service.grid(
        "a yellow star in sks style", checkpoints=checkpoints, weights=[0.0, 0.6, 1.2], **KEYS
    )
    sizes = [len(grid.cells) for _ in grid.arriving(PATIENCE)]

    # Then the cells came one by one, from both instances, and the sheet shows them
    assert sizes == list(range(1, 13)) and not any(cell.error for cell in grid.cells.values())
    tasks = client.tasks(DEFAULT_SERVICE, limit=12)
    assert {task.instance for task in tasks} == {i.id for i in client.instances(DEFAULT_SERVICE)}
    assert grid.sheet().size[0] > 3 * 128 and grid.sheet().size[1] > 4 * 128

    # And a cell that cannot be drawn says why, beside one that can
    missing = f"jobs/{task_id}/none.safetensors"
    short = {**KEYS, "steps": 1}
    pair = service.grid("a yellow star", checkpoints=[checkpoints[0], missing], weights=[1.0], **short)
    drawn = {cell.row: cell for cell in pair.arriving(PATIENCE)}
    assert drawn[0].image is not None and not drawn[0].error
    assert drawn[1].image is None and "none.safetensors' is not there" in drawn[1].error
    assert pair.sheet().size[1] > 2 * 128
    with pytest.raises(RunFailed, match="is not there"):
        service.generate("a yellow star", loras={missing: 1.0}, **short).wait(PATIENCE)

    # And a weight of nothing is the base model, while the trained LoRA shows
    plain = service.generate("a yellow star in sks style", **KEYS).wait(PATIENCE)
    last = {weight: grid.cells[3, column].image for column, weight in enumerate(grid.plan.weights)}
    assert last[0.0] is not None and last[1.2] is not None
    assert difference(last[0.0], plain.images[0]) < 1
    assert difference(last[1.2], plain.images[0]) > 5

    # And the finished LoRA has its own name in the list, by which it draws the same
    (lora,) = [each for each in client.models().loras if each.name.startswith("moon-")]
    assert lora.task == task_id
    by_name = service.generate("a yellow star in sks style", loras={"moon": 1.2}, **KEYS).wait(PATIENCE)
    assert by_name.parameters["loras"] == [{"name": lora.path, "weight": 1.2}]
    assert difference(by_name.images[0], last[1.2]) < 1


def test_a_task_that_drew_nothing_has_no_images(client: Client) -> None:
    task = client.service(DEFAULT_SERVICE).submit(argv=["true"])
    until(lambda: task.view().final, "it has ended")
    with pytest.raises(NotFound, match="left no pictures"):
        client.images(task.id)
