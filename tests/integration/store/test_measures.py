"""What the store counts as it goes: once per transition, whoever makes it."""

from __future__ import annotations

import math

import pytest

from backend.store import instances, measures, services, tasks
from backend.store.keys import key
from backend.store.measures import Histogram, Measures
from backend.task import TaskState
from tests.support.store_world import World


def read(world: World) -> Measures:
    return measures.assemble([world.store.run(call) for call in measures.read(world.service)])


def test_an_attempt_is_counted_and_paid_for_once_however_often_it_is_said(world: World) -> None:
    holder = world.running(world.instance(), user="ana")
    world.ask("HSET", key("task", holder.task), "attempts", _begun_ago(world, holder.task, 30))
    world.store.run(tasks.finish(holder, TaskState.SUCCEEDED, ""))
    with pytest.raises(Exception, match="over"):
        world.store.run(tasks.finish(holder, TaskState.FAILED, ""))
    found = read(world)
    assert found.attempts == {"succeeded": 1}
    assert found.spent["run", "ana"] == pytest.approx(30, abs=5)


def _begun_ago(world: World, task: str, seconds: float) -> str:
    (attempt,) = world.task(task).attempts
    return (
        f'[{{"number": 1, "instance": "{attempt.instance}", "started_at": {attempt.started_at - seconds}}}]'
    )


def test_a_query_is_paid_for_by_the_slot(world: World) -> None:
    holder = world.running(world.instance(slots=3), kind="query", user="ana", most=3)
    world.ask("HSET", key("task", holder.task), "attempts", _begun_ago(world, holder.task, 30))
    world.store.run(tasks.finish(holder, TaskState.SUCCEEDED, ""))
    assert read(world).spent["run", "ana"] == pytest.approx(10, abs=2)


def test_what_was_lost_is_a_returned_attempt(world: World) -> None:
    holder = world.running(world.instance())
    world.store.run(instances.gone(holder.instance, "killed", counted=True, max_delivery=3))
    assert read(world).attempts == {"returned": 1}


def test_a_boot_that_nobody_used_is_nobody_s(world: World) -> None:
    instance = world.instance(created_at=0.0)
    world.ask("HSET", key("instance", instance), "created_at", world.find(instance).created_at)
    world.store.run(instances.gone(instance, "not needed", counted=False, max_delivery=0))
    assert set(read(world).spent) == {("boot", ""), ("idle", "")}


def test_users_without_number_do_not_fill_the_store(world: World) -> None:
    many = {f"run|user{n}": 1 for n in range(3000)}
    world.ask("HSET", key("spent", world.service), *(part for pair in many.items() for part in pair))
    holder = world.running(world.instance(), user="one more")
    world.store.run(tasks.finish(holder, TaskState.SUCCEEDED, ""))
    spent = read(world).spent
    assert ("run", "one more") not in spent
    assert ("run", "(others)") in spent


def test_a_service_that_was_removed_is_forgotten(world: World) -> None:
    holder = world.running(world.instance())
    world.store.run_all(services.forget(world.service))
    world.store.run(measures.observe(world.service, [("reaction", 0.1)]))
    world.store.run(tasks.finish(holder, TaskState.CANCELLED, ""))
    assert read(world) == Measures()


def test_quantiles_are_linear_within_their_bucket(world: World) -> None:
    seconds = [0.004] * 50 + [0.08] * 49 + [9000.0]
    world.store.run(measures.observe(world.service, [("reaction", each) for each in seconds]))
    found = read(world).histograms["reaction"]
    assert found.count == 100
    assert found.sum == pytest.approx(sum(seconds))
    assert found.quantile(0.25) == pytest.approx(0.0035)
    assert found.quantile(0.99) == pytest.approx(0.1)
    # beyond the last bound nothing more is known
    assert found.quantile(1.0) == 7200
    assert Histogram(((1.0, 0), (math.inf, 0)), 0.0).quantile(0.5) is None
