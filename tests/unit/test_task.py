"""The table of task states."""

from __future__ import annotations

import pytest

from backend.task import TRANSITIONS, TaskState


def test_a_task_that_has_ended_stays_as_it_ended() -> None:
    ended = {state for state in TaskState if state.final}
    assert ended == {TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.DEAD}


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(TaskState)


@pytest.mark.parametrize("state", [state for state in TaskState if not state.final])
def test_every_state_that_is_no_end_can_be_cancelled_and_leads_to_an_end(state: TaskState) -> None:
    assert TaskState.CANCELLED in TRANSITIONS[state]


@pytest.mark.parametrize("state", [TaskState.ASSIGNED, TaskState.RUNNING])
def test_what_an_instance_holds_can_go_back_to_the_queue(state: TaskState) -> None:
    assert TaskState.WAITING in TRANSITIONS[state]


def test_a_task_runs_only_after_it_was_assigned() -> None:
    before = {state for state, after in TRANSITIONS.items() if TaskState.RUNNING in after}
    assert before == {TaskState.ASSIGNED}


def test_only_a_running_task_succeeds_fails_or_is_given_up() -> None:
    for end in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.DEAD):
        assert {state for state, after in TRANSITIONS.items() if end in after} == {TaskState.RUNNING}
