"""What callers of queries find in the output queue, on a real server."""

from __future__ import annotations

import pytest

from backend.store import briefs, instances, streams, tasks
from backend.store.keys import key
from backend.store.outputs import Holder
from backend.store.streams import Item
from backend.store.tasks import Answer
from backend.task import TaskState
from tests.support.store_world import World


def items(world: World) -> list[Item]:
    return list(world.store.run(streams.get(world.sink, {}, length=100)))


def query(world: World, instance: str) -> Holder:
    return world.running(instance, kind="query", request_id="r1", tags={"taskType": "query", "jobId": "j"})


def test_an_answer_carries_the_tags_of_the_request_and_its_own(world: World) -> None:
    holder = query(world, world.instance())
    answer = Answer(b"\x00\xff", {"lastCode": "500"})
    told = tasks.finish(holder, TaskState.FAILED, "it failed", sink=world.sink, answer=answer)
    assert world.store.run(told) is None
    (item,) = items(world)
    assert item.data == b"\x00\xff"
    assert item.tags == {"taskType": "query", "jobId": "j", "requestId": "r1", "lastCode": "500"}
    assert (world.state(holder.task), world.task(holder.task).reason) == (TaskState.FAILED, "it failed")


def test_without_an_answer_nothing_is_put(world: World) -> None:
    holder = query(world, world.instance())
    assert world.store.run(tasks.finish(holder, TaskState.SUCCEEDED, "")) is None
    assert items(world) == []


@pytest.mark.parametrize(("limit", "why"), [("capacity", "full"), ("max_payload", "large")])
def test_an_answer_that_is_not_taken_leaves_the_query_running(world: World, limit: str, why: str) -> None:
    holder = query(world, world.instance())
    world.store.run(streams.put(world.sink, b"another", {}))
    world.ask("HSET", key("queue", world.sink), limit, 1)
    answer = Answer(b"two")
    assert (
        world.store.run(tasks.finish(holder, TaskState.SUCCEEDED, "", sink=world.sink, answer=answer)) == why
    )
    assert world.state(holder.task) is TaskState.RUNNING
    assert len(items(world)) == 1


def test_the_caller_of_a_query_that_is_given_up_is_told(world: World) -> None:
    instance = world.instance()
    holder = query(world, instance)
    world.store.run(instances.gone(instance, "its process ended", counted=True, max_delivery=1))
    assert world.state(holder.task) is TaskState.DEAD
    (item,) = items(world)
    assert item.data == b"its process ended"
    assert item.tags == {"taskType": "query", "jobId": "j", "requestId": "r1", "lastCode": "500"}


def test_a_command_that_is_given_up_tells_nobody(world: World) -> None:
    instance = world.instance()
    world.running(instance)
    world.store.run(instances.gone(instance, "its process ended", counted=True, max_delivery=1))
    assert items(world) == []


def test_a_query_that_goes_back_remembers_where_it_was(world: World) -> None:
    instance = world.instance()
    holder = query(world, instance)
    world.store.run(tasks.give_back(holder, "500", counted=True, max_delivery=3))
    brief = world.store.run(briefs.brief(holder.task))
    assert brief is not None
    assert (brief.last_instance, brief.instance) == (instance, "")


def test_an_instance_that_is_gone_leaves_no_worker_in_rqs_books(world: World) -> None:
    instance = world.instance()
    for name in (instance, f"{instance}.1"):
        world.ask("HSET", f"rq:worker:{name}", "birth", "x")
        world.ask("SADD", "rq:workers", f"rq:worker:{name}")
        world.ask("SADD", f"rq:workers:instance-{instance}", f"rq:worker:{name}")
    world.store.run(instances.gone(instance, "drained", counted=False, max_delivery=0))
    assert world.keys(f"rq:worker:{instance}*") == []
    assert world.keys(f"rq:workers:instance-{instance}") == []
    assert not [w for w in world.ask("SMEMBERS", "rq:workers") if instance.encode() in w]
