"""A query that failed on an instance goes elsewhere where there is room."""

from __future__ import annotations

from backend.instance import InstanceState
from backend.scaling import InstanceView, RunningTask, Snapshot, WaitingTask, WaitingTasks, parse_autoscaler
from backend.scaling.dispatch import pick
from backend.task import Kind


def given(*instances: InstanceView, kind: Kind = "query", avoid: str = "a") -> str | None:
    """The instance that the one waiting task is handed to."""
    snapshot = Snapshot(
        now=100.0,
        settings=parse_autoscaler({"min": 0, "max": 5}),
        waiting=WaitingTasks([WaitingTask("t", kind, 0.0, avoid=avoid)]),
        instances=instances,
        slots=2,
    )
    return next((a.instance for a in pick(snapshot).assignments), None)


def idle(name: str, since: float) -> InstanceView:
    return InstanceView(name, InstanceState.IDLE, 0.0, slots=2, idle_since=since)


def busy(name: str, queries: int) -> InstanceView:
    running = tuple(RunningTask(f"{name}{n}", "query", 0.0, 0.0) for n in range(queries))
    return InstanceView(name, InstanceState.BUSY, 0.0, slots=2, running=running)


def test_another_idle_instance_is_preferred() -> None:
    assert given(idle("a", 90.0), idle("b", 10.0)) == "b"
    assert given(idle("a", 90.0), idle("b", 10.0), avoid="") == "a"


def test_a_busy_one_with_room_is_preferred_to_where_it_failed() -> None:
    assert given(idle("a", 90.0), busy("b", 1)) == "b"


def test_it_does_not_wait_for_another_instance() -> None:
    assert given(idle("a", 90.0)) == "a"
    assert given(idle("a", 90.0), busy("b", 2)) == "a"


def test_a_command_takes_any_idle_instance() -> None:
    assert given(idle("a", 90.0), busy("b", 1), kind="command") == "a"
