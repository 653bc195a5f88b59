"""What strategies may name besides the length of the queue: how often tasks come, how loaded the instances are."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Collection, Sequence

from backend.instance import Instance
from backend.pool.clock import Clock
from backend.store import task_queue
from backend.store.connection import Store

WINDOW = 30.0
"""Seconds over which arrivals are counted."""
SHORTEST_WINDOW = 5.0
"""Seconds without which nothing is said of how often tasks come."""
SAMPLED_EVERY = 1.0

_RATES = {"qps": 1.0, "qps1k": 1000.0}
_LOADS = {"cpu": "cpu_load", "gpu": "gpu_load", "gpu[util]": "gpu_load"}


class Metrics:
    """The measures of one service, each a value per instance."""

    def __init__(self, service: str, store: Store, clock: Clock) -> None:
        self._service = service
        self._store = store
        self._clock = clock
        self._arrivals: deque[tuple[float, int]] = deque()

    def values(self, wanted: Collection[str], here: Sequence[Instance]) -> dict[str, float]:
        """Those of `wanted` that are known, for the instances `here`: tasks a second, and loads in per cent."""
        found: dict[str, float] = {}
        if here and not _RATES.keys().isdisjoint(wanted):
            rate = self._rate()
            if rate is not None:
                found |= {name: rate * factor / len(here) for name, factor in _RATES.items()}
        found |= {name: load for name, key in _LOADS.items() if (load := _mean(here, key)) is not None}
        memory = [
            100 * used / total
            for instance in here
            if (total := instance.vitals.get("memory_total"))
            and (used := instance.vitals.get("memory_used")) is not None
        ]
        if memory:
            found["memory"] = statistics.fmean(memory)
        return {name: value for name, value in found.items() if name in wanted}

    def _rate(self) -> float | None:
        """Tasks put per second; the numbers that they are given say how many."""
        now = self._clock.monotonic()
        if not self._arrivals or now - self._arrivals[-1][0] >= SAMPLED_EVERY:
            self._arrivals.append((now, self._store.run(task_queue.last_index(self._service))))
        while len(self._arrivals) > 2 and now - self._arrivals[1][0] >= WINDOW:
            self._arrivals.popleft()
        (first_at, first), (last_at, last) = self._arrivals[0], self._arrivals[-1]
        return (last - first) / (last_at - first_at) if last_at - first_at >= SHORTEST_WINDOW else None


def _mean(here: Sequence[Instance], name: str) -> float | None:
    said = [float(load) for instance in here if (load := instance.vitals.get(name)) is not None]
    return 100 * statistics.fmean(said) if said else None
