"""Instances of the store as a decision sees them."""

from __future__ import annotations

import pytest

from backend.instance import Instance, InstanceState
from backend.pool.learnt import Learnt
from backend.pool.views import instance_view


def instance(**values: object) -> Instance:
    return Instance("i", "svc", InstanceState.IDLE, 0.0, slots=3, **{"lease_left": 5.0, **values})  # type: ignore[arg-type]


def test_an_idle_instance_with_a_lease_is_a_place() -> None:
    view = instance_view(instance(), {}, Learnt({}), 10.0)
    assert (view.state, view.slots) == (InstanceState.IDLE, 3)


@pytest.mark.parametrize("why", [{"unfit": True}, {"lease_left": 0.0}])
def test_one_that_cannot_take_a_task_now_is_none(why: dict[str, object]) -> None:
    view = instance_view(instance(**why), {}, Learnt({}), 10.0)
    assert (view.state, view.slots) == (InstanceState.BUSY, 1)
