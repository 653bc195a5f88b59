"""Deploying, reading and removing services."""

from __future__ import annotations

import pytest

from backend.deploy import deploy
from backend.errors import InvalidArgument, NotFound
from backend.instance import InstanceState
from backend.service import parse
from backend.store import instances, pools, services, task_queue, tasks
from backend.store.keys import key
from backend.store.tasks import NewTask, Plan
from backend.task import TaskState
from tests.support.store_world import World


def test_a_service_keeps_its_token_and_its_age_over_updates(world: World) -> None:
    before = world.store.run(services.get(world.service))
    world.describe(autoscaler={"min": 0, "max": 3})
    after = world.store.run(services.get(world.service))
    assert len(before.token) >= 24
    assert (after.token, after.created_at) == (before.token, before.created_at)
    assert after.description.autoscaler == {"min": 0, "max": 3}
    world.describe(token="mine")
    assert world.store.run(services.get(world.service)).token == "mine"


def test_a_description_that_contradicts_itself_changes_nothing(world: World) -> None:
    before = world.store.run(services.get(world.service))
    raw = {"metadata": {"name": world.service, "type": "ScalableJob"}, "autoscaler": {"min": 5, "max": 2}}
    with pytest.raises(InvalidArgument, match="min"):
        deploy(world.store, parse(raw).description)
    assert world.store.run(services.get(world.service)) == before


def test_removing_ends_everything_of_it(world: World) -> None:
    waiting, assigned = world.put(), world.put()
    instance, other = world.instance(), world.instance()
    holder = world.running(instance)
    world.assigned(other, assigned)
    world.store.run(pools.save(world.service, {"x": 1}))
    world.store.run(pools.note_decision(world.service, {"x": 1}, changes=True))
    world.store.run(tasks.save_plan(world.service, {waiting: Plan(1, None)}))
    world.store.run_all(services.forget(world.service))
    # no task can be put, none waits
    with pytest.raises(NotFound):
        world.put()
    with pytest.raises(NotFound):
        world.store.run(services.get(world.service))
    assert world.service not in world.store.run(services.names())
    assert world.state(waiting) is TaskState.CANCELLED
    assert "removed" in world.task(waiting).reason
    # what instances have is to be stopped
    assert world.store.run(instances.renew(instance, 60)).tasks == {holder.task: "stop"}
    assert world.store.run(tasks.claim(assigned, other)) == 0
    assert world.state(assigned) is TaskState.CANCELLED
    world.store.run(tasks.finish(holder, TaskState.CANCELLED, "stopped on request"))
    assert world.instance_state(instance) is InstanceState.IDLE
    # and only the history stays
    left = [name for name in world.keys(f"*{world.service}*") if not name.startswith(key("queue"))]
    assert left == sorted(key(kind, world.service) for kind in ("tasks", "requests"))


def test_a_new_service_of_the_same_name_goes_on_counting(world: World) -> None:
    old = [world.put() for _ in range(3)]
    world.store.run_all(services.forget(world.service))
    world.describe()
    put = world.store.run(tasks.put(NewTask(id="again", service=world.service, kind="command")))
    assert put.index == 4
    assert world.store.run(task_queue.last_index(world.service)) == 4
    assert world.store.run(tasks.newest(world.service)) == ["again", *reversed(old)]


def test_what_a_supervisor_learnt_and_decided_is_kept(world: World) -> None:
    assert world.store.run(pools.load(world.service)) == {}
    world.store.run(pools.save(world.service, {"memory": [1.5]}))
    assert world.store.run(pools.load(world.service)) == {"memory": [1.5]}
    for number in range(3):
        world.store.run(pools.note_decision(world.service, {"n": number}, changes=True))
    assert [each["n"] for each in world.store.run(pools.decisions(world.service, 2))] == [2, 1]


def test_plans_are_replaced_whole(world: World) -> None:
    world.store.run(tasks.save_plan(world.service, {"a": Plan(1, 5.5), "b": Plan(2, None)}))
    assert world.store.run(task_queue.plans(world.service)) == {"a": Plan(1, 5.5), "b": Plan(2, None)}
    world.store.run(tasks.save_plan(world.service, {"b": Plan(1, None)}))
    assert world.store.run(tasks.plan(world.service, "a")) is None
    assert world.store.run(tasks.plan(world.service, "b")) == Plan(1, None)
    world.store.run(tasks.save_plan(world.service, {}))
    assert world.store.run(task_queue.plans(world.service)) == {}
