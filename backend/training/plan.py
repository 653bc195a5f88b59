"""How long a run is and where its steps fall: steps, epochs, accumulation, saves and samples. Pure arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from backend.training.training_arguments import TrainingArguments


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps are optimizer steps and count from 1; step s is in epoch `epoch_of(s)`, counted from 1."""

    batches_per_epoch: int
    accumulation: int
    processes: int
    total_steps: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of a whole epoch; the last of them may accumulate fewer batches."""
        return math.ceil(math.ceil(self.batches_per_epoch / self.processes) / self.accumulation)

    @property
    def epochs(self) -> int:
        """Epochs begun by the end of the run."""
        return math.ceil(self.total_steps / self.steps_per_epoch)

    def epoch_of(self, step: int) -> int:
        """The epoch that a step belongs to."""
        return (step - 1) // self.steps_per_epoch + 1

    def is_epoch_end(self, step: int) -> bool:
        """Whether a step is the last of its epoch, or of the run."""
        return step % self.steps_per_epoch == 0 or step == self.total_steps

    def batches_of_step(self, step: int, rank: int = 0) -> range:
        """The indices of the batches of its epoch that one process sees in a step.

        Processes take turns; at a ragged end the last ones take batches from the epoch's start again, so that all
        processes do the same number of batches.
        """
        first = (step - 1) % self.steps_per_epoch * self.accumulation
        per_process = math.ceil(self.batches_per_epoch / self.processes)
        last = min(first + self.accumulation, per_process)
        return range(first * self.processes + rank, last * self.processes + rank, self.processes)


def plan(args: TrainingArguments, batches_per_epoch: int, processes: int = 1) -> Plan:
    """The plan of a run; `max_train_epochs` beats `max_train_steps`."""
    once = Plan(batches_per_epoch, args.gradient_accumulation_steps, processes, total_steps=1)
    total = args.max_train_steps
    if args.max_train_epochs is not None:
        total = args.max_train_epochs * once.steps_per_epoch
    return Plan(batches_per_epoch, args.gradient_accumulation_steps, processes, total)


def save_every_n_epochs(args: TrainingArguments, epochs: int) -> int | None:
    """The epochs between checkpoints; `save_n_epoch_ratio` n means n checkpoints in all."""
    if args.save_n_epoch_ratio:
        return max(epochs // args.save_n_epoch_ratio, 1)
    return args.save_every_n_epochs
