"""Snapshots of one service, built in a line: what scaling and dispatch are asked about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from backend.instance import InstanceState
from backend.scaling import InstanceView, RunningTask, Snapshot, WaitingTask, WaitingTasks, parse_autoscaler
from backend.task import Kind

NOW = 10_000.0


def waiting(
    name: str, user: str = "", *, since: float = 10.0, kind: Kind = "command", **more: Any
) -> WaitingTask:
    """A task put `since` seconds ago."""
    return WaitingTask(name, kind, NOW - since, user=user, **more)


def queue(
    count: int, user: str = "", *, seconds: float | None = 30.0, kind: Kind = "command"
) -> tuple[WaitingTask, ...]:
    """`count` tasks of one user, the oldest first, a second apart."""
    return tuple(
        waiting(f"{user}{n:03}", user, since=float(count - n), kind=kind, seconds=seconds)
        for n in range(count)
    )


def running(
    name: str, user: str = "", *, since: float = 5.0, left: float | None = 20.0, kind: Kind = "command"
) -> RunningTask:
    """A task that began `since` seconds ago."""
    return RunningTask(name, kind, NOW - since - 1, NOW - since, user=user, remaining=left)


def starting(name: str, *, since: float = 5.0, slots: int = 1) -> InstanceView:
    """An instance ordered `since` seconds ago."""
    return InstanceView(name, InstanceState.STARTING, NOW - since, slots)


def idle(name: str, *, since: float = 5.0, loaded: tuple[str, ...] = (), slots: int = 1) -> InstanceView:
    """An instance without work since `since` seconds."""
    return InstanceView(name, InstanceState.IDLE, NOW - 1_000, slots, idle_since=NOW - since, loaded=loaded)


def busy(
    name: str,
    *runs: RunningTask,
    slots: int = 1,
    loaded: tuple[str, ...] = (),
    draining: bool = False,
    age: float = 1_000.0,
) -> InstanceView:
    """An instance that runs `runs`, or one task of its own when none is named."""
    state = InstanceState.DRAINING if draining else InstanceState.BUSY
    return InstanceView(name, state, NOW - age, slots, runs or (running(f"on-{name}"),), loaded=loaded)


def numbered(tasks: Iterable[WaitingTask]) -> WaitingTasks[WaitingTask]:
    """Tasks in the order given."""
    return WaitingTasks(replace(task, index=number) for number, task in enumerate(tasks))


def snapshot(
    *parts: WaitingTask | InstanceView,
    now: float = NOW,
    autoscaler: dict[str, Any] | None = None,
    **more: Any,
) -> Snapshot:
    """A service with these tasks waiting, in this order, and these instances; `min` 0 and `max` 5 unless said."""
    return Snapshot(
        now=now,
        settings=parse_autoscaler({"min": 0, "max": 5, **(autoscaler or {})}),
        waiting=numbered(part for part in parts if isinstance(part, WaitingTask)),
        instances=tuple(part for part in parts if isinstance(part, InstanceView)),
        **more,
    )
