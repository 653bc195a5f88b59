"""When the slots of a set of instances become free: a small simulation that the policy and the prediction share."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable

from backend.scaling.snapshot import InstanceView, Snapshot
from backend.task import Kind


class Timeline:
    """Instances as lists of the times at which each slot is free. Unknown ends are infinitely far."""

    def __init__(self) -> None:
        self._slots: list[list[float]] = []
        self._whole: list[tuple[float, int]] = []
        self._single: list[tuple[float, int]] = []

    def add(self, free_at: Iterable[float]) -> None:
        """One more instance, given by when each of its slots is free."""
        self._slots.append(sorted(free_at))
        self._push(len(self._slots) - 1)

    def earliest(self, kind: Kind) -> float:
        """When the next task of `kind` could start: a command needs all slots of an instance, a query one."""
        heap = self._heap(kind)
        while heap and heap[0][0] != self._free_at(kind, heap[0][1]):
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf

    def take(self, kind: Kind, seconds: float | None) -> float:
        """Run a task at the earliest time there is; returns its start. A task of unknown length never ends."""
        start = self.earliest(kind)
        if math.isinf(start):
            return start
        index = self._heap(kind)[0][1]
        end = math.inf if seconds is None else start + seconds
        slots = self._slots[index]
        if kind == "command":
            slots[:] = [end] * len(slots)
        else:
            slots[0] = end
            slots.sort()
        self._push(index)
        return start

    def room(self, until: float) -> float:
        """The seconds before `until` in which slots are free, of all slots together."""
        return sum(max(0.0, until - free_at) for slots in self._slots for free_at in slots)

    def _heap(self, kind: Kind) -> list[tuple[float, int]]:
        return self._whole if kind == "command" else self._single

    def _free_at(self, kind: Kind, index: int) -> float:
        return self._slots[index][-1 if kind == "command" else 0]

    def _push(self, index: int) -> None:
        heapq.heappush(self._whole, (self._slots[index][-1], index))
        heapq.heappush(self._single, (self._slots[index][0], index))


def slots_of(instance: InstanceView, now: float, *, guess: bool = False) -> list[float]:
    """When each slot of a ready instance is free.

    A run of unknown length never ends, or with `guess` takes as long again as it has taken (the median of what is
    left when nothing but the elapsed time is known; Gott, Nature 363, 1993).
    """
    ends = []
    for run in instance.running:
        unknown = max(0.0, now - run.started_at) if guess else math.inf
        ends.append(now + (unknown if run.remaining is None else max(0.0, run.remaining)))
    if any(run.kind == "command" for run in instance.running):
        return [max(ends)] * instance.slots
    return ends + [now] * (instance.slots - len(ends))


def boot_end(instance: InstanceView, snapshot: Snapshot, cold_start: float) -> float:
    """When a starting instance should be ready; a late one is taken to be about to."""
    return max(snapshot.now, instance.created_at + cold_start)
