"""Which waiting task goes to which instance.

Idle instances first, the most recently idle one first; a command takes a whole instance, a query a slot. Among idle
instances the one that has the task's models warm is preferred, and a task close behind may pass the first in line
to meet a warm model: not more than `MAX_OVERTAKEN` tasks pass any one, none passes one that waited `MAX_AGE`.
A command that has let that many queries pass has the next instance kept free for it.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from backend.scaling.fairness import MAX_OVERTAKEN, Lines
from backend.scaling.snapshot import Assignment, InstanceView, Snapshot, WaitingTask

LOOK_AHEAD = 16
MAX_AGE = 300.0
"""Seconds of waiting after which a task is no longer passed for the sake of a warm model."""


@dataclass(frozen=True, slots=True)
class Picks:
    """What to hand out now, and how often each task still waiting has been overtaken."""

    assignments: tuple[Assignment, ...]
    overtaken: dict[str, int]


@dataclass(slots=True)
class _Place:
    """An instance with room."""

    instance: InstanceView
    free: int
    models: frozenset[str]
    idle: bool

    def warm(self, task: WaitingTask) -> int:
        """How many of the task's models are loaded, counted from the most expensive one."""
        for depth, model in enumerate(task.models):
            if model not in self.models:
                return depth
        return len(task.models)


def pick(snapshot: Snapshot, overtaken: Mapping[str, int] | None = None) -> Picks:
    """Hand waiting tasks to instances with room. `overtaken` is what the pass before this one returned."""
    before = overtaken or {}
    places = _places(snapshot)
    if not snapshot.waiting:
        return Picks((), {})
    lines = Lines(snapshot, before)
    if not places:
        return Picks((), lines.count_overtaken(set()))
    assignments = tuple(_Pass(snapshot, lines.turns(), before, places).run())
    return Picks(assignments, lines.count_overtaken({a.task for a in assignments}))


def _places(snapshot: Snapshot) -> list[_Place]:
    places = []
    for instance in snapshot.instances:
        queries_only = all(run.kind == "query" for run in instance.running)
        free = instance.slots - len(instance.running)
        if instance.idle or (instance.ready and instance.running and queries_only and free > 0):
            places.append(_Place(instance, free, frozenset(instance.loaded), instance.idle))
    return sorted(places, key=_preference)


def _preference(place: _Place) -> tuple[bool, float, str]:
    instance = place.instance
    if not place.idle:
        return True, -place.free, instance.id
    since = instance.created_at if instance.idle_since is None else instance.idle_since
    return False, -since, instance.id


@dataclass(slots=True)
class _Pass:
    snapshot: Snapshot
    turns: Iterator[WaitingTask]
    overtaken: Mapping[str, int]
    places: list[_Place]
    window: list[WaitingTask] = field(default_factory=list)
    passed: dict[str, int] = field(default_factory=dict)
    blocked: list[WaitingTask] = field(default_factory=list)

    def run(self) -> Iterator[Assignment]:
        while self.places:
            self.window += islice(self.turns, LOOK_AHEAD - len(self.window))
            if not self.window:
                return
            head = self.window[0]
            fitting = self._fitting(head)
            if not fitting:
                self._block(self.window.pop(0))
                continue
            task, place = self._choose(head, fitting)
            skipped = self.window[: self.window.index(task)]
            self.window.remove(task)
            for earlier in (*skipped, *self.blocked):
                self.passed[earlier.id] = self.passed.get(earlier.id, 0) + 1
            self._take(place, task)
            yield Assignment(task.id, place.instance.id, tuple(t.id for t in skipped))

    def _fitting(self, task: WaitingTask) -> list[_Place]:
        """Places of the best kind that could run `task`: idle instances, else (queries) partly busy ones.

        A query that failed goes elsewhere where there is any room.
        """
        if task.kind == "command":
            return [place for place in self.places if place.idle]
        places = [place for place in self.places if place.instance.id != task.avoid] or self.places
        return [place for place in places if place.idle] or places

    def _choose(self, head: WaitingTask, fitting: list[_Place]) -> tuple[WaitingTask, _Place]:
        best = max(fitting, key=lambda place: place.warm(head))
        if best.warm(head):
            return head, best
        wanted: dict[str, tuple[WaitingTask, _Place]] = {}
        for task in self._may_pass():
            match = max(fitting, key=lambda place: place.warm(task))
            if match.warm(task):
                wanted.setdefault(match.instance.id, (task, match))
        for place in fitting:
            if place.instance.id not in wanted:
                return head, place
        return next(iter(wanted.values()))

    def _may_pass(self) -> Iterator[WaitingTask]:
        """The tasks of the window that may go before its first: as far as nobody is passed too often or too late."""
        for place, task in enumerate(self.window):
            if place and task.models:
                yield task
            count = self.overtaken.get(task.id, 0) + self.passed.get(task.id, 0)
            if count >= MAX_OVERTAKEN or self.snapshot.now - task.created_at > MAX_AGE:
                return

    def _block(self, command: WaitingTask) -> None:
        """No whole instance is free for `command`: queries may pass it, but not for ever."""
        count = self.overtaken.get(command.id, 0) + self.passed.get(command.id, 0)
        if count < MAX_OVERTAKEN and self.snapshot.now - command.created_at <= MAX_AGE:
            self.blocked.append(command)
        elif self.places:
            del self.places[max(range(len(self.places)), key=lambda i: self.places[i].free)]

    def _take(self, place: _Place, task: WaitingTask) -> None:
        place.free = 0 if task.kind == "command" else place.free - 1
        place.idle = False
        self.places.remove(place)
        if place.free > 0:
            insort(self.places, place, key=_preference)
