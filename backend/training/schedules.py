"""Learning-rate schedules as pure functions of the step: what the learning rate is multiplied by.

The formulas are those of the schedulers of the same names in transformers, which sd-scripts uses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from backend.training.allowed import StepRules
from backend.training.training_arguments import TrainingArguments


@dataclass(frozen=True, slots=True)
class LearningRateSchedule:
    """`warmup` and `decay` are steps of `total`."""

    name: str
    total: int
    warmup: int = 0
    decay: int = 0
    cycles: int = 1
    power: float = 1.0
    timescale: int | None = None
    min_ratio: float = 0.0
    rules: StepRules = ()

    def factor(self, done: int) -> float:
        """The factor for the next step, after `done` of them."""
        if self.name == "constant":
            return 1.0
        if self.name == "piecewise_constant":
            return next(factor for factor, end in self.rules if end is None or done < end)
        if done < self.warmup:
            risen = done / self.warmup
            return self._lifted(risen) if self.name == "warmup_stable_decay" else risen
        if self.name == "constant_with_warmup":
            return 1.0
        if self.name == "inverse_sqrt":
            scale = self.timescale or self.warmup or 10_000
            return 1 / math.sqrt(max(done + scale - self.warmup, 1) / scale)
        if self.name == "warmup_stable_decay":
            return self._stable_then_decay(done)
        return self._falling((done - self.warmup) / max(1, self.total - self.warmup))

    def _falling(self, progress: float) -> float:
        progress = min(progress, 1.0)
        if self.name == "linear":
            return 1 - progress
        if self.name == "polynomial":
            return float((1 - progress) ** self.power)
        if self.name == "cosine_with_restarts":
            return 0.0 if progress >= 1 else _half_cosine(self.cycles * progress % 1)
        if self.name == "cosine_with_min_lr":
            return self._lifted(_half_cosine(self.cycles * progress))
        return _half_cosine(progress)

    def _stable_then_decay(self, done: int) -> float:
        stable = self.total - self.warmup - self.decay
        if done < self.warmup + stable:
            return 1.0
        progress = min((done - self.warmup - stable) / max(1, self.decay), 1.0)
        return self._lifted(_half_cosine(self.cycles * progress))

    def _lifted(self, factor: float) -> float:
        return factor * (1 - self.min_ratio) + self.min_ratio


def _half_cosine(progress: float) -> float:
    return max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))


def learning_rate_schedule(args: TrainingArguments, total: int) -> LearningRateSchedule:
    """The schedule of a run of `total` steps; warm-up and decay below 1 are shares of it."""
    return LearningRateSchedule(
        args.lr_scheduler,
        total,
        _steps(args.lr_warmup_steps, total),
        _steps(args.lr_decay_steps, total),
        args.lr_scheduler_num_cycles,
        args.lr_scheduler_power,
        args.lr_scheduler_timescale,
        args.lr_scheduler_min_lr_ratio or 0.0,
        args.lr_scheduler_args,
    )


def _steps(value: int | float, total: int) -> int:
    return int(value * total) if value < 1 else int(value)
