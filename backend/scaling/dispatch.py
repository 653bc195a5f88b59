"""Which waiting task goes to which instance.

Idle instances first, the most recently idle one first; a command takes a whole instance, a query a slot. Among idle
instances the one that has the task's models warm is preferred, and a short task close behind may pass the first in
line to meet a warm model, or to have one loaded that many wait for. Not more than `MAX_OVERTAKEN` tasks pass any one
so, none of lower priority, none that was put `MAX_LEAD` later, none of another user who has had more of the GPUs.
A task waits for the instance that has its model, rather than have it loaded a second time, where that one is free
soon; a model that has to be loaded replaces the one that others have too, else the one not used for longest.
A command that has let that many queries pass has the next instance kept free for it.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from backend.scaling.fairness import MAX_OVERTAKEN, Lines
from backend.scaling.snapshot import Assignment, InstanceView, Snapshot
from backend.scaling.waiting import WaitingTask

LOOK_AHEAD = 24
MAX_LEAD = 300.0
"""Seconds: a task put so much later than another, or that takes so long, does not pass it to meet a warm model."""
MAX_SHARE_AHEAD = 60.0
"""GPU-seconds: the tasks of a user who has had so much more lately do not pass another user's."""
WORTH_WAITING, LONGEST_WAIT = 3.0, 5.0
"""In times of loading a model: how soon the instance that has it must be free to be waited for, and for how long a task
waits so, from its put. More than one: a load that is spared gives others their turn sooner, and keeps another model."""
NO_HOLDER = 0.25
"""What no instance counts as beside one, where tasks are weighed against the instances that have their model."""


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


def pick(snapshot: Snapshot, overtaken: Mapping[str, int] | None = None, most: int | None = None) -> Picks:
    """Hand up to `most` waiting tasks to instances with room. `overtaken` is what the pass before this one returned."""
    before = overtaken or {}
    places = _places(snapshot)
    if not snapshot.waiting:
        return Picks((), {})
    lines = Lines(snapshot, before)
    if not places:
        return Picks((), lines.count_overtaken(set(), {}))
    dispatch = _Pass(lines, before, places, snapshot)
    assignments = tuple(islice(dispatch.run(), most))
    return Picks(assignments, lines.count_overtaken({a.task for a in assignments}, dispatch.skipped))


class _Least:
    """The smallest share among some users, and among those beside one of them."""

    def __init__(self) -> None:
        self._user = ""
        self._first = self._second = math.inf

    def add(self, user: str, share: float) -> None:
        if share < self._first:
            if user != self._user:
                self._second = self._first
            self._user, self._first = user, share
        elif user != self._user:
            self._second = min(self._second, share)

    def beside(self, user: str) -> float:
        return self._second if user == self._user else self._first


def _short(task: WaitingTask) -> bool:
    return task.kind == "query" if task.seconds is None else task.seconds <= MAX_LEAD


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


def _free_in(snapshot: Snapshot, places: list[_Place]) -> dict[str, list[float]]:
    """For each model the seconds until instances that have it, and have no room now, are expected to have some."""
    having_room = {place.instance.id for place in places}
    found: dict[str, list[float]] = {}
    for instance in snapshot.instances:
        left = [run.remaining for run in instance.running if run.remaining is not None]
        if not instance.ready or instance.id in having_room or len(left) < len(instance.running):
            continue
        queries = all(run.kind == "query" for run in instance.running)
        for model in instance.loaded:
            found.setdefault(model, []).append(min(left) if queries else max(left))
    return found


class _Pass:
    """One pass over the turns; `places` is kept with idle instances first, the best first."""

    def __init__(
        self,
        lines: Lines,
        overtaken: Mapping[str, int],
        places: list[_Place],
        snapshot: Snapshot,
    ) -> None:
        self._lines = lines
        self._turns = lines.turns()
        self._overtaken = overtaken
        self.skipped = Counter[str]()
        self._places = places
        self._with_model: dict[str, list[_Place]] = {}
        for place in places:
            for model in place.models:
                self._with_model.setdefault(model, []).append(place)
        self._holders = Counter(model for i in snapshot.counted for model in i.loaded)
        self._now, self._loading = snapshot.now, snapshot.loading
        self._free_in = {} if snapshot.loading is None else _free_in(snapshot, places)
        self._window: list[WaitingTask] = []
        self._blocked: list[WaitingTask] = []

    def run(self) -> Iterator[Assignment]:
        while self._places:
            self._window += islice(self._turns, LOOK_AHEAD - len(self._window))
            if not self._window:
                return
            head = self._window[0]
            open_to = self._open_to(head)
            if head.kind == "command" and not open_to[0].idle:
                self._block(self._window.pop(0))
                continue
            if self._worth_waiting(head):
                self._blocked.append(self._window.pop(0))
                continue
            task, place = self._choose(head, open_to)
            skipped = self._window[: self._window.index(task)]
            self._window.remove(task)
            self.skipped.update(earlier.id for earlier in (*skipped, *self._blocked))
            self._take(place, task)
            yield Assignment(task.id, place.instance.id, tuple(earlier.id for earlier in skipped))

    def _open_to(self, task: WaitingTask) -> list[_Place]:
        """The places that `task` may take: a query that failed goes elsewhere where there is any room."""
        if task.kind == "command" or not task.avoid:
            return self._places
        return [place for place in self._places if place.instance.id != task.avoid] or self._places

    def _choose(self, head: WaitingTask, open_to: list[_Place]) -> tuple[WaitingTask, _Place]:
        """The next task and its place: an idle instance as long as there is one, with the model if one has it."""
        idle = open_to[0].idle
        best = self._warmest(head, idle)
        if best and (open_to is self._places or best in open_to):
            return head, best
        near = self._may_pass()
        wanted: dict[str, tuple[WaitingTask, _Place]] = {}
        for task in near:
            match = self._warmest(task, idle)
            if match and match.instance.id != task.avoid:
                wanted.setdefault(match.instance.id, (task, match))
        all_fit = bool(wanted or head.models)
        fitting = [place for place in open_to if place.idle == idle] if all_fit else open_to[:1]
        spare = [place for place in fitting if place.instance.id not in wanted]
        if spare:
            place = min(spare, key=self._lost) if idle and head.models else spare[0]
            return self._worth_loading([head, *near], place), place
        return next(wanted[place.instance.id] for place in fitting if place.instance.id in wanted)

    def _worth_waiting(self, task: WaitingTask) -> bool:
        """Whether an instance that has the task's model, and is busy, is waited for."""
        ends = self._free_in.get(task.models[0], []) if task.models else []
        if not ends or self._loading is None or task.seconds is None or task.avoid or not self._patient(task):
            return False
        if self._now - task.created_at > LONGEST_WAIT * self._loading:
            return False
        if self._warmest(task, idle=True) or self._warmest(task, idle=False):
            return False
        soonest = min(range(len(ends)), key=ends.__getitem__)
        if ends[soonest] > WORTH_WAITING * self._loading:
            return False
        ends[soonest] += task.seconds
        return True

    def _lost(self, place: _Place) -> tuple[bool, bool, float, str]:
        """What is lost when an idle instance loads another model; the least first."""
        alone = any(self._holders[model] == 1 for model in place.models)
        _, since, name = _preference(place)
        return bool(place.models), alone, -since, name

    def _worth_loading(self, near: list[WaitingTask], place: _Place) -> WaitingTask:
        """Whose model a cold instance loads: the one that most tasks for each of its instances want.

        `near` begins with the first in line; where that one needs no model, it is its turn.
        """
        if not near[0].models:
            return near[0]
        wanting = Counter(task.models[0] for task in near)
        fitting = [task for task in near if task is near[0] or task.avoid != place.instance.id]
        return max(fitting, key=lambda t: wanting[t.models[0]] / (self._holders[t.models[0]] + NO_HOLDER))

    def _warmest(self, task: WaitingTask, idle: bool) -> _Place | None:
        if not task.models:
            return None
        having = self._with_model.get(task.models[0], ())
        fitting = [place for place in having if place.free > 0 and place.idle == idle]
        return max(fitting, key=lambda place: place.warm(task), default=None)

    def _may_pass(self) -> list[WaitingTask]:
        """The tasks of the window that may go before its first to meet a warm model, or to have one loaded."""
        head, rank = self._window[0], self._lines.rank
        found: list[WaitingTask] = []
        oldest, least = math.inf, _Least()
        for task in self._window:
            share = self._lines.share.get(task.user, 0.0)
            if (
                task is not head
                and task.models
                and (task.kind == "query" or self._places[0].idle)
                and _short(task)
                and rank(task) == rank(head)
                and task.created_at <= oldest + MAX_LEAD
                and share <= least.beside(task.user) + MAX_SHARE_AHEAD
            ):
                found.append(task)
            if not self._patient(task):
                break
            oldest = min(oldest, task.created_at)
            least.add(task.user, share)
        return found

    def _patient(self, task: WaitingTask) -> bool:
        return self._overtaken.get(task.id, 0) + self.skipped[task.id] < MAX_OVERTAKEN

    def _block(self, command: WaitingTask) -> None:
        """No whole instance is free for `command`: queries may pass it, but not for ever."""
        if self._patient(command):
            self._blocked.append(command)
        else:
            reserved = max(self._places, key=lambda place: place.free)
            reserved.free = 0
            self._places.remove(reserved)

    def _take(self, place: _Place, task: WaitingTask) -> None:
        self._holders.update(set(task.models) - place.models)
        self._places.remove(place)
        place.free = 0 if task.kind == "command" else place.free - 1
        place.idle = False
        if place.free > 0:
            insort(self._places, place, key=_preference)
