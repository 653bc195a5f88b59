"""The expected start of each waiting task."""

from __future__ import annotations

import pytest

from backend.scaling import expected_starts
from tests.support.scaling_world import NOW, busy, idle, queue, running, snapshot, starting, waiting


def starts(*parts: object, **more: object) -> dict[str, tuple[int, float | None]]:
    """Position, and seconds from now, of each task."""
    found = expected_starts(snapshot(*parts, **more))  # type: ignore[arg-type]
    return {
        task: (e.position, None if e.start is None else pytest.approx(e.start - NOW))
        for task, e in found.items()
    }


def test_six_trainings_behind_one_that_runs() -> None:
    found = starts(busy("i", running("r", left=100.0)), *queue(3, seconds=600.0))
    assert found == {"000": (1, 100.0), "001": (2, 700.0), "002": (3, 1300.0)}


def test_two_instances_take_turns() -> None:
    parts = (busy("i", running("r", left=100.0)), busy("j", running("s", left=30.0)))
    assert starts(*parts, *queue(3, seconds=60.0)) == {"000": (1, 30.0), "001": (2, 90.0), "002": (3, 100.0)}


def test_a_starting_instance_is_counted_from_its_order() -> None:
    assert starts(starting("s", since=20.0), waiting("t"), cold_start=60.0) == {"t": (1, 40.0)}


def test_a_start_that_is_late_is_taken_to_be_about_to_come() -> None:
    assert starts(starting("s", since=90.0), waiting("t"), cold_start=60.0) == {"t": (1, 0.0)}


def test_behind_a_run_of_unknown_length_nothing_is_promised() -> None:
    parts = (busy("i", running("r", left=None)), waiting("t"))
    assert starts(*parts) == {"t": (1, None)}
    # Nor behind a waiting task that nobody can say the length of.
    parts = (idle("i"), *queue(2, seconds=None))
    assert starts(*parts) == {"000": (1, 0.0), "001": (2, None)}


def test_a_run_over_its_time_is_taken_to_end_now() -> None:
    assert starts(busy("i", running("r", left=-5.0)), waiting("t")) == {"t": (1, 0.0)}


def test_a_draining_instance_takes_nothing() -> None:
    assert starts(busy("i", draining=True), waiting("t")) == {"t": (1, None)}


def test_a_task_held_back_by_its_users_limit_stands_last() -> None:
    parts = (busy("i", running("r", "ana", left=10.0)), waiting("a", "ana"), waiting("b", "bob", since=1))
    assert starts(*parts, autoscaler={"max_running_per_user": 1}) == {"b": (1, 10.0), "a": (2, None)}


def test_queries_take_slots_and_a_command_all_of_them() -> None:
    instance = busy("i", running("q", left=5.0, kind="query"), running("p", left=50.0, kind="query"), slots=3)
    query, command = waiting("query", kind="query", seconds=8.0), waiting("command", since=1)
    assert starts(instance, query, command, slots=3) == {"query": (1, 0.0), "command": (2, 50.0)}
