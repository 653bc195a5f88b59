from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from backend.errors import InvalidArgument
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


def test_pieces_are_those_of_diffusers(parsed: Callable[..., TrainingArguments]) -> None:
    from diffusers.optimization import get_piecewise_constant_schedule

    rules = "1:10,0.1:25,0.01"
    words = ("--lr_scheduler", "piecewise_constant", "--lr_scheduler_args", f"step_rules={rules}")
    schedule = learning_rate_schedule(parsed(*words), TOTAL)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    (theirs,) = get_piecewise_constant_schedule(optimizer, rules).lr_lambdas
    assert [schedule.factor(done) for done in range(TOTAL)] == [theirs(done) for done in range(TOTAL)]


@pytest.mark.parametrize(
    ("scheduler", "given", "told"),
    [
        ("piecewise_constant", [], "wants factors"),
        ("piecewise_constant", ["--lr_scheduler_args", "step_rules=1:x,2"], "wants factors"),
        ("piecewise_constant", ["--lr_scheduler_args", "step_rules=1:20,0.1:10,0"], "do not rise"),
        ("cosine", ["--lr_scheduler_args", "step_rules=1:20,0.1"], "nothing that cosine takes"),
    ],
)
def test_pieces_that_cannot_be_meant_are_refused(
    parsed: Callable[..., TrainingArguments], scheduler: str, given: list[str], told: str
) -> None:
    with pytest.raises(InvalidArgument, match=told):
        parsed("--lr_scheduler", scheduler, *given)
