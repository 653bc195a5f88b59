"""The cheapest plan in hindsight in which nobody waits: what every replay's cost is measured against.

Each task runs the moment it arrives, on an instance booted in time. Given a start, the best instance is the one that
became idle last, and an idle instance is worth keeping through a gap exactly when the gap is shorter than a boot
(Lu & Chen, "Simple and effective dynamic provisioning for power-proportional data centers", arXiv 1112.0442).
"""

from __future__ import annotations

import heapq
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
