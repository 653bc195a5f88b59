"""When each waiting task should start, for people: reckoned and written between the passes, a little at a time.

Nothing is decided by it, so it must not keep a decision waiting, however long the queue is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

from backend.pool.clock import Clock
from backend.scaling import Expected, Snapshot, foreseen
from backend.store import plans
from backend.store.connection import Store
from backend.store.plans import Plan

EVERY = 1.0
"""Seconds from one forecast of a long queue to the next, at least."""
LONG_QUEUE = 100
"""A queue that is not longer is forecast after each pass."""
SHARE = 0.05
"""The most that forecasts take of a supervisor's time."""
SLICE = 250
"""How many tasks are dealt with at a time: a few milliseconds."""
SAME_TIME, SAME_PART = 1.0, 0.02
"""A start that moved by no more than so many seconds, or such a part of the wait, is not written again."""


class Forecast:
    """The forecast of one service's queue."""

    def __init__(self, service: str, store: Store, clock: Clock) -> None:
        self._service = service
        self._store = store
        self._clock = clock
        self._course: Iterator[tuple[str, Expected]] | None = None
        self._told: dict[str, Plan] = {}
        self._before: Mapping[str, Plan] = {}
        self._seen_at = 0.0
        self._due = -math.inf
        self._spent = 0.0

    @property
    def under_way(self) -> bool:
        """Whether `go_on` has something to do."""
        return self._course is not None

    def begin(self, snapshot: Snapshot, overtaken: Mapping[str, int]) -> None:
        """Begin another forecast, if it is time for one and none is under way."""
        short = len(snapshot.waiting) <= LONG_QUEUE
        if self.under_way or (not short and self._clock.monotonic() < self._due):
            return
        self._before, self._told = self._told, {}
        self._spent, self._seen_at = 0.0, snapshot.now
        if snapshot.waiting:
            self._course = foreseen(replace(snapshot, waiting=snapshot.waiting.copy()), overtaken)

    def forget(self, tasks: Iterable[str]) -> None:
        """These changed: what the store has of them is not known any more."""
        for task in tasks:
            self._told.pop(task, None)

    def go_on(self) -> None:
        """Reckon and write one slice."""
        if self._course is None:
            return
        began = time.perf_counter()
        found = {task: _plan(expected) for task, expected in islice(self._course, SLICE)}
        fresh = {task: plan for task, plan in found.items() if not self._same(self._before.get(task), plan)}
        if fresh:
            self._store.run(plans.save(fresh, self._service))
        # What was not written again is still there as it was written.
        self._told |= {task: self._before[task] for task in found.keys() - fresh.keys()} | fresh
        self._spent += time.perf_counter() - began
        if len(found) < SLICE:
            self._course = None
            self._due = self._clock.monotonic() + max(EVERY, self._spent / SHARE)

    def _same(self, before: Plan | None, plan: Plan) -> bool:
        """Whether nothing has changed that a person would notice."""
        if before is None or before.position != plan.position:
            return False
        if before.expected_start is None or plan.expected_start is None:
            return before.expected_start is plan.expected_start
        near = max(SAME_TIME, SAME_PART * (plan.expected_start - self._seen_at))
        return abs(before.expected_start - plan.expected_start) <= near


def _plan(expected: Expected) -> Plan:
    start = expected.start
    return Plan(expected.position, start if start is not None and math.isfinite(start) else None)
