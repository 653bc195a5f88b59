"""LoRA tools as tasks of the queue, on what a training has made."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from backend.client import TaskHandle
from backend.errors import InvalidArgument
from backend.views import TaskView
from tests.support.box import PATIENCE, Box, training


@pytest.fixture(scope="module")
def trained(box: Box) -> TaskView:
    """A training of 20 steps with a checkpoint after 10, in its job folder as the form has it."""
    output = box.data_dir / "jobs" / "trained" / "output"
    extra = ("--save_every_n_steps", "10", "--output_dir", str(output), "--v_parameterization")
    with box.client() as client:
        task = client.service("kohya_job").submit(
            argv=training(box, *extra, steps=20, name="shapes"),
            files={
                "prompts.txt": "a yellow star --w 64 --h 64 --s 4 --l 3 --d 5\na blue circle --s 4 --d 5\n"
            },
            id="trained",
        )
        view = task.wait(PATIENCE)
    assert view.state == "succeeded", view.reason
    return view


def ended(task: TaskHandle) -> TaskView:
    return task.wait(PATIENCE)


def test_verify_resize_and_merge_through_the_queue(box: Box, trained: TaskView) -> None:
    lora = Path(trained.output)
    with box.client() as client:
        service = client.service("kohya_job")
        verify = service.tool("verify", lora.name)
        resize = service.tool("resize", lora.name, "--rank", "2", "--output", "small")
        ended(resize)
        merge = service.tool("merge", f"{lora.stem}=0.5", "small=0.5", "--rank", "4", "--output", "both")
        views = [ended(task) for task in (verify, resize, merge)]
        assert [(view.state, view.reason) for view in views] == [("succeeded", "")] * 3
        assert "good" in list(verify.logs())
        assert views[1].output == str(box.data_dir / "loras" / "small.safetensors")
        assert views[1].progress is not None and views[1].progress.step == views[1].progress.total
    before, after, both = (load_file(path) for path in (lora, views[1].output, views[2].output))
    assert set(before) == set(after) == set(both)
    name = next(key for key in before if "attn" in key and key.endswith("lora_down.weight"))
    assert (before[name].shape[0], after[name].shape[0], both[name].shape[0]) == (4, 2, 4)
    assert all(torch.isfinite(tensor).all() for tensor in (*after.values(), *both.values()))


def test_a_tool_that_cannot_work_fails_with_its_reason_and_a_wrong_one_is_not_queued(box: Box) -> None:
    with box.client() as client:
        service = client.service("kohya_job")
        view = ended(service.tool("verify", "../token"))
        assert view.state == "failed"
        assert "outside the data folder" in view.reason
        with pytest.raises(InvalidArgument, match="--rank"):
            service.tool("resize", "a")


def test_a_grid_has_a_column_for_each_checkpoint_and_one_without(box: Box, trained: TaskView) -> None:
    with box.client() as client:
        task = client.service("kohya_job").tool("grid", "--task", "trained")
        view = ended(task)
        assert (view.state, view.reason) == ("succeeded", "")
        assert any("base model" in line and "step 10" in line and "step 20" in line for line in task.logs())
    sheet = Path(view.output)
    assert sheet == box.data_dir / "jobs" / "trained" / "grid.png"
    with Image.open(sheet) as picture:
        width, height = picture.size
        assert (width, height) == (8 + 3 * (64 + 8), 8 + 18 + 2 * (18 + 64 + 8))
        first, _, last = (picture.crop((8 + n * 72, 44, 72 + n * 72, 108)) for n in range(3))
        assert len(set(first.getdata())) > 50, "a picture was drawn"
        assert first.tobytes() != last.tobytes(), "the LoRA changed it"
