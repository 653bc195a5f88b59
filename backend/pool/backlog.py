"""What a supervisor knows of one service's tasks, kept up by what it hears of changes.

Read whole once, then only what changed: a pass costs what happened since the last one, not what waits.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable

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
"""Seconds that one update reads on in a queue that is not known yet."""


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
        self._unread: deque[str] | None = None
        self._doubtful: set[str] = set()
        self._looked_at: dict[str, float] = {}
        self._compared_at = -math.inf

    @property
    def complete(self) -> bool:
        """Whether every task has been read."""
        return self._unread is not None and not self._unread

    def lost(self) -> None:
        """What is known may be wrong: have everything read again."""
        self._unread = None

    def doubt(self, task: str) -> None:
        """Have a task read again at the next update."""
        self._doubtful.add(task)

    def update(self, changed: Iterable[str] | None) -> set[str]:
        """Read what changed, None: everything. The answer names the tasks that may not be what they were."""
        now = self._clock.monotonic()
        stale = self._doubtful | set(changed or ())
        self._doubtful = set()
        if changed is None or self._unread is None:
            self._unread = deque(self._compare(now))
            stale |= set(self._unread)
        elif now - self._compared_at >= COMPARE_EVERY:
            known = self.waiting.ids() | self.active.keys()
            stale |= known ^ self._compare(now)
        self._read(stale - set(self._unread))
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
        """Go on reading what is not known yet, for a moment."""
        until = self._clock.monotonic() + READ_FOR
        while self._unread:
            count = min(READ_AT_ONCE, len(self._unread))
            self._read([self._unread.popleft() for _ in range(count)])
            if self._clock.monotonic() > until:
                return

    def _look_again(self, now: float) -> None:
        """Read how far the running ones are that were not looked at for a while, the longest ago first."""
        due = [task for task in self.active if now - self._looked_at.get(task, -math.inf) >= LOOK_EVERY]
        self._read(sorted(due, key=lambda task: self._looked_at.get(task, -math.inf))[:LOOKED_AT_ONCE])

    def _read(self, tasks: Iterable[str]) -> None:
        ids = list(tasks)
        now = self._clock.monotonic()
        for first in range(0, len(ids), READ_AT_ONCE):
            some = ids[first : first + READ_AT_ONCE]
            for task, brief in zip(some, self._store.run(briefs.briefs(some)), strict=True):
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
