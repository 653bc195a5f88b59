from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from backend.training.schedules import LearningRateSchedule, learning_rate_schedule
from backend.training.training_arguments import TrainingArguments

TOTAL, WARMUP = 40, 5


def theirs(name: str, **extra: Any) -> list[float]:
    """The factors of transformers' scheduler of that name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import get_scheduler

        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        warmup = None if name == "constant" else WARMUP
        scheduler = get_scheduler(name, optimizer, warmup, TOTAL, scheduler_specific_kwargs=extra)
        factors = []
        for _ in range(TOTAL):
            factors.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return factors


@pytest.mark.parametrize(
    ("ours", "name", "extra"),
    [
        ({}, "constant", {}),
        ({}, "constant_with_warmup", {}),
        ({}, "linear", {}),
        ({}, "cosine", {}),
        ({"cycles": 3}, "cosine_with_restarts", {"num_cycles": 3}),
        ({"power": 2.0}, "polynomial", {"power": 2.0, "lr_end": 0.0}),
        ({"timescale": 20}, "inverse_sqrt", {"timescale": 20}),
        ({}, "inverse_sqrt", {}),
        ({"min_ratio": 0.1}, "cosine_with_min_lr", {"min_lr_rate": 0.1}),
        (
            {"decay": 10, "min_ratio": 0.2},
            "warmup_stable_decay",
            {"num_decay_steps": 10, "min_lr_ratio": 0.2, "num_stable_steps": 25},
        ),
    ],
)
def test_the_factors_are_those_of_transformers(
    ours: dict[str, Any], name: str, extra: dict[str, Any]
) -> None:
    schedule = LearningRateSchedule(name, TOTAL, WARMUP, **ours)
    assert [schedule.factor(done) for done in range(TOTAL)] == pytest.approx(theirs(name, **extra), abs=1e-6)


def test_warm_up_is_steps_or_a_share(parsed: Callable[..., TrainingArguments]) -> None:
    share = learning_rate_schedule(parsed("--lr_scheduler", "cosine", "--lr_warmup_steps", "0.1"), 200)
    steps = learning_rate_schedule(parsed("--lr_scheduler", "cosine", "--lr_warmup_steps", "20"), 200)
    assert share == steps
    assert share.warmup == 20
