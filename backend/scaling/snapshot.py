"""What a scaling pass sees of one service: plain values, so that the service and the replay run the same code.

Times are seconds of one clock (any epoch); durations are seconds. `None` means "nobody knows".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from backend.instance import InstanceState
from backend.scaling.autoscaler import Autoscaler
from backend.scaling.cron import Scheduled
from backend.scaling.waiting import WaitingTasks
from backend.task import Kind


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A task that an instance has been given. `remaining` is the expected time to its end, from now."""

    id: str
    kind: Kind
    created_at: float
    started_at: float
    user: str = ""
    remaining: float | None = None


@dataclass(frozen=True, slots=True)
class InstanceView:
    """An instance. `slots`: how many queries it runs at once; a command takes all of them.

    `created_at` is the order to start it; `idle_since` the end of its last task, or its becoming ready.
    """

    id: str
    state: InstanceState
    created_at: float
    slots: int = 1
    running: tuple[RunningTask, ...] = ()
    idle_since: float | None = None
    loaded: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        return self.state in (InstanceState.IDLE, InstanceState.BUSY)

    @property
    def idle(self) -> bool:
        return self.state is InstanceState.IDLE and not self.running

    @property
    def counted(self) -> bool:
        """Whether it is capacity: a draining instance is not."""
        return self.ready or self.state is InstanceState.STARTING


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One service at one moment.

    `slots` is what a new instance would have.
    `cold_start` is the measured time from ordering an instance to its first task. `places` is how many instances
    the launcher can hold at once for this service, the present ones included, None for no such limit.
    `usage` is each user's recent GPU-seconds without what runs now (see `fairness.Usage`). `metrics` holds
    measures per instance that are not the queue's own (`qps`, `gpu`), under their names in the strategies.
    `scheduled` is what the calendar of the service says now, None where it has none. `loading` is how long an instance
    takes to load a model that it does not have. `stopped`: somebody has stopped the service.
    """

    now: float
    settings: Autoscaler
    waiting: WaitingTasks[Any] = field(default_factory=WaitingTasks)
    instances: tuple[InstanceView, ...] = ()
    slots: int = 1
    cold_start: float | None = None
    places: int | None = None
    usage: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    scheduled: Scheduled | None = None
    loading: float | None = None
    stopped: bool = False

    @property
    def counted(self) -> tuple[InstanceView, ...]:
        return tuple(instance for instance in self.instances if instance.counted)

    @property
    def least(self) -> int:
        """How many instances there are at least: what is scheduled, else the autoscaler's `min`."""
        target = self.scheduled.target if self.scheduled else None
        return self.settings.min if target is None else target

    @property
    def most(self) -> int:
        """How many instances there may be."""
        return max(self.settings.max, self.least)


@dataclass(frozen=True, slots=True)
class Assignment:
    """Give `task` to `instance`. `overtook` names earlier waiting tasks it passed to meet a warm model."""

    task: str
    instance: str
    overtook: tuple[str, ...] = ()


def after(snapshot: Snapshot, assignments: tuple[Assignment, ...]) -> Snapshot:
    """The snapshot as it will be once `assignments` are carried out."""
    if not assignments:
        return snapshot
    begun: dict[str, list[RunningTask]] = {}
    for made in assignments:
        task = snapshot.waiting.find(made.task)
        if task is not None:
            run = RunningTask(task.id, task.kind, task.created_at, snapshot.now, task.user, task.seconds)
            begun.setdefault(made.instance, []).append(run)
    return replace(
        snapshot,
        waiting=snapshot.waiting.without(made.task for made in assignments),
        instances=tuple(
            replace(i, state=InstanceState.BUSY, running=(*i.running, *begun[i.id]), idle_since=None)
            if i.id in begun
            else i
            for i in snapshot.instances
        ),
    )
