"""The table of instance states."""

from __future__ import annotations

import pytest

from backend.instance import INSTANCE_TRANSITIONS, InstanceState


def test_gone_is_final_and_reachable_from_everywhere_else() -> None:
    assert INSTANCE_TRANSITIONS[InstanceState.GONE] == frozenset()
    for state in set(InstanceState) - {InstanceState.GONE}:
        assert InstanceState.GONE in INSTANCE_TRANSITIONS[state]


def test_a_draining_instance_never_works_again() -> None:
    assert INSTANCE_TRANSITIONS[InstanceState.DRAINING] == {InstanceState.GONE}


@pytest.mark.parametrize("state", [InstanceState.STARTING, InstanceState.IDLE, InstanceState.BUSY])
def test_every_other_one_can_be_drained(state: InstanceState) -> None:
    assert InstanceState.DRAINING in INSTANCE_TRANSITIONS[state]


def test_nothing_goes_back_to_starting() -> None:
    assert all(InstanceState.STARTING not in after for after in INSTANCE_TRANSITIONS.values())
