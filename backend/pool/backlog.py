"""What a supervisor knows of one service's tasks, kept up by what it hears of changes.

Read whole once, then only what changed: a pass costs what happened since the last one, not what waits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import islice

from backend.pool.clock import Clock
from backend.scaling import WaitingTask, WaitingTasks
from backend.store import briefs
from backend.store.briefs import Brief
from backend.store.connection import Store
from backend.task import TaskState

LOOK_EVERY = 1.0
"""Seconds after which the progress of what runs is read again."""
LOOKED_AT_ONCE = 200
"""How many running tasks are read again in one pass; the others in the next ones."""
COMPARE_EVERY = 10.0
"""Seconds after which the ids are compared with the store's, should an announcement have gone astray."""
READ_AT_ONCE = 500
READ_FOR = 0.015
"""Seconds after which an update leaves what is still to be read to the next one."""


class Backlog:
    """`waiting`, and `active`: what instances hold. Not to be relied on until `complete`."""

    def __init__(
        self, service: str, store: Store, clock: Clock, view: Callable[[Brief], WaitingTask]
    ) -> None:
        self.waiting = WaitingTasks[Brief](view=view)
        self.active: dict[str, Brief] = {}
        self._service = service
        self._store = store
        self._clock = clock
        self._unread: dict[str, None] = {}
        self._lost = True
        self._looked_at: dict[str, float] = {}
        self._compared_at = -math.inf

    @property
    def complete(self) -> bool:
        """Whether every task has been read."""
        return not self._unread and not self._lost

    def lost(self) -> None:
        """What is known may be wrong: have everything read again."""
        self._lost = True

    def doubt(self, task: str) -> None:
        """Have a task read again at the next update."""
        self._unread[task] = None

    def update(self, changed: Iterable[str] | None) -> set[str]:
        """Read what changed, None: everything. The answer names the tasks that may not be what they were."""
        now = self._clock.monotonic()
        stale = set(changed or ())
        if changed is None or self._lost:
            self._lost = False
            stale |= self._compare(now)
        elif now - self._compared_at >= COMPARE_EVERY:
            known = self.waiting.ids() | self.active.keys()
            stale |= known ^ self._compare(now)
        self._unread |= dict.fromkeys(stale)
        self._read_on()
        self._look_again(now)
        return stale

    def _compare(self, now: float) -> set[str]:
        """The ids of the store, as they are now; what is not among them is forgotten."""
        self._compared_at = now
        look = self._store.run(briefs.look(self._service))
        found = {*look.waiting, *look.active}
        for task in [task for task in (*self.waiting.ids(), *self.active) if task not in found]:
            self._forget(task)
        return found

    def _read_on(self) -> None:
        """Read what is to be read, for a moment."""
        until = self._clock.monotonic() + READ_FOR
        while self._unread:
            some = list(islice(self._unread, READ_AT_ONCE))
            self._read(some)
            for task in some:
                del self._unread[task]
            if self._clock.monotonic() > until:
                return

    def _look_again(self, now: float) -> None:
        """Read how far the running ones are that were not looked at for a while, the longest ago first."""
        due = [task for task in self.active if now - self._looked_at.get(task, -math.inf) >= LOOK_EVERY]
        if due:
            self._read(sorted(due, key=lambda task: self._looked_at.get(task, -math.inf))[:LOOKED_AT_ONCE])

    def _read(self, tasks: list[str]) -> None:
        now = self._clock.monotonic()
        for task, brief in zip(tasks, self._store.run(briefs.briefs(tasks)), strict=True):
            self._note(task, brief, now)

    def _note(self, task: str, brief: Brief | None, now: float) -> None:
        if brief is not None and brief.state is TaskState.WAITING:
            self.active.pop(task, None)
            self._looked_at.pop(task, None)
            self.waiting.put(brief)
        elif brief is not None and not brief.state.final:
            self.waiting.take(task)
            self.active[task], self._looked_at[task] = brief, now
        else:
            self._forget(task)

    def _forget(self, task: str) -> None:
        self.waiting.take(task)
        self.active.pop(task, None)
        self._looked_at.pop(task, None)
