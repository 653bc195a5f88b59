"""From a wish to acts: bounds, the order of scaling in, and what is never done."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from backend.instance import InstanceState
from backend.scaling import Decision, InstanceView, Memory, Snapshot, decide, plan
from tests.support.scaling_world import NOW, busy, idle, queue, running, snapshot, starting, waiting


def decision(*parts: Any, **more: Any) -> Decision:
    return decide(snapshot(*parts, **more), Memory())[0]


def test_starting_instances_go_first_the_newest_before_the_others() -> None:
    made = decision(
        starting("old", since=50),
        starting("new", since=5),
        idle("a", since=500),
        idle("b", since=900),
        busy("c"),
        autoscaler={"max": 3},
    )
    assert (made.cancel, made.stop, made.drain) == (("new", "old"), ("b", "a"), ())


def test_busy_instances_drain_the_newest_first_and_are_never_stopped() -> None:
    made = decision(busy("old", age=900), busy("mid", age=500), busy("new", age=100), autoscaler={"max": 1})
    assert (made.cancel, made.stop, made.drain) == ((), (), ("new", "mid"))
    assert "to end when the work there does" in made.why


def test_a_draining_instance_is_neither_capacity_nor_chosen_again() -> None:
    made = decision(busy("d", draining=True), queue(1, seconds=600)[0])
    assert (made.current, made.start, made.drain) == (0, 1, ())


def test_max_zero_empties_the_pool() -> None:
    made = decision(starting("s"), idle("i"), busy("b"), queue(1)[0], autoscaler={"max": 0})
    assert (made.cancel, made.stop, made.drain, made.start) == (("s",), ("i",), ("b",), 0)


def test_no_more_are_started_than_the_hardware_holds() -> None:
    made = decision(busy("a"), *queue(9, seconds=600), places=3)
    assert (made.start, made.why_not_more) == (2, "the hardware has room for 3")
    made = decision(busy("a"), busy("d", draining=True), *queue(9, seconds=600), places=3)
    assert made.start == 1


def test_a_pass_hands_out_before_it_scales() -> None:
    result = plan(snapshot(idle("a"), waiting("t")), Memory())
    assert [(a.task, a.instance) for a in result.assignments] == [("t", "a")]
    assert result.decision.start == 0


states = st.sampled_from(["starting", "idle", "busy", "draining"])


@st.composite
def services(draw: st.DrawFn) -> Snapshot:
    parts: list[Any] = []
    for number, state in enumerate(draw(st.lists(states, max_size=8))):
        name, age = f"i{number}", draw(st.floats(0, 500))
        if state == "starting":
            parts.append(starting(name, since=age))
        elif state == "idle":
            parts.append(idle(name, since=age))
        else:
            left = draw(st.none() | st.floats(0, 900))
            parts.append(busy(name, running(f"r{number}", left=left), draining=state == "draining", age=age))
    seconds = draw(st.none() | st.floats(1, 900))
    parts += queue(draw(st.integers(0, 12)), seconds=seconds)
    least = draw(st.integers(0, 3))
    said: dict[str, Any] = {"min": least, "max": least + draw(st.integers(0, 5))}
    if draw(st.booleans()):
        said |= {
            "strategies": {"avg_waiting_length": draw(st.integers(1, 4))},
            "count_running": draw(st.booleans()),
        }
    else:
        said["comfort"] = draw(st.floats(0, 1))
    cold, places = draw(st.none() | st.floats(0, 120)), draw(st.none() | st.integers(0, 10))
    return snapshot(*parts, autoscaler=said, cold_start=cold, places=places)


@settings(max_examples=400, deadline=None)
@given(services(), st.lists(st.floats(0, NOW), max_size=16).map(sorted))
def test_whatever_is_seen_the_decision_is_sound(seen: Snapshot, arrivals: list[float]) -> None:
    result = plan(seen, Memory(arrivals=tuple(arrivals)))
    made = result.decision
    by_id: dict[str, InstanceView] = {i.id: i for i in seen.instances}
    given_to = {a.instance for a in result.assignments}
    counted = [i for i in seen.instances if i.counted]
    assert made.current == len(counted)
    assert all(by_id[name].state is InstanceState.STARTING for name in made.cancel)
    assert all(by_id[name].idle and name not in given_to for name in made.stop)
    assert all(by_id[name].state is not InstanceState.DRAINING for name in made.drain)
    assert not (made.start and (made.cancel or made.stop or made.drain))
    gone = len(made.cancel) + len(made.stop) + len(made.drain)
    assert len(counted) + made.start - gone == made.desired <= seen.settings.max
    room = (
        99 if seen.places is None else max(len(counted), seen.places - (len(seen.instances) - len(counted)))
    )
    assert made.desired >= min(seen.settings.min, room)
    assert made.desired <= max(room, 0)
    assert made.why
    assert made.wake_at is None or made.wake_at > seen.now
