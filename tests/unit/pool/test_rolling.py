"""Which instance leaves next after an update: one after another, none with work in its hands."""

from __future__ import annotations

import random

import pytest

from backend.instance import Instance, InstanceState
from backend.pool.rolling import next_to_leave
from backend.service import parse

STARTING, IDLE, BUSY, DRAINING = (
    InstanceState.STARTING,
    InstanceState.IDLE,
    InstanceState.BUSY,
    InstanceState.DRAINING,
)
_NUMBERS = iter(range(10_000))


def one(state: InstanceState, version: str = "old", tasks: int = 0, name: str = "") -> Instance:
    number = next(_NUMBERS)
    held = tuple(f"task{n}" for n in range(tasks))
    return Instance(name or f"i{number}", "svc", state, float(number), tasks=held, version=version)


def test_nobody_leaves_who_runs_the_newest_or_did_not_say_what_it_runs() -> None:
    assert next_to_leave([one(IDLE, "new"), one(BUSY, "new", 1), one(IDLE, "")], "new", set()) is None


def test_an_idle_one_leaves_before_a_busy_one() -> None:
    here = [one(BUSY, tasks=1), one(IDLE, name="idle"), one(IDLE)]
    found = next_to_leave(here, "new", set())
    assert found is not None and found.id == "idle"


@pytest.mark.parametrize("wait_for", [one(STARTING, ""), one(DRAINING)])
def test_the_next_one_waits_until_the_last_one_s_place_is_taken(wait_for: Instance) -> None:
    assert next_to_leave([wait_for, one(IDLE), one(IDLE, "new")], "new", set()) is None


def test_instances_that_answer_queries_go_one_at_a_time() -> None:
    here = [one(DRAINING, tasks=2), one(BUSY, tasks=1), one(IDLE, "new")]
    assert next_to_leave(here, "new", set()) is None


def test_full_ones_all_leave_after_their_work_once_a_new_one_has_come_up() -> None:
    full = one(BUSY, tasks=1, name="full")
    here = [one(DRAINING, tasks=1), full]
    assert next_to_leave(here, "new", {"full"}) is None
    assert next_to_leave([*here, one(IDLE, "new")], "new", {"full"}) == full


def test_every_update_ends_with_new_instances_alone() -> None:
    """Whatever order they come free in: all are replaced, and those that answer queries one by one."""
    chance = random.Random(7)
    for _ in range(50):
        here = {f"{n}": one(chance.choice((IDLE, BUSY)), name=f"{n}") for n in range(4)}
        here = {
            name: each if each.state is IDLE else one(BUSY, tasks=1, name=name) for name, each in here.items()
        }
        for round_ in range(100):
            found = next_to_leave(list(here.values()), "new", set())
            if found is not None:
                here[found.id] = one(DRAINING, tasks=len(found.tasks), name=found.id)
            draining = [each for each in here.values() if each.state is DRAINING]
            assert len(draining) <= 1 + sum(bool(each.tasks) for each in draining)
            for each in list(here.values()):
                if each.state is DRAINING and (not each.tasks or chance.random() < 0.5):
                    del here[each.id]
                    here[f"new{round_}{each.id}"] = one(STARTING, "", name=f"new{round_}{each.id}")
                elif each.state is STARTING:
                    here[each.id] = one(IDLE, "new", name=each.id)
                elif each.state is BUSY and chance.random() < 0.3:
                    here[each.id] = one(IDLE, name=each.id)
        assert {each.version for each in here.values()} == {"new"}


@pytest.mark.parametrize(
    ("change", "concerns"),
    [
        ({"containers": [{"image": "b"}]}, True),
        ({"containers": [{"image": "a", "env": [{"name": "X", "value": "1"}]}]}, True),
        ({"rpc": {"worker_threads": 2}}, True),
        ({"storage": [{"mount_path": "/data"}]}, True),
        ({"metadata.gpu": 2}, True),
        ({"rpc": {"keepalive": 5}}, False),
        ({"autoscaler": {"min": 0, "max": 7}}, False),
        ({"metadata.autoscaler.min": 0}, False),
        ({"token": "other"}, False),
        ({"queue.max_delivery": 2}, False),
        ({"metadata.instance": 3}, False),
        ({"front_end": {"script": "python x.py"}}, False),
    ],
)
def test_only_what_an_instance_is_started_by_makes_it_outdated(
    change: dict[str, object], concerns: bool
) -> None:
    base = {"metadata": {"name": "svc", "type": "ScalableJob"}, "containers": [{"image": "a"}]}
    before, after = parse(base).description, parse({**base, **change}).description
    assert (before.version != after.version) is concerns
    dotted = {"metadata.name": "svc", "metadata.type": "ScalableJob", "containers": [{"image": "a"}]}
    assert parse(dotted).description.version == before.version
