"""When each waiting task will start, for people: "position 3, in about 4 minutes"."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from backend.instance import InstanceState
from backend.scaling.fairness import Lines
from backend.scaling.policy import ASSUMED_COLD_START
from backend.scaling.snapshot import Snapshot
from backend.scaling.timeline import Timeline, boot_end, slots_of


@dataclass(frozen=True, slots=True)
class Expected:
    """`position` counts from 1 in the order of turns; `start` is a time of the snapshot's clock, None if unknown."""

    position: int
    start: float | None


def foreseen(
    snapshot: Snapshot, overtaken: Mapping[str, int] | None = None
) -> Iterator[tuple[str, Expected]]:
    """Run the waiting tasks on the instances that exist or are starting, by expected times; one after another.

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
    told: set[str] = set()
    for task in Lines(snapshot, overtaken or {}).turns():
        start = timeline.take(task.kind, task.seconds)
        told.add(task.id)
        yield task.id, Expected(len(told), None if math.isinf(start) else start)
    if len(told) < len(snapshot.waiting):
        held_back = (task.id for task in snapshot.waiting if task.id not in told)
        yield from ((task, Expected(at, None)) for at, task in enumerate(held_back, len(told) + 1))


def expected_starts(snapshot: Snapshot, overtaken: Mapping[str, int] | None = None) -> dict[str, Expected]:
    """All that is `foreseen`, by task."""
    return dict(foreseen(snapshot, overtaken))
