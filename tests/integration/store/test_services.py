"""Deploying, reading and removing services."""

from __future__ import annotations

import pytest

from backend.deploy import deploy
from backend.errors import InvalidArgument, NotFound
from backend.instance import InstanceState
from backend.service import parse
from backend.store import instances, plans, pools, services, task_queue, tasks
from backend.store.keys import key
from backend.store.plans import Plan
from backend.store.tasks import NewTask
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
    world.store.run(plans.save({waiting: Plan(1, None)}, world.service))
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


def test_only_what_waits_has_a_plan(world: World) -> None:
    first, second = world.put(), world.put()
    planned = {first: Plan(1, 5.5), second: Plan(2, None), "nobody": Plan(3, None)}
    assert world.store.run(plans.save(planned, world.service)) == 2
    ids = [second, first, "nobody"]
    assert world.store.run(plans.of(world.service, ids)) == [Plan(2, None), Plan(1, 5.5), None]
    # one that is handed out, and one that is cancelled, have none any more, nor do they get one
    world.assigned(world.instance(), first)
    world.store.run(tasks.cancel(second))
    assert world.store.run(plans.save(planned, world.service)) == 0
    assert world.store.run(plans.count(world.service)) == 0
