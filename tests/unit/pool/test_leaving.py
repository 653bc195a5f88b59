"""Who leaves when there are too many."""

from __future__ import annotations

from backend.instance import Instance, InstanceState
from backend.pool.leaving import leaving


def instance(name: str, state: InstanceState = InstanceState.IDLE) -> Instance:
    launcher = "manual" if name.startswith("box") else "local"
    return Instance(name, "svc", state, 0.0, launcher=launcher)


def test_one_s_own_leave_as_decided() -> None:
    assert leaving(["a"], [instance("a"), instance("box1")], own="local", most=3) == ["a"]


def test_an_idle_one_of_one_s_own_leaves_in_the_place_of_a_box() -> None:
    assert leaving(["box1"], [instance("a"), instance("box1")], own="local", most=3) == ["a"]


def test_nobody_leaves_in_the_place_of_a_box_while_all_are_at_work() -> None:
    present = [instance("a", InstanceState.BUSY), instance("box1")]
    assert leaving(["box1"], present, own="local", most=3) == []


def test_boxes_beyond_the_most_leave() -> None:
    present = [instance("box1"), instance("box2")]
    assert leaving(["box1", "box2"], present, own="local", most=1) == ["box1"]
    assert leaving(["box1", "box2"], present, own="local", most=0) == ["box1", "box2"], (
        "as one that is stopped"
    )


def test_nobody_is_named_twice() -> None:
    present = [instance("a"), instance("box1"), instance("box2")]
    assert leaving(["a", "box1"], present, own="local", most=3) == ["a"]
