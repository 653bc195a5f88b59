"""When each waiting task will start, for people: "position 3, in about 4 minutes"."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from backend.instance import InstanceState
from backend.scaling.fairness import eligible
from backend.scaling.policy import ASSUMED_COLD_START
from backend.scaling.snapshot import Snapshot
from backend.scaling.timeline import Timeline, boot_end, slots_of


@dataclass(frozen=True, slots=True)
class Expected:
    """`position` counts from 1 in the order of turns; `start` is a time of the snapshot's clock, None if unknown."""

    position: int
    start: float | None


def expected_starts(snapshot: Snapshot, overtaken: Mapping[str, int] | None = None) -> dict[str, Expected]:
    """Run the waiting tasks on the instances that exist or are starting, by expected times.

    Later arrivals and later scaling are not foreseen; a task held back by its user's running limit stands behind
    all others with no known start.
    """
    cold = ASSUMED_COLD_START if snapshot.cold_start is None else snapshot.cold_start
    timeline = Timeline()
    for instance in snapshot.instances:
        if instance.ready:
            timeline.add(slots_of(instance, snapshot.now))
        elif instance.state is InstanceState.STARTING:
            timeline.add([boot_end(instance, snapshot, cold)] * instance.slots)
    expected: dict[str, Expected] = {}
    for task in eligible(snapshot, overtaken or {}):
        start = timeline.take(task.kind, task.seconds)
        expected[task.id] = Expected(len(expected) + 1, None if math.isinf(start) else start)
    for task in snapshot.waiting:
        expected.setdefault(task.id, Expected(len(expected) + 1, None))
    return expected
