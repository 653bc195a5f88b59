"""What the supervisor learns about one service while it works: run times, cold starts, who used how much."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from backend.scaling import Durations, Estimator, Memory, Usage
from backend.store.briefs import Brief

_MOST_STEPS = 10**9


class Learnt:
    """Mutable; saved as JSON so that the next supervisor goes on from here."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.memory = Memory.from_json(data.get("memory", {}))
        self.estimator = Estimator.from_json(data.get("estimator", []))
        self.cold_starts = Durations(data.get("cold_starts", []))
        self.step_times = Durations(data.get("step_times", []))
        self.beside_steps = Durations(data.get("beside_steps", []))
        usage = data.get("usage", {})
        self.usage = Usage(usage.get("seconds", {}), usage.get("at", time.time()))

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        return {
            "memory": self.memory.to_json(),
            "estimator": self.estimator.to_json(),
            "cold_starts": self.cold_starts.to_json(),
            "step_times": self.step_times.to_json(),
            "beside_steps": self.beside_steps.to_json(),
            "usage": {"seconds": dict(self.usage.seconds), "at": self.usage.at},
        }

    def expected(self, task: Brief) -> float | None:
        """Seconds that a waiting task will run: its steps by the usual step time and what goes with them (loading the
        model, samples, saving), else what its like took."""
        by_steps = self._by_steps(task)
        return self.estimator.expected(_kind(task)) if by_steps is None else by_steps

    def _by_steps(self, task: Brief) -> float | None:
        steps, step_time = _steps(task), self.step_times.median
        if steps is None or step_time is None:
            return None
        return steps * step_time + (self.beside_steps.median or 0.0)

    def remaining(self, task: Brief, now: float) -> float | None:
        """Seconds that a running task still needs: its own report, else its steps, else what is usual.

        What is usual is taken on the safe side (see `Durations.remaining`): people plan by it.
        """
        if task.progress is not None and task.progress.eta is not None:
            return max(0.0, task.progress.eta)
        elapsed = max(0.0, now - (task.started_at or task.assigned_at or now))
        by_steps = self._by_steps(task)
        if by_steps is not None and by_steps > elapsed:
            return by_steps - elapsed
        return self.estimator.remaining(_kind(task), elapsed)

    def ended(self, task: Brief, now: float, *, whole: bool, slots: int = 1) -> None:
        """Take note of a task whose run ended, on an instance of so many `slots`; a query had one of them.

        What was not a `whole` run costs its user, but says little of others.
        """
        if task.started_at is None:
            return
        seconds = max(0.0, now - task.started_at)
        if whole:
            self.estimator.finished(_kind(task), seconds)
        held = seconds / max(1, slots) if task.kind == "query" else seconds
        self.usage = self.usage.charge(task.user, held, now)
        if task.progress is not None and task.progress.seconds_per_step:
            self.step_times.add(task.progress.seconds_per_step)
            steps = _steps(task)
            if whole and steps is not None:
                self.beside_steps.add(max(0.0, seconds - steps * task.progress.seconds_per_step))


def _steps(task: Brief) -> int | None:
    steps = task.details.get("steps")
    return steps if isinstance(steps, int) and 0 <= steps <= _MOST_STEPS else None


def _kind(task: Brief) -> tuple[str, ...]:
    model = str(task.details.get("model", ""))
    return (task.kind, model) if model else (task.kind,)
