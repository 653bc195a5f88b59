"""What the notebook widgets make of a task: curve, log, words, samples."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from app.notebook import words
from app.notebook.checking import placed
from app.notebook.curve import series
from app.notebook.follow import add
from app.notebook.generate import numbers
from app.notebook.log import tail
from app.notebook.samples import by_step, thumbnail
from backend.errors import InvalidArgument
from backend.views import FileView, ProgressView, TaskView
from kohya_adapter.form import Form
from kohya_adapter.presets import preset
from kohya_adapter.resolve import absolute_paths

TASK = TaskView(
    **{"id": "t1", "service": "s", "index": 1, "request_id": "r", "kind": "command", "name": "a <b>cat</b>"},
    **{"user": "", "priority": 0, "state": "waiting", "reason": "", "phase": "", "position": 2},
    **{"expected_start": 160.0, "created_at": 0.0, "assigned_at": None, "started_at": None},
    **{"finished_at": None, "attempt": 1, "attempts": [], "instance": "", "progress": None},
    **{"exit_code": None, "cancel": None, "output": "", "tags": {}, "command": "", "argv": None},
    **{"details": {}, "log_lines": 0},
)


def test_a_long_curve_keeps_its_ends_and_at_most_so_many_points() -> None:
    points = [{"step": n, "loss": 1 / n, "lr": 1e-4} for n in range(1, 10_001)]
    drawn = series(points, most=500)
    assert drawn["steps"][0] == 1 and drawn["steps"][-1] == 10_000
    assert len(drawn["steps"]) <= 501
    assert len(drawn["steps"]) == len(drawn["loss"]) == len(drawn["mean"]) == len(drawn["lr"])


def test_a_mean_starts_at_the_first_loss_and_steps_without_one_are_left_out() -> None:
    drawn = series([{"step": 1, "loss": 0.5}, {"step": 2, "loss": float("nan")}, {"step": 3, "loss": None}])
    assert drawn["steps"] == [1]
    assert drawn["mean"] == pytest.approx([0.5])
    assert series([])["steps"] == []


def test_a_resumed_run_replaces_the_points_that_it_repeats() -> None:
    points = [{"step": n} for n in (1, 2, 3, 4)]
    add(points, [{"step": 3, "loss": 1.0}, {"step": None}])
    assert points == [{"step": 1}, {"step": 2}, {"step": 3, "loss": 1.0}]


def test_a_tail_says_the_number_of_its_first_line() -> None:
    assert tail([(41, "a"), (42, "b")]) == {"first": 41, "lines": ["a", "b"]}
    assert tail([]) == {"first": 1, "lines": []}


def test_states_in_words() -> None:
    assert words.state(TASK, now=100.0) == "queued, position 2, starts in 1 min"
    held = replace(TASK, waits_for="you have 2 of 2 tasks running")
    assert words.state(held, now=100.0) == "waits: you have 2 of 2 tasks running"
    running = replace(TASK, state="running", progress=ProgressView(3, 20, loss=0.5, eta=42.0))
    assert words.state(running) == "running · step 3 of 20 · 42 s left · loss 0.5000"
    assert words.state(replace(TASK, state="failed", reason="no such model")) == "failed: no such model"


def test_what_a_user_has_typed_is_never_markup() -> None:
    assert "<b>cat" not in words.heading(TASK)
    assert "&lt;b&gt;cat" in words.heading(TASK)
    assert "<i>" not in words.table(("x",), [("<i>",)], "")


def test_samples_are_put_together_by_step() -> None:
    files = [FileView("sample", "b.png", 10), FileView("lora", "x", 10), FileView("sample", "a.png", 0)]
    assert [(step, [file.path for file in row]) for step, row in by_step(files).items()] == [
        (0, ["a.png"]),
        (10, ["b.png"]),
    ]


def test_a_large_picture_travels_small() -> None:
    out = io.BytesIO()
    Image.new("RGB", (1024, 512), "red").save(out, "PNG")
    with Image.open(io.BytesIO(thumbnail(out.getvalue(), 320))) as small:
        assert small.size == (320, 160)


def test_numbers_of_a_query() -> None:
    assert numbers({"size": "512 x 768", "steps": "4", "guidance": "3.5"}) == {
        "width": 512,
        "height": 768,
        "steps": 4,
        "guidance": 3.5,
    }
    with pytest.raises(InvalidArgument, match="'many' is not a number"):
        numbers({"count": "many"})
    with pytest.raises(InvalidArgument, match="size"):
        numbers({"size": "large"})


def test_what_lies_in_a_folder_elsewhere_is_not_taken_for_a_model_of_the_hub() -> None:
    far = Path("/srv/somewhere/else")
    form = placed(preset("tiny-shapes").form, far)
    resolved = absolute_paths(form, far)
    assert resolved["pretrained_model_name_or_path"] == str(far / "models" / "tiny-shapes")
    assert resolved["train_data_dir"] == str(far / "datasets" / "moonlight")
    hub = placed(Form({"pretrained_model_name_or_path": "runwayml/stable-diffusion-v1-5"}), far)
    assert hub["pretrained_model_name_or_path"] == "runwayml/stable-diffusion-v1-5"
