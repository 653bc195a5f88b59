"""What is possible in hindsight: the fewest loads of models, and the cheapest plan in which nobody waits.

Every replay's cost is measured against that plan.

Each task runs the moment it arrives, on an instance booted in time. Given a start, the best instance is the one that
became idle last, and an idle instance is worth keeping through a gap exactly when the gap is shorter than a boot
(Lu & Chen, "Simple and effective dynamic provisioning for power-proportional data centers", arXiv 1112.0442).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

from backend.scaling.trace import TraceTask


@dataclass(frozen=True, slots=True)
class Optimum:
    """In instance-seconds: `cost`, of which `busy` is work. `boots`: instances started; `peak`: most at once."""

    cost: float
    busy: float
    boots: int
    peak: int


def offline_optimum(trace: Sequence[TraceTask], cold_start: float) -> Optimum:
    """The exact zero-wait optimum of a trace sorted by arrival, for a boot of `cold_start` seconds."""
    ends: list[float] = []
    idle: list[float] = []
    cost = busy = 0.0
    boots = peak = 0
    for task in trace:
        while ends and ends[0] <= task.arrival:
            idle.append(heapq.heappop(ends))
        gap = task.arrival - idle.pop() if idle else cold_start
        boots += gap >= cold_start
        cost += min(gap, cold_start) + task.service
        busy += task.service
        heapq.heappush(ends, task.arrival + task.service)
        peak = max(peak, len(ends))
    return Optimum(cost, busy, boots, peak)


def fewest_loads(wanted: Sequence[tuple[float, str]], room: Sequence[tuple[float, int]]) -> int:
    """How often a model must be loaded at least when tasks are served in order, whoever serves them.

    Belady's rule: what is needed last, or never again, makes room (IBM Systems Journal 5(2), 1966).

    Args:
        wanted: time and model of each task, in order.
        room: for how many models there is room, from a time on, in order.
    """
    next_use, upcoming = [math.inf] * len(wanted), dict[str, float]()
    for place in range(len(wanted) - 1, -1, -1):
        model = wanted[place][1]
        next_use[place] = upcoming.get(model, math.inf)
        upcoming[model] = place
    kept: dict[str, float] = {}
    changes, capacity, loads = list(reversed(room)), 1, 0
    for place, (time, model) in enumerate(wanted):
        while changes and changes[-1][0] <= time:
            capacity = changes.pop()[1]
            _make_room(kept, capacity)
        if model not in kept:
            loads += 1
            _make_room(kept, max(1, capacity) - 1)
        kept[model] = next_use[place]
    return loads


def _make_room(kept: dict[str, float], most: int) -> None:
    while len(kept) > most:
        del kept[max(kept, key=kept.__getitem__)]
