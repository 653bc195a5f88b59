"""The scaling rule of PAI-EAS: a metric per instance against a threshold.

`desired = ceil(current * metric / threshold)`, the largest of several metrics wins, with a tolerance of 10 % before
scaling out, stabilisation windows, and a grace period before the last instance goes. Source: "Auto scaling" and
"Overview of Scalable Job services" of the PAI user guide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from backend.scaling.autoscaler import QUEUE_METRICS, Strategy
from backend.scaling.memory import Memory
from backend.scaling.snapshot import Snapshot
from backend.scaling.wish import Wish, plural

TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class _Measure:
    strategy: Strategy
    value: float
    desired: int
    out: bool

    def __str__(self) -> str:
        return (
            f"{self.strategy.metric} is {self.value:.4g} per instance, threshold {self.strategy.threshold:g}"
        )


def wish(snapshot: Snapshot, memory: Memory) -> tuple[Wish, Memory]:
    """The number of instances that the strategies ask for, once the windows allow it."""
    current = len(snapshot.counted)
    if current == 0:
        return _from_zero(snapshot), replace(memory, above_since=None, below_since=None)
    measures = [m for s in snapshot.settings.strategies if (m := _measure(snapshot, s, current))]
    if not measures:
        names = ", ".join(s.metric for s in snapshot.settings.strategies)
        return Wish(current, f"no value of {names} is known, so nothing changes"), memory
    top = max(measures, key=lambda m: m.desired)
    if any(m.out for m in measures):
        return _scale_out(snapshot, memory, top, current)
    if top.desired < current:
        return _scale_in(snapshot, memory, top, current)
    return Wish(current, str(top), "that is within the tolerance"), _forget(memory)


def _from_zero(snapshot: Snapshot) -> Wish:
    waiting = len(snapshot.waiting)
    if not waiting:
        return Wish(0, "nothing waits")
    replicas = snapshot.settings.behavior.on_zero.activation
    return Wish(replicas, f"{plural(waiting, 'task')} waiting and no instance", "scaleUpActivationReplicas")


def _measure(snapshot: Snapshot, strategy: Strategy, current: int) -> _Measure | None:
    if strategy.metric in QUEUE_METRICS and not strategy.service:
        tasks = len(snapshot.waiting)
        if snapshot.settings.count_running:
            tasks += sum(len(instance.running) for instance in snapshot.counted)
        value = tasks / current
    else:
        name = f"{strategy.service}/{strategy.metric}" if strategy.service else strategy.metric
        if name not in snapshot.metrics:
            return None
        value = snapshot.metrics[name]
    # Rounded before it is raised: 3 * 0.1 / 0.1 would be 4 otherwise.
    desired = math.ceil(round(current * value / strategy.threshold, 9))
    return _Measure(strategy, value, desired, value > strategy.threshold * (1 + TOLERANCE))


def _forget(memory: Memory) -> Memory:
    if memory.above_since is None and memory.below_since is None:
        return memory
    return replace(memory, above_since=None, below_since=None)


def _scale_out(snapshot: Snapshot, memory: Memory, top: _Measure, current: int) -> tuple[Wish, Memory]:
    since = snapshot.now if memory.above_since is None else memory.above_since
    memory = replace(memory, above_since=since, below_since=None)
    due = since + snapshot.settings.behavior.scale_up.seconds
    if snapshot.now < due:
        return Wish(current, f"{top}, but not yet for the whole scaleUp window", wake_at=due), memory
    return Wish(max(current, top.desired), str(top)), replace(memory, above_since=None)


def _scale_in(snapshot: Snapshot, memory: Memory, top: _Measure, current: int) -> tuple[Wish, Memory]:
    since = snapshot.now if memory.below_since is None else memory.below_since
    memory = replace(memory, above_since=None, below_since=since)
    due = since + snapshot.settings.behavior.scale_down.seconds
    if snapshot.now < due:
        return Wish(current, f"{top}, but not yet for the whole scaleDown window", wake_at=due), memory
    if top.desired > 0:
        return Wish(top.desired, str(top)), memory
    empty = snapshot.now if memory.empty_since is None else memory.empty_since
    zero = empty + snapshot.settings.behavior.on_zero.grace
    if snapshot.now < zero:
        return Wish(1, "nothing waits or runs; the grace before zero is not over", wake_at=zero), memory
    return Wish(0, "nothing waits or runs, and the grace before zero is over"), memory
