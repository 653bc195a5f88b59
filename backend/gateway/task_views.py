"""Records of the store as views."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from backend import paths
from backend.accounts import Caller, Limits
from backend.accounts.account import over
from backend.instance import Instance, InstanceState
from backend.records import FileWritten
from backend.store import instances, plans, services, task_queue, tasks, usage
from backend.store.connection import AsyncStore
from backend.store.outputs import Point
from backend.store.plans import Plan
from backend.store.usage import Usage
from backend.task import Task, TaskState
from backend.views import AttemptView, FileView, InstanceView, ProgressView, TaskView, VitalsView, read


def task_view(task: Task, plan: Plan | None, waits_for: str = "") -> TaskView:
    """A task as the API shows it; `plan` is what is expected of a waiting one, `waits_for` what keeps it."""
    if task.state is not TaskState.WAITING:
        plan = None
    return TaskView(
        **{name: getattr(task, name) for name in _SAME},
        request_id=task.request_id or task.id,
        state=task.state.value,
        position=plan.position if plan else None,
        expected_start=plan.expected_start if plan else None,
        attempts=[AttemptView(**dataclasses.asdict(attempt)) for attempt in task.attempts],
        progress=ProgressView(**dataclasses.asdict(task.progress)) if task.progress else None,
        waits_for=waits_for,
        command=_command(task),
        argv=list(task.argv) if task.argv is not None else None,
    )


def outline(view: TaskView) -> TaskView:
    """What everybody who shares a queue sees of another's task: whose it is, its state and place, no contents.

    A picture's name is its prompt, so it has none here.
    """
    return dataclasses.replace(
        view,
        request_id="",
        name=view.name if view.kind == "command" else "",
        reason="",
        attempts=[dataclasses.replace(attempt, reason=None) for attempt in view.attempts],
        output="",
        tags={},
        command="",
        argv=None,
        details={},
        log_lines=0,
    )


def _command(task: Task) -> str:
    """The payload as text; of a large query, which may carry a picture, the beginning."""
    if task.argv is not None:
        return shlex.join(task.argv)
    data = task.data if task.kind == "command" else task.data[:_SHOWN]
    return data.decode("utf-8", "replace")


_SHOWN = 64 << 10
_SAME = (
    *("id", "service", "index", "kind", "name", "user", "priority", "reason", "phase", "created_at"),
    *("assigned_at", "started_at", "finished_at", "attempt", "instance", "exit_code", "cancel", "output"),
    *("tags", "details", "log_lines"),
)


_THEIR_LIMIT = "its user has reached a limit"


async def shown_one(store: AsyncStore, caller: Caller, task: Task) -> TaskView:
    """One task with its place in the queue, as the caller may see it."""
    return (await shown(store, caller, [task]))[0]


async def shown(store: AsyncStore, caller: Caller, found: Sequence[Task]) -> list[TaskView]:
    """Tasks as the caller may see them, with their places and what keeps those that wait."""
    plans_of, held = await _plans(store, found), await _held_up(store, found)
    kept = await _kept(store, {task.service for task in found if task.state is TaskState.WAITING})
    views = []
    for task in found:
        who = "you" if task.user == caller.user else task.user
        has, limits = held.get(task.user, (Usage(), Limits()))
        waiting = task.state is TaskState.WAITING
        limit = over(limits, has.running, has.gpu_seconds, who) if waiting else ""
        all_wait = kept.get(task.service, "") if waiting else ""
        owned = caller.owns(task)
        waits = (limit if owned else limit and _THEIR_LIMIT) or all_wait
        view = task_view(task, plans_of.get(task.id), waits)
        views.append(view if owned else outline(view))
    return views


def keeps(stopped: bool, instances: Iterable[Instance]) -> str:
    """What keeps all tasks of a service that wait: it is paused, or none of its instances takes any; '' for neither."""
    if stopped:
        return "the queue is paused"
    up = [each for each in instances if each.state in (InstanceState.IDLE, InstanceState.BUSY)]
    return up[0].reason if up and all(each.unfit for each in up) else ""


async def _kept(store: AsyncStore, names: Iterable[str]) -> dict[str, str]:
    """Of these services those whose tasks all wait for something, with what it is."""
    wanted = sorted(names)
    if not wanted:
        return {}
    here = await store.run(instances.present())
    known = zip(wanted, await store.run_all([services.maybe(name) for name in wanted]), strict=True)
    return {name: keeps(each.stopped, [i for i in here if i.service == name]) for name, each in known if each}


async def _held_up(store: AsyncStore, found: Sequence[Task]) -> dict[str, tuple[Usage, Limits]]:
    """What the users of waiting tasks have and may have, of those with limits."""
    users = sorted({task.user for task in found if task.state is TaskState.WAITING and task.user})
    return await store.run(usage.held_up(users)) if users else {}


async def _plans(store: AsyncStore, found: Sequence[Task]) -> dict[str, Plan | None]:
    """Places of those that wait: the supervisor's plans, or, before there are any, the queue's order."""
    known: dict[str, Plan | None] = {}
    for service in {task.service for task in found if task.state is TaskState.WAITING}:
        ids = [task.id for task in found if task.service == service and task.state is TaskState.WAITING]
        known |= dict(zip(ids, await store.run(plans.of(service, ids)), strict=True))
    new = [task for task in found if task.id in known and known[task.id] is None]
    places = await store.run_all([task_queue.place(task.service, task.id) for task in new]) if new else []
    for task, place in zip(new, places, strict=True):
        known[task.id] = None if place is None else Plan(place + 1, None)
    return known


async def load(store: AsyncStore, ids: Iterable[str]) -> list[Task]:
    """The tasks of these ids that exist, in this order."""
    found = await store.run_all([tasks.maybe(task_id) for task_id in ids])
    return [task for task in found if task is not None]


def point_view(point: Point) -> dict[str, float | int | None]:
    """A point of the curve."""
    number, progress = point
    return {"n": number, **dataclasses.asdict(progress)}


def file_views(data_dir: Path, task: str, written: Iterable[FileWritten]) -> list[FileView]:
    """Files as the API shows them: relative to the job folder; what lies elsewhere cannot be fetched by its task."""
    folder = paths.job_dir(data_dir, task)
    views = []
    for file in written:
        path = folder / file.path
        if not path.is_relative_to(folder):
            continue
        try:
            stat = path.stat()
        except OSError:
            stat = None
        views.append(
            FileView(
                kind=file.kind,
                path=path.relative_to(folder).as_posix(),
                step=file.step,
                epoch=file.epoch,
                label=file.label,
                size=stat.st_size if stat else None,
                modified=stat.st_mtime if stat else None,
            )
        )
    return views


def instance_view(instance: Instance) -> InstanceView:
    """An instance as the API shows it."""
    place = instance.place
    return InstanceView(
        id=instance.id,
        service=instance.service,
        state=instance.state.value,
        slots=instance.slots,
        tasks=list(instance.tasks),
        created_at=instance.created_at,
        ready_at=instance.ready_at,
        idle_since=instance.idle_since,
        device=instance.device,
        loaded=list(instance.loaded),
        host=place.host if place else "",
        pid=place.pid if place else None,
        completed=instance.completed,
        reason=instance.reason,
        lease_left=instance.lease_left,
        vitals=read(VitalsView, instance.vitals) if instance.vitals else None,
    )
