"""Instances on a Ray cluster for real: two raylets on this host with made-up GPUs, one of which is killed.

`LORAPOOL_LONG=1`: four instances and twenty trainings, as `python -m benchmarks ray` has them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="the extra `ray` is not installed")

from tests.support.ray_story import tell

LONG = bool(os.environ.get("LORAPOOL_LONG"))


def test_a_lost_node_costs_no_training_and_none_is_run_twice(tmp_path: Path) -> None:
    gpus, trainings, steps = ((2, 2), 20, 12) if LONG else ((1, 1), 5, 12)
    story = tell(tmp_path, gpus=gpus, trainings=trainings, steps=steps)
    assert [task.state for task in story.tasks] == ["succeeded"] * trainings
    assert story.doubled() == []
    last = max(attempt.ended_at or 0.0 for task in story.tasks for attempt in task.attempts)
    assert story.killed < last, "it was killed in the middle"
    for task in story.moved:
        assert all(attempt.reason for attempt in task.attempts[:-1]), task.attempts
    for n in range(trainings):
        assert (tmp_path / "data" / "out" / f"lora-{n}" / f"lora-{n}.safetensors").is_file()
