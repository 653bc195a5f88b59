"""What keeps the tasks of a service that wait."""

from __future__ import annotations

import pytest

from backend.gateway.task_views import keeps
from backend.instance import Instance, InstanceState

FULL = "the disk is too full"


def instance(state: InstanceState = InstanceState.IDLE, *, unfit: bool = False) -> Instance:
    return Instance("i", "svc", state, 0.0, unfit=unfit, reason=FULL if unfit else "")


@pytest.mark.parametrize(
    ("stopped", "here", "said"),
    [
        (True, [instance()], "the queue is paused"),
        (False, [instance(unfit=True), instance(InstanceState.BUSY, unfit=True)], FULL),
        (False, [instance(unfit=True), instance(InstanceState.STARTING)], FULL),
        (False, [instance(unfit=True), instance()], ""),
        (False, [instance()], ""),
        (False, [], ""),
    ],
)
def test_what_keeps_all_of_them(stopped: bool, here: list[Instance], said: str) -> None:
    assert keeps(stopped, here) == said
