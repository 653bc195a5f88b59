"""The scripts about instances: their states, their lease, their end; and who leads."""

from __future__ import annotations

import pytest

from backend.instance import INSTANCE_TRANSITIONS, InstanceState, Place
from backend.processes import wait_until
from backend.store import instances, tasks
from backend.store.instances import Orders
from backend.store.keys import instance_queue, key
from backend.task import TaskState
from tests.support.store_world import World


def put_into(world: World, state: InstanceState) -> str:
    """An instance in a state."""
    instance = world.instance(ready=state is not InstanceState.STARTING)
    if state is InstanceState.BUSY:
        world.assigned(instance)
    elif state is InstanceState.DRAINING:
        world.store.run(instances.enter(instance, InstanceState.DRAINING))
    elif state is InstanceState.GONE:
        world.store.run(instances.gone(instance, "", counted=False, max_delivery=0))
    return instance


@pytest.mark.parametrize("state", InstanceState)
@pytest.mark.parametrize("target", [InstanceState.IDLE, InstanceState.DRAINING])
def test_only_the_transitions_of_the_table_are_made(
    world: World, state: InstanceState, target: InstanceState
) -> None:
    instance = put_into(world, state)
    after = world.store.run(instances.enter(instance, target))
    assert after is (target if target in INSTANCE_TRANSITIONS[state] else state)
    assert world.instance_state(instance) is after


def test_an_instance_that_is_not_known_enters_nothing(world: World) -> None:
    assert world.store.run(instances.ready("nobody", Place("here", 1, 1.0))) is None


def test_an_instance_says_where_it_is_when_it_is_ready(world: World) -> None:
    instance = world.instance(ready=False, device="cuda:1", host="box", launcher="manual", slots=3)
    assert world.instance_state(instance) is InstanceState.STARTING
    world.store.run(instances.ready(instance, Place("box", 17, 123.45)))
    found = world.find(instance)
    assert (found.state, found.place) == (InstanceState.IDLE, Place("box", 17, 123.45))
    assert (found.device, found.host, found.launcher, found.slots) == ("cuda:1", "box", "manual", 3)
    assert found.ready_at is not None
    assert found.ready_at == found.idle_since


class TestLease:
    def test_renewing_says_what_is_wanted(self, world: World) -> None:
        instance = world.instance(slots=3)
        runs = world.running(instance, most=3)
        stops = world.running(instance, most=3)
        assigned = world.assigned(instance, most=3)
        world.store.run(tasks.cancel(stops.task, "stop"))
        orders = world.store.run(instances.renew(instance, 60))
        assert orders == Orders(
            InstanceState.BUSY,
            {runs.task: None, stops.task: "stop", assigned: None},
            {runs.task: 1, stops.task: 1},
        )

    def test_the_attempt_that_runs_is_named(self, world: World) -> None:
        holder = world.running(world.instance())
        world.store.run(tasks.give_back(holder, "x", counted=True, max_delivery=9))
        second = world.running(world.instance(), holder.task)
        assert world.store.run(instances.renew(second.instance, 60)).running == {holder.task: 2}

    def test_it_ends_when_it_is_not_renewed(self, world: World) -> None:
        instance = world.instance(lease=0.05)
        assert wait_until(lambda: world.find(instance).lease_left == 0.0, 20.0)
        world.store.run(instances.renew(instance, 60))
        assert 50 < world.find(instance).lease_left <= 60

    @pytest.mark.parametrize("gone", [True, False])
    def test_who_is_gone_or_unknown_has_no_lease(self, world: World, gone: bool) -> None:
        instance = put_into(world, InstanceState.GONE) if gone else "nobody"
        assert world.store.run(instances.renew(instance, 60)).state is InstanceState.GONE
        assert world.ask("EXISTS", key("lease", instance)) == 0


class TestGone:
    def test_what_it_ran_goes_back_and_is_counted(self, world: World) -> None:
        instance = world.instance(slots=3)
        runs = world.running(instance, most=3)
        assigned = world.assigned(instance, most=3)
        back = world.store.run(instances.gone(instance, "lost", counted=True, max_delivery=3))
        assert back == {runs.task: TaskState.WAITING, assigned: TaskState.WAITING}
        assert world.task(runs.task).deliveries == 1
        assert world.task(assigned).deliveries == 0, "it was never begun"
        assert sorted(world.waiting()) == sorted([runs.task, assigned])
        assert world.store.run(tasks.active(world.service)) == []

    def test_a_poison_task_that_takes_instances_with_it_ends(self, world: World) -> None:
        task = world.put()
        for _ in range(3):
            holder = world.running(world.instance(), task)
            back = world.store.run(instances.gone(holder.instance, "it died", counted=True, max_delivery=3))
        assert back == {task: TaskState.DEAD}
        assert "it died" in world.task(task).reason

    def test_a_task_that_was_to_be_stopped_is_cancelled(self, world: World) -> None:
        holder = world.running(world.instance())
        world.store.run(tasks.cancel(holder.task))
        back = world.store.run(instances.gone(holder.instance, "x", counted=True, max_delivery=3))
        assert back == {holder.task: TaskState.CANCELLED}

    def test_it_is_said_once(self, world: World) -> None:
        holder = world.running(world.instance())
        world.store.run(instances.gone(holder.instance, "first", counted=True, max_delivery=9))
        world.running(world.instance(), holder.task)
        assert world.store.run(instances.gone(holder.instance, "second", counted=True, max_delivery=9)) == {}
        assert world.find(holder.instance).reason == "first"
        assert world.state(holder.task) is TaskState.RUNNING

    def test_nothing_of_it_stays_but_its_record(self, world: World) -> None:
        holder = world.running(world.instance())
        instance = holder.instance
        queue = instance_queue(instance)
        for registry in ("finished", "failed", "wip"):
            world.ask("ZADD", f"rq:{registry}:{queue}", 1, holder.task)
        for worker in (instance, f"{instance}-1"):
            world.ask("SADD", "rq:workers", f"rq:worker:{worker}")
            world.ask("SADD", f"rq:workers:{queue}", f"rq:worker:{worker}")
            world.ask("HSET", f"rq:worker:{worker}", "birth", "x")
        world.store.run(instances.gone(instance, "x", counted=True, max_delivery=9))
        assert world.keys(f"*{instance}*") == [key("instance", instance)]
        assert not [w for w in world.ask("SMEMBERS", "rq:workers") if instance.encode() in w]
        assert instance not in world.store.run(instances.ids())
        assert instance in world.store.run(instances.past())

    def test_records_of_the_past_are_bounded(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(instances, "PAST_KEPT", 3)
        names = [put_into(world, InstanceState.GONE) for _ in range(5)]
        assert world.store.run(instances.past(10)) == names[:1:-1]
        assert [world.ask("EXISTS", key("instance", name)) for name in names] == [0, 0, 1, 1, 1]


class TestLead:
    def test_one_leads_until_its_time_is_over(self, world: World) -> None:
        world.ask("DEL", key("leader"))
        assert world.store.run(instances.lead("a", 60))
        assert world.store.run(instances.lead("a", 60))
        assert not world.store.run(instances.lead("b", 60))
        assert world.store.run(instances.leader()) == "a"
        assert world.store.run(instances.lead("a", 0.05))
        assert wait_until(lambda: world.store.run(instances.lead("b", 60)), 20.0)

    def test_only_the_leader_resigns(self, world: World) -> None:
        world.ask("DEL", key("leader"))
        world.store.run(instances.lead("a", 60))
        world.store.run(instances.resign("b"))
        assert world.store.run(instances.leader()) == "a"
        world.store.run(instances.resign("a"))
        assert world.store.run(instances.leader()) is None
