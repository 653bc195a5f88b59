"""Tasks and instances of the store as a decision sees them, with what was learnt about how long such take."""

from __future__ import annotations

from collections.abc import Mapping

from backend.instance import Instance, InstanceState
from backend.pool.learnt import Learnt
from backend.scaling import InstanceView, RunningTask, WaitingTask
from backend.store.briefs import Brief


def waiting_task(task: Brief, learnt: Learnt) -> WaitingTask:
    """A waiting task, and how long it should run."""
    return WaitingTask(
        id=task.id,
        kind=task.kind,
        created_at=task.created_at,
        user=task.user,
        priority=task.priority,
        seconds=learnt.expected(task),
        models=_models(task),
        avoid=task.last_instance,
        index=task.index,
    )


def instance_view(
    instance: Instance, active: Mapping[str, Brief], learnt: Learnt, now: float
) -> InstanceView:
    """An instance with what it runs, and what is left of that."""
    held = [active[task] for task in instance.tasks if task in active]
    # One that is up without being able to work is taken for busy: capacity, but no place for a task. So is one whose
    # lease is over and that is not judged yet: the store would refuse it the first in line, and give a later one.
    away = instance.unfit or instance.lease_left <= 0
    return InstanceView(
        id=instance.id,
        state=InstanceState.BUSY if away and instance.state is InstanceState.IDLE else instance.state,
        created_at=instance.created_at,
        slots=max(1, len(held)) if away else instance.slots,
        running=tuple(
            RunningTask(
                id=b.id,
                kind=b.kind,
                created_at=b.created_at,
                started_at=b.started_at or b.assigned_at or now,
                user=b.user,
                remaining=learnt.remaining(b, now),
            )
            for b in held
        ),
        idle_since=instance.idle_since,
        loaded=instance.loaded,
    )


def _models(task: Brief) -> tuple[str, ...]:
    """The models that a task names; what somebody else wrote under that name is none."""
    named = task.details.get("models")
    return tuple(model for model in named if isinstance(model, str)) if isinstance(named, list) else ()
