"""A trace through the live dispatch and policy, with a virtual clock.

One task per instance, first come first served; run times are guessed only from what has finished. Every arrival, end
of a task and end of a boot is one pass, as in the supervisor, and so is `wake_at` of a decision.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, takewhile
from typing import Any, Protocol

from backend.instance import InstanceState
from backend.scaling.autoscaler import Autoscaler
from backend.scaling.estimate import Durations, Estimator
from backend.scaling.memory import Memory
from backend.scaling.offline import offline_optimum
from backend.scaling.plot import Sample
from backend.scaling.policy import plan
from backend.scaling.snapshot import Assignment, InstanceView, RunningTask, Snapshot
from backend.scaling.trace import TraceTask
from backend.scaling.waiting import WaitingTask, WaitingTasks


@dataclass(frozen=True, slots=True)
class Moves:
    """What a rule does in one pass. `remove` names starting or idle instances, `drain` busy ones.

    `kill` is for rivals that stop busy instances: their tasks go back to the queue's head.
    """

    assignments: tuple[Assignment, ...] = ()
    start: int = 0
    remove: tuple[str, ...] = ()
    drain: tuple[str, ...] = ()
    kill: tuple[str, ...] = ()
    wake_at: float | None = None


class Rule(Protocol):
    """A dispatch and scaling rule under replay. It may keep state of its own."""

    def moves(self, snapshot: Snapshot) -> Moves: ...


class LiveRule:
    """The rule that the supervisor runs."""

    def __init__(self) -> None:
        self._memory = Memory()

    def moves(self, snapshot: Snapshot) -> Moves:
        result = plan(snapshot, self._memory)
        self._memory = result.memory
        made = result.decision
        return Moves(result.assignments, made.start, made.cancel + made.stop, made.drain, (), made.wake_at)


@dataclass(frozen=True, slots=True)
class World:
    """What a replay assumes about everything but the rule.

    `cold_start`: seconds from the order to an instance's first task; with `boot_sigma`, log-normal with this mean.
    `estimates`: whether run times are guessed at all. `progress`: relative error with which running tasks tell what
    is left of them, None where they do not. `switch`: seconds to load a task's base model on an instance that has
    another one; each keeps the last `models_kept`; `affinity`: whether dispatch is told which has which.
    """

    cold_start: float
    boot_sigma: float = 0.0
    estimates: bool = True
    progress: float | None = None
    switch: float = 0.0
    affinity: bool = True
    models_kept: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """A replay's figures: `cost_ratio` over the exact zero-wait optimum; waits in seconds beyond the run time.

    `switches`: how often an instance had to load another base model; `overtaken`: the most younger tasks that began
    before one task.
    """

    cost_ratio: float
    wait_mean: float
    wait_p50: float
    wait_p95: float
    wait_p99: float
    wait_max: float
    starts: int
    kills: int
    switches: int
    overtaken: int


SETTLING = 86_400.0
"""Seconds after the last task's end at which a rule that still changes its mind is no longer listened to."""


@dataclass(slots=True)
class _Instance:
    view: InstanceView
    task: int | None = None
    until: float = 0.0


class Replay:
    """One run of `trace` under `rule`; `run` gives the figures, `samples` then holds the course."""

    def __init__(self, trace: Sequence[TraceTask], rule: Rule, settings: Autoscaler, world: World) -> None:
        self._trace = trace
        self._rule = rule
        self._settings = settings
        self._world = world
        self._random = random.Random(world.seed)
        self._order = count()
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        # An entry has no run time: that is guessed when it is looked at.
        self._waiting = WaitingTasks[WaitingTask](view=self._guessed)
        self._instances: dict[str, _Instance] = {}
        self._estimator = Estimator()
        self._boots = Durations(size=20)
        self._waits: list[float] = []
        self._last_end = 0.0
        self._cost = 0.0
        self._starts = 0
        self._kills = 0
        self._switches = 0
        self._overtaken = Counter[str]()
        self.samples: list[Sample] = []

    def run(self) -> Outcome:
        """Replay until the last task has ended and the rule wants no further change."""
        for index, task in enumerate(self._trace):
            self._at(task.arrival, partial(self._arrive, index))
        wake: float | None = None
        while len(self._waits) < len(self._trace) or (self._instances and wake is not None):
            due = min(self._events[0][0] if self._events else math.inf, math.inf if wake is None else wake)
            if math.isinf(due) or (len(self._waits) == len(self._trace) and due > self._last_end + SETTLING):
                break
            while self._events and self._events[0][0] <= due:
                heapq.heappop(self._events)[2](due)
            wake = self._pass(due)
        for instance in tuple(self._instances):
            self._remove(max(self._last_end, self._instances[instance].view.created_at), instance)
        return self._outcome()

    def _at(self, time: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), action))

    def _pass(self, now: float) -> float | None:
        moves = self._rule.moves(self._snapshot(now))
        for assignment in moves.assignments:
            self._begin(now, int(assignment.task), self._instances[assignment.instance])
        for instance in moves.kill:
            self._kill(now, instance)
        for instance in moves.remove:
            self._remove(now, instance)
        for instance in moves.drain:
            self._change(instance, state=InstanceState.DRAINING)
        for _ in range(moves.start):
            self._start(now)
        self._sample(now)
        return moves.wake_at

    def _snapshot(self, now: float) -> Snapshot:
        return Snapshot(
            now=now,
            settings=self._settings,
            waiting=self._waiting,
            instances=tuple(self._view(now, instance) for instance in self._instances.values()),
            cold_start=self._boots.median,
            loading=self._world.switch if self._world.switch and self._world.affinity else None,
        )

    def _guessed(self, entry: WaitingTask) -> WaitingTask:
        task = self._trace[int(entry.id)]
        seconds = self._estimator.expected(task.key) if self._world.estimates else None
        return replace(entry, seconds=seconds)

    def _view(self, now: float, instance: _Instance) -> InstanceView:
        if instance.task is None:
            return instance.view
        (run,) = instance.view.running
        remaining = self._remaining(now, run.started_at, instance)
        return replace(instance.view, running=(replace(run, remaining=remaining),))

    def _remaining(self, now: float, started_at: float, instance: _Instance) -> float | None:
        if self._world.progress is not None:
            error = self._random.uniform(-self._world.progress, self._world.progress)
            return (instance.until - now) * (1 + error)
        if not self._world.estimates or instance.task is None:
            return None
        return self._estimator.remaining(self._trace[instance.task].key, now - started_at)

    def _arrive(self, index: int, now: float) -> None:
        self._put(index, index)

    def _put(self, index: int, place: int) -> None:
        task = self._trace[index]
        models = base_model(task) if self._world.affinity and self._world.switch else ()
        self._waiting.put(WaitingTask(str(index), "command", task.arrival, models=models, index=place))

    def _start(self, now: float) -> None:
        self._starts += 1
        name = f"i{self._starts}"
        self._instances[name] = _Instance(InstanceView(name, InstanceState.STARTING, now))
        boot = self._world.cold_start
        if self._world.boot_sigma:
            sigma = self._world.boot_sigma
            boot *= math.exp(self._random.gauss(0.0, sigma) - sigma**2 / 2)
        self._at(now + boot, partial(self._ready, name))

    def _ready(self, name: str, now: float) -> None:
        if name in self._instances:
            self._boots.add(now - self._instances[name].view.created_at)
            self._change(name, state=InstanceState.IDLE, idle_since=now)

    def _begin(self, now: float, index: int, instance: _Instance) -> None:
        task = self._trace[index]
        for earlier in takewhile(lambda other: other.id != str(index), self._waiting):
            self._overtaken[earlier.id] += 1
        self._waiting.take(str(index))
        loading = self._load(instance, base_model(task)) if self._world.switch else 0.0
        instance.task = index
        instance.until = now + loading + task.service
        run = RunningTask(str(index), "command", task.arrival, now)
        self._change(instance.view.id, state=InstanceState.BUSY, running=(run,), idle_since=None)
        self._at(instance.until, partial(self._end, instance.view.id, index))

    def _load(self, instance: _Instance, model: tuple[str, ...]) -> float:
        """Seconds until `instance` has `model`."""
        had = instance.view.loaded
        if not model or had[:1] == model:
            return 0.0
        others = tuple(name for name in had if name not in model)
        self._change(instance.view.id, loaded=(*model, *others)[: self._world.models_kept])
        if model[0] in had:
            return 0.0
        self._switches += 1
        return self._world.switch

    def _end(self, name: str, index: int, now: float) -> None:
        instance = self._instances.get(name)
        if instance is None:
            return
        task = self._trace[index]
        self._waits.append(now - task.arrival - task.service)
        self._last_end = now
        self._estimator.finished(task.key, task.service)
        if instance.view.state is InstanceState.DRAINING:
            self._remove(now, name)
            return
        instance.task = None
        self._change(name, state=InstanceState.IDLE, running=(), idle_since=now)

    def _kill(self, now: float, name: str) -> None:
        index = self._instances[name].task
        if index is not None:
            self._kills += 1
            self._put(index, -self._kills)
        self._remove(now, name)

    def _remove(self, now: float, name: str) -> None:
        self._cost += now - self._instances.pop(name).view.created_at

    def _change(self, name: str, **changes: Any) -> None:
        instance = self._instances[name]
        instance.view = replace(instance.view, **changes)

    def _sample(self, now: float) -> None:
        states = [instance.view.state for instance in self._instances.values()]
        sample = Sample(
            now,
            len(self._waiting),
            states.count(InstanceState.STARTING),
            states.count(InstanceState.IDLE),
            states.count(InstanceState.BUSY) + states.count(InstanceState.DRAINING),
        )
        self.samples.append(sample)

    def _outcome(self) -> Outcome:
        waits = sorted(self._waits)
        return Outcome(
            cost_ratio=self._cost / offline_optimum(self._trace, self._world.cold_start).cost,
            wait_mean=sum(waits) / len(waits),
            wait_p50=quantile(waits, 0.50),
            wait_p95=quantile(waits, 0.95),
            wait_p99=quantile(waits, 0.99),
            wait_max=waits[-1],
            starts=self._starts,
            kills=self._kills,
            switches=self._switches,
            overtaken=max(self._overtaken.values(), default=0),
        )


def base_model(task: TraceTask) -> tuple[str, ...]:
    """The base model that a task needs, as a key; empty where the trace names none."""
    return tuple(part for part in task.key[:1] if part.startswith("base_model="))


def quantile(ordered: Sequence[float], share: float) -> float:
    """The quantile of values in ascending order, interpolated linearly."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def replay(
    trace: Sequence[TraceTask], settings: Autoscaler, world: World, rule: Rule | None = None
) -> Outcome:
    """The figures of one replay, under the live rule unless another is given."""
    return Replay(trace, rule or LiveRule(), settings, world).run()
