"""When the pictures that are held back are looked at, and which of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from backend.training.feed import Feed, MicroBatch
from backend.training.plan import Plan

FRACTIONS = (0.2, 0.4, 0.6, 0.8)
"""The timesteps of a validation as shares of all, as sd-scripts has them."""


@dataclass(frozen=True, slots=True)
class Validation:
    """Every so many steps, or at the end of every so many epochs; of `most` batches at most."""

    every_n_steps: int | None = None
    every_n_epochs: int | None = None
    most: int | None = None

    def is_due(self, step: int, plan: Plan) -> bool:
        """Whether to validate after this step; the last one is always looked at."""
        if step == plan.total_steps:
            return True
        if self.every_n_steps:
            return step % self.every_n_steps == 0
        return plan.is_epoch_end(step) and plan.epoch_of(step) % (self.every_n_epochs or 1) == 0

    def batches(self, feed: Feed) -> Iterator[MicroBatch]:
        """What to look at."""
        return islice(feed.held_out(), self.most)
