"""Limits of accounts: counted over all services, held at the put and when tasks are given to instances."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from backend.accounts import Account, Limits
from backend.accounts.account import over
from backend.errors import OverLimit
from backend.store import accounts, tasks, usage
from backend.store.call import command
from backend.store.keys import key
from backend.task import TaskState
from tests.support.store_world import World

_NAMES = (f"user{n}" for n in itertools.count(1))


def account(world: World, **limits: Any) -> str:
    name = next(_NAMES)
    assert world.store.run(accounts.add(Account(name, limits=Limits(**limits)))).state == "ok"
    return name


def today() -> str:
    return key("used", str(int(time.time() // 86400)))


def test_a_put_over_the_limit_of_waiting_tasks_is_refused_and_says_so(world: World) -> None:
    user, other = account(world, queued=2), World(world.store.url)
    first = world.put(user=user)
    other.put(user=user)
    with pytest.raises(OverLimit, match=f"{user} has 2 tasks that wait, and may have 2"):
        world.put(user=user)
    world.put(user="somebody else")
    world.assigned(world.instance(), first)
    world.put(user=user)
    other.close()


def test_seconds_of_instances_count_for_the_day_and_while_they_run(world: World) -> None:
    user = account(world, gpu_seconds=100)
    holder = world.running(world.instance(), user=user)
    world.store.run(command("HSET", key("task", holder.task), "started_at", time.time() - 60))
    midnight = int(time.time() // 86400) * 86400
    used = world.store.run(usage.of(user))
    assert used.running == 1 and used.gpu_seconds == pytest.approx(min(60, time.time() - midnight), abs=1)
    world.put(user=user)
    world.store.run(command("HSET", today(), user, "100"))
    with pytest.raises(OverLimit, match="of today's 100 GPU-seconds"):
        world.put(user=user)


def test_what_an_ended_attempt_took_is_the_users(world: World) -> None:
    user = account(world)
    holder = world.running(world.instance(), user=user)
    world.store.run(tasks.finish(holder, TaskState.SUCCEEDED, "", exit_code=0))
    assert float(world.store.run(command("HGET", today(), user)) or 0) > 0
    assert 0 < int(world.store.run(command("TTL", today()))) <= 40 * 86400


def test_how_many_may_run_is_what_others_services_leave_over(world: World) -> None:
    user, free = account(world, running=2), account(world, queued=5)
    spent = account(world, gpu_seconds=10)
    other = World(world.store.url)
    other.running(other.instance(), user=user)
    world.running(world.instance(), user=user)
    world.store.run(command("HSET", today(), spent, "10"))
    quotas = world.store.run(usage.quotas(world.service))
    assert (quotas[user], quotas[spent]) == (1, 0) and free not in quotas
    assert world.store.run(usage.quotas("none of these"))[user] == 0
    other.close()


def test_whose_tasks_wait_because_of_a_limit_is_known_with_the_numbers(world: World) -> None:
    user, free = account(world, running=2, gpu_seconds=50), account(world)
    for _ in range(2):
        world.running(world.instance(), user=user)
    ((has, limits),) = world.store.run(usage.held_up([user, free, "no account"])).values()
    assert (has.running, limits) == (2, Limits(running=2, gpu_seconds=50))
    assert over(limits, has.running, has.gpu_seconds, "you") == "you have 2 of 2 tasks running"
