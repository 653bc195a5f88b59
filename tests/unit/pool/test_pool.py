"""One service's pool against a real store, with a launcher in memory: dispatch, starts, drains, what is learnt."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from backend.accounts import Account, Limits
from backend.instance import InstanceState, Place
from backend.pool import pool as pool_module
from backend.pool.learnt import Learnt
from backend.pool.others import NoLauncher
from backend.pool.pool import Pool, read_instances
from backend.records import Progress
from backend.store import accounts, briefs, instances, outputs, plans, pools, services, task_queue, tasks
from backend.store.embedded import EmbeddedStore
from backend.store.keys import key
from backend.store.plans import Plan
from backend.task import TaskState
from tests.support.fake_launcher import FakeLauncher
from tests.support.store_world import World


class Box(World):
    """A service with its pool."""

    def __init__(self, url: str) -> None:
        super().__init__(url, autoscaler={"min": 0, "max": 2})
        self.launcher = FakeLauncher()
        self.pool = self.new_pool()

    def new_pool(self) -> Pool:
        deployed = self.store.run(services.get(self.service))
        learnt = Learnt(self.store.run(pools.load(self.service)))
        return Pool(self.service, self.store, self.launcher, deployed.description, learnt)

    def autoscale(self, **autoscaler: Any) -> None:
        self.describe(autoscaler=autoscaler)
        self.pool.description = self.store.run(services.get(self.service)).description

    def step(self, changed: set[str] | None = None) -> None:
        present = read_instances(self.store)
        self.pool.step(present, [instance.device for instance in present], changed)
        while self.pool.forecast.under_way:
            self.pool.forecast.go_on()

    def planned(self, *tasks: str) -> list[Plan | None]:
        return self.store.run(plans.of(self.service, tasks))

    def up(self, instance: str) -> str:
        """An ordered instance comes up."""
        self.store.run(instances.renew(instance, 60))
        self.store.run(instances.ready(instance, Place("here", 1, 2.5)))
        return instance

    def one_up(self, *, most: int = 2) -> str:
        """The pool has ordered one instance, and it is up."""
        self.autoscale(min=1, max=most)
        self.step()
        (name,) = self.launcher.orders
        return self.up(name)

    def decisions(self) -> list[dict[str, Any]]:
        return self.store.run(pools.decisions(self.service))


@pytest.fixture
def box(server: EmbeddedStore) -> Iterator[Box]:
    box = Box(server.url)
    try:
        yield box
    finally:
        box.close()


def test_a_task_has_an_instance_started_is_given_to_it_and_leaves_it_idle(box: Box) -> None:
    # given a service without instances, when a task is put
    task = box.put()
    box.step()
    # then one instance is ordered, and no second one while it starts
    (name,) = box.launcher.orders
    assert box.launcher.orders[name].service == box.service
    assert box.instance_state(name) is InstanceState.STARTING
    box.step()
    assert len(box.launcher.orders) == 1
    # when it is up, it gets the task
    box.up(name)
    box.step()
    assert (box.state(task), box.task(task).instance) == (TaskState.ASSIGNED, name)


def test_nothing_is_started_for_nothing(box: Box) -> None:
    box.step()
    assert box.launcher.orders == {}


def test_the_bounds_are_those_of_the_description(box: Box) -> None:
    box.autoscale(min=2, max=3)
    box.step()
    assert len(box.launcher.orders) == 2
    for _ in range(20):
        box.put()
    box.step()
    assert len(box.launcher.orders) == 3


def test_a_strategy_may_name_the_load_of_the_instances(box: Box) -> None:
    name = box.one_up()
    box.autoscale(min=1, max=4, strategies={"cpu": 30})
    box.store.run(instances.renew(name, 60, json.dumps({"cpu_load": 0.9})))
    box.step()
    assert len(box.launcher.orders) == 3
    assert "cpu is 90 per instance, threshold 30" in box.decisions()[0]["why"]


def test_without_an_autoscaler_the_number_of_instances_is_the_bound(box: Box) -> None:
    box.describe(metadata={"name": box.service, "type": "ScalableJob", "instance": 2})
    assert (box.new_pool().autoscaler.min, box.new_pool().autoscaler.max) == (1, 2)


def test_a_stopped_service_starts_nothing_and_drains(box: Box) -> None:
    name = box.one_up()
    box.pool.stopped = True
    task = box.put()
    box.step()
    assert len(box.launcher.orders) == 1
    assert box.instance_state(name) is InstanceState.DRAINING
    assert box.store.run(tasks.get(task)).state is TaskState.WAITING
    assert box.decisions()[0]["why"] == "the service is stopped"


def test_a_decision_is_told_with_what_was_seen_when_it_was_made(box: Box) -> None:
    box.autoscale(min=0, max=1)
    box.put()
    box.step()
    (name,) = box.launcher.orders
    box.up(name)
    box.step()
    # the task went to the instance before it was decided that nothing waits
    assert box.pool.journal and [*box.pool.journal][-1].seen == "0 tasks waiting, instances: 1 busy"


def test_the_longest_waiting_of_the_highest_priority_goes_first(box: Box) -> None:
    box.put(priority=0)
    urgent = box.put(priority=5)
    box.put(priority=5)
    box.one_up(most=1)
    box.step()
    assert box.state(urgent) is TaskState.ASSIGNED
    assert len(box.waiting()) == 2


def test_a_priority_that_is_changed_later_counts(box: Box) -> None:
    # given two waiting tasks that the pool has seen
    holder = box.running(box.one_up(most=1))
    first, second = box.put(), box.put()
    box.step(set())
    # when the second one is made urgent and the instance gets free
    box.store.run(task_queue.set_priority(second, 5))
    box.store.run(tasks.finish(holder, TaskState.SUCCEEDED, ""))
    box.step({second, holder.task})
    # then it goes first
    assert box.state(second) is TaskState.ASSIGNED
    assert box.state(first) is TaskState.WAITING


def test_a_task_goes_to_an_instance_with_room_only(box: Box) -> None:
    box.autoscale(min=1, max=1)
    tasks_put = [box.put() for _ in range(2)]
    box.step()
    (name,) = box.launcher.orders
    box.up(name)
    box.step()
    box.step()
    assert [box.state(task) for task in tasks_put] == [TaskState.ASSIGNED, TaskState.WAITING]


def test_what_is_handed_out_in_one_pass_is_bounded_and_the_next_goes_on(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "ASSIGNED_AT_ONCE", 2)
    box.autoscale(min=3, max=3)
    put = [box.put() for _ in range(4)]
    box.step()
    for name in box.launcher.orders:
        box.up(name)
    box.step()
    assert [box.state(task) for task in put] == [TaskState.ASSIGNED] * 2 + [TaskState.WAITING] * 2
    assert box.pool.wake_at is not None and box.pool.wake_at <= time.time()
    box.step()
    assert [box.state(task) for task in put] == [TaskState.ASSIGNED] * 3 + [TaskState.WAITING]
    assert len(box.launcher.orders) == 3


def test_a_draining_instance_is_no_capacity(box: Box) -> None:
    # promise: with one draining and one new task, an instance is asked for
    name = box.one_up()
    box.autoscale(min=0, max=1)
    box.running(name)
    box.store.run(instances.enter(name, InstanceState.DRAINING))
    box.put()
    box.step()
    assert len(box.launcher.orders) == 2
    assert name not in (*box.launcher.killed, *box.launcher.stopped)


def test_a_busy_instance_is_never_stopped(box: Box) -> None:
    name = box.one_up()
    holder = box.running(name)
    box.autoscale(min=0, max=0)
    box.step()
    assert box.instance_state(name) is InstanceState.DRAINING
    assert box.state(holder.task) is TaskState.RUNNING
    assert box.launcher.killed == box.launcher.stopped == []


def test_a_start_that_is_not_needed_any_more_is_given_up(box: Box) -> None:
    task = box.put()
    box.step()
    (name,) = box.launcher.orders
    box.store.run(tasks.cancel(task))
    box.autoscale(min=0, max=0)
    box.step()
    assert box.instance_state(name) is InstanceState.GONE
    assert box.launcher.killed == [name]


def test_a_start_that_turned_into_a_working_instance_meanwhile_is_drained_not_killed(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = box.put()
    box.step()
    (name,) = box.launcher.orders
    # given an instance that comes up and is given a task just after the pool has looked at it
    plan = pool_module.plan_pass

    def meanwhile(*arguments: Any) -> Any:
        result = plan(*arguments)
        box.up(name)
        box.running(name, task)
        return result

    monkeypatch.setattr(pool_module, "plan_pass", meanwhile)
    box.autoscale(min=0, max=0)
    box.step()
    assert box.launcher.killed == []
    assert box.state(task) is TaskState.RUNNING
    assert box.instance_state(name) is InstanceState.DRAINING


class TestStarts:
    def test_one_that_fails_is_tried_again_later_and_later(
        self, box: Box, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ticks = itertools.count(1000.0, 0.001)
        offset = [0.0]
        monkeypatch.setattr(box.pool.clock, "monotonic", lambda: next(ticks) + offset[0])
        box.launcher.refusal = "the template is on fire"
        box.put()
        box.step()
        ids = box.store.run(instances.ids())
        assert not [name for name in ids if box.find(name).service == box.service], "no record stays behind"
        pauses = []
        for _ in range(4):
            waited = 0.0
            failures = box.pool.starts.failures
            while box.pool.starts.failures == failures:
                offset[0] += 0.1
                waited += 0.1
                box.step()
            pauses.append(waited)
        assert pauses == sorted(pauses)
        assert pauses[-1] > 2 * pauses[0]
        assert any("on fire" in decision["why_not_more"] for decision in box.decisions())
        # and it is well again when one comes up
        box.launcher.refusal = ""
        offset[0] += 100
        box.step()
        (name,) = box.launcher.orders
        box.up(name)
        box.step()
        assert box.pool.starts.failures == 0

    def test_one_that_ended_before_it_was_ready_counts_as_failed_too(self, box: Box) -> None:
        box.put()
        box.step()
        (name,) = box.launcher.orders
        box.store.run(instances.gone(name, "no such module", counted=True, max_delivery=3))
        box.step()
        assert len(box.launcher.orders) == 1
        assert box.pool.starts.failures == 1

    def test_it_gets_a_device_that_nobody_has(self, box: Box) -> None:
        box.launcher.devices = ["cuda:0", "cuda:1"]
        box.instance(device="cuda:0")
        box.autoscale(min=3, max=5)
        box.step()
        assert [order.device for order in box.launcher.orders.values()] == ["cuda:1"]

    def test_how_long_it_took_is_learnt(self, box: Box) -> None:
        name = box.one_up()
        box.step()
        assert len(box.pool.learnt.cold_starts) == 1
        assert box.find(name).ready_at is not None


class TestIdleHands:
    def test_a_task_that_is_not_begun_in_time_goes_back_and_is_counted_against_the_instance(
        self, box: Box, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = box.one_up()
        monkeypatch.setattr(pool_module, "BEGIN_DEADLINE", 0.0)
        task = box.assigned(name)
        box.autoscale(min=1, max=1)
        box.step()
        assert box.pool.idle_hands[name] == 1
        assert box.state(task) in (TaskState.WAITING, TaskState.ASSIGNED)
        assert box.task(task).deliveries == 0

    def test_what_is_taken_back_goes_before_what_came_later(
        self, box: Box, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given an instance that does not begin the older task, and another that idles
        stuck = box.one_up()
        box.autoscale(min=2, max=2)
        box.step()
        other = box.up(next(name for name in box.launcher.orders if name != stuck))
        older = box.assigned(stuck)
        younger = box.put()
        monkeypatch.setattr(pool_module, "BEGIN_DEADLINE", 0.0)
        # When the pass takes the older one back
        box.step()
        # Then it is not overtaken in that very pass
        assert box.task(older).instance in (stuck, other)
        assert box.state(older) is TaskState.ASSIGNED
        assert box.pool.idle_hands[stuck] == 1
        assert box.task(older).deliveries == 0
        assert box.task(younger).instance != box.task(older).instance

    def test_beginning_one_clears_it_and_so_does_its_end(self, box: Box) -> None:
        name = box.one_up()
        box.pool.idle_hands[name] = 1
        box.running(name)
        box.step()
        assert box.pool.idle_hands[name] == 0
        box.pool.idle_hands["somebody long gone"] = 2
        box.step()
        assert "somebody long gone" not in box.pool.idle_hands


class TestLearning:
    def end(self, box: Box, state: Any, seconds: float = 40.0) -> None:
        name = box.one_up() if not box.launcher.orders else next(iter(box.launcher.orders))
        holder = box.running(name, user="ana")
        box.ask("HSET", key("task", holder.task), "started_at", time.time() - seconds)
        progress = outputs.spoken(Progress(10, 20, seconds_per_step=0.5))
        box.store.run(outputs.append(holder, [], [progress], batch=1))
        box.step()
        box.store.run(tasks.finish(holder, state, ""))
        box.step()

    def test_a_run_that_succeeded_says_how_long_such_take(self, box: Box) -> None:
        for _ in range(3):
            self.end(box, TaskState.SUCCEEDED)
        brief = box.store.run(briefs.brief(box.put()))
        assert brief is not None
        assert box.pool.learnt.expected(brief) == pytest.approx(40.0, abs=10.0)
        assert box.pool.learnt.usage.at_time(time.time()).seconds["ana"] == pytest.approx(120, abs=20)

    def test_a_run_that_was_broken_off_says_nothing_but_was_used(self, box: Box) -> None:
        for _ in range(3):
            self.end(box, TaskState.CANCELLED)
        brief = box.store.run(briefs.brief(box.put()))
        assert brief is not None
        assert box.pool.learnt.expected(brief) is None
        assert box.pool.learnt.usage.at_time(time.time()).seconds["ana"] > 100

    def test_a_run_too_short_to_be_seen_is_paid_for_too(self, box: Box) -> None:
        name = box.one_up()
        task = box.assigned(name, user="ana")
        box.step()
        holder = box.claimed(name, task)
        box.ask("HSET", key("task", task), "started_at", time.time() - 30)
        box.store.run(tasks.finish(holder, TaskState.SUCCEEDED, ""))
        box.step()
        assert box.pool.learnt.usage.at_time(time.time()).seconds["ana"] == pytest.approx(30, abs=10)

    def test_one_that_was_never_begun_costs_nothing(self, box: Box) -> None:
        name = box.one_up()
        box.assigned(name, user="ana")
        box.step()
        box.store.run(instances.gone(name, "killed", counted=True, max_delivery=3))
        box.step()
        assert box.pool.learnt.usage.at_time(time.time()).seconds == {}

    def test_the_next_supervisor_knows_it_too(self, box: Box) -> None:
        self.end(box, TaskState.SUCCEEDED)
        box.pool.save()
        again = box.new_pool()
        assert again.learnt.to_json() == box.pool.learnt.to_json()
        assert again.learnt.step_times.median == 0.5


class TestForecast:
    def test_waiting_tasks_have_a_position_and_later_a_time(self, box: Box) -> None:
        name = box.one_up()
        box.autoscale(min=1, max=1)
        holder = box.running(name)
        first, second = box.put(details={"steps": 100}), box.put(details={"steps": 100})
        progress = outputs.spoken(Progress(10, 20, seconds_per_step=0.5, eta=30.0))
        box.store.run(outputs.append(holder, [], [progress], batch=1))
        box.pool.learnt.step_times.add(0.5)
        box.step()
        planned = box.planned(first, second)
        assert [plan and plan.position for plan in planned] == [1, 2]
        starts = [plan and plan.expected_start for plan in planned]
        assert starts[0] is not None and starts[1] is not None
        assert starts[0] - time.time() == pytest.approx(30.0, abs=5.0)
        assert starts[1] - starts[0] == pytest.approx(50.0, abs=5.0)

    def test_a_forecast_does_not_outlive_its_task(self, box: Box) -> None:
        task = box.put()
        box.step()
        assert box.planned(task) != [None]
        box.store.run(tasks.cancel(task))
        box.step()
        assert box.planned(task) == [None]


@pytest.mark.parametrize(
    "details",
    [
        {"models": 5},
        {"models": [{}, 3, None]},
        {"models": "abc"},
        {"steps": 10**400},
        {"steps": -3},
        {"model": [1]},
    ],
)
def test_whatever_a_client_writes_into_the_details_holds_nobody_up(box: Box, details: dict[str, Any]) -> None:
    box.pool.learnt.step_times.add(0.5)
    box.put(details=details)
    box.one_up()
    box.step()
    assert box.waiting() == []


def test_decisions_are_explained(box: Box) -> None:
    box.put()
    box.step()
    (entry,) = box.decisions()
    assert entry["service"] == box.service
    assert "1 task waiting" in entry["seen"]
    assert entry["decided"] == "start 1"
    assert entry["why"]
    # the same again is not written again
    box.step()
    assert len([each for each in box.decisions() if each["decided"] == "start 1"]) == 1


def test_leaving_it_for_the_same_reasons_is_one_entry_that_grows(box: Box) -> None:
    # given a full pool and a queue, when nothing happens for a while
    box.running(box.one_up(most=1))
    box.put()
    ticks = itertools.count(1000.0, 10.0)
    box.pool.clock.monotonic = lambda: next(ticks)  # type: ignore[method-assign]
    for _ in range(10):
        box.step()
    # then the journal says so in a few entries, how often, and since when
    left = [each for each in box.decisions() if each["decided"] == "leave it at 1"]
    assert len(left) < 5
    assert sum(each["times"] for each in left) == 10
    assert left[0]["times"] > 1 and left[0]["at"] < left[0]["until"]
    before = box.decisions()[0]["times"]
    # and the next supervisor goes on with that entry
    box.pool.save()
    again = box.new_pool()
    again.step(read_instances(box.store), [])
    assert box.decisions()[0]["times"] == before + 1


def test_what_the_calendar_says_is_started_and_ended(box: Box) -> None:
    # given a job that fired at the new year
    yearly = {"Name": "new year", "Schedule": "0 0 0 1 1 *", "TargetSize": 2}
    box.describe(autoscaler={"min": 0, "max": 3}, cronscaler={"ScaleJobs": [yearly]})
    box.pool.description = box.store.run(services.get(box.service)).description
    # then its instances are started, and the journal says for whom
    box.step()
    assert len(box.launcher.orders) == 2
    assert box.decisions()[0]["why"] == "new year is scheduled with 2"
    # when one that fires every second is deployed too, the calendar is read anew and they go
    secondly = {"Schedule": "* * * * * *", "TargetSize": 0}
    box.describe(autoscaler={"min": 0, "max": 3}, cronscaler={"ScaleJobs": [yearly, secondly]})
    box.pool.description = box.store.run(services.get(box.service)).description
    box.step()
    assert [i for i in read_instances(box.store) if i.service == box.service] == []


def test_a_stopped_service_has_no_calendar(box: Box) -> None:
    always = {"Schedule": "* * * * * *", "TargetSize": 2}
    box.describe(autoscaler={"min": 0, "max": 3}, cronscaler={"ScaleJobs": [always]})
    box.pool.description = box.store.run(services.get(box.service)).description
    box.pool.stopped = True
    box.step()
    assert box.launcher.orders == {}


def test_an_accounts_limit_holds_its_tasks_back_and_nobody_elses(box: Box) -> None:
    box.store.run(accounts.add(Account("ana", limits=Limits(running=1))))
    box.one_up()
    box.instance()
    first, second, others = box.put(user="ana"), box.put(user="ana"), box.put(user="bob")
    box.step()
    states = [box.store.run(tasks.get(task)).state for task in (first, second, others)]
    assert states == [TaskState.ASSIGNED, TaskState.WAITING, TaskState.ASSIGNED]


def test_where_others_start_instances_they_get_the_tasks_and_none_is_added(box: Box) -> None:
    launcher = NoLauncher()
    box.pool.launcher = launcher
    task = box.put()
    box.step()
    assert not [each for each in read_instances(box.store) if each.service == box.service]
    theirs = box.instance(launcher="manual")
    box.step()
    assert box.task(task).instance == theirs
    assert box.instance_state(theirs) in (InstanceState.IDLE, InstanceState.BUSY)
    assert launcher.adopt(box.find(theirs)) and not launcher.holds(theirs)
