"""Which instances are lost, and what becomes of their tasks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from backend.instance import InstanceState, Place
from backend.pool.clock import SystemClock
from backend.pool.launcher import Progress
from backend.pool.lost_starts import JUST_NOW
from backend.pool.pool import read_instances
from backend.pool.reaper import Reaper
from backend.processes import wait_until
from backend.store import instances
from backend.store.embedded import EmbeddedStore
from backend.task import TaskState
from tests.support.fake_launcher import FakeLauncher
from tests.support.store_world import World

START_DEADLINE = 30.0


class Box(World):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.launcher = FakeLauncher()
        self.reaper = self.new_reaper(grace=0.0)

    def new_reaper(self, *, grace: float) -> Reaper:
        return Reaper(self.store, self.launcher, start_deadline=START_DEADLINE, grace=grace)

    def reap(self, *idle_hands: str) -> None:
        mine = [each for each in read_instances(self.store) if each.service == self.service]
        self.reaper.reap(mine, {self.service: 2}, set(idle_hands))


@pytest.fixture
def box(server: EmbeddedStore) -> Iterator[Box]:
    box = Box(server.url)
    try:
        yield box
    finally:
        box.close()


def test_what_works_is_left_alone(box: Box) -> None:
    holder = box.running(box.instance())
    box.reap()
    assert box.state(holder.task) is TaskState.RUNNING
    assert box.launcher.killed == []


def test_a_process_that_ended_gives_its_task_back_at_once(box: Box) -> None:
    holder = box.running(box.instance())
    box.launcher.end(holder.instance)
    box.reap()
    assert box.instance_state(holder.instance) is InstanceState.GONE
    assert box.state(holder.task) is TaskState.WAITING
    assert "its process ended unexpectedly" in box.task(holder.task).reason
    assert box.launcher.killed == [holder.instance], "what is left of it is ended first"


def test_its_deliveries_are_counted_up_to_the_limit_of_the_service(box: Box) -> None:
    task = box.put()
    for expected in (TaskState.WAITING, TaskState.DEAD):
        holder = box.running(box.instance(), task)
        box.launcher.end(holder.instance)
        box.reap()
        assert box.state(task) is expected


def test_a_process_that_is_gone_when_a_supervisor_begins(box: Box) -> None:
    holder = box.running(box.instance())
    box.launcher.vanished.add(holder.instance)
    box.reap()
    assert box.instance_state(holder.instance) is InstanceState.GONE
    assert box.state(holder.task) is TaskState.WAITING


def test_one_that_an_earlier_supervisor_started_is_watched_from_now_on(box: Box) -> None:
    instance = box.instance()
    assert not box.launcher.holds(instance)
    box.reap()
    assert box.launcher.holds(instance)


def test_a_lease_that_is_over(box: Box) -> None:
    holder = box.running(box.instance())
    box.expire_lease(holder.instance)
    box.reap()
    assert box.instance_state(holder.instance) is InstanceState.GONE
    assert "lease" in box.task(holder.task).reason


def test_after_the_store_was_away_everybody_has_time_to_renew(box: Box) -> None:
    box.reaper = box.new_reaper(grace=0.2)
    assert wait_until(lambda: box.reaper._judge_from < time.monotonic(), 20.0)
    box.reaper.store_was_away()
    instance = box.instance(lease=0)
    box.reap()
    assert box.instance_state(instance) is InstanceState.IDLE

    def judged() -> bool:
        box.reap()
        return box.instance_state(instance) is InstanceState.GONE

    assert wait_until(judged, 20.0)


def test_one_that_does_not_come_up(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = box.instance(ready=False, lease=0)
    box.reap()
    assert box.instance_state(instance) is InstanceState.STARTING
    monkeypatch.setattr(box.reaper._clock, "time", lambda: time.time() + START_DEADLINE + 1)
    box.reap()
    assert box.instance_state(instance) is InstanceState.GONE
    assert "30 s" in box.find(instance).reason


class TestNeverBegun:
    """Of a start that an earlier supervisor has noted, and of which the launcher has nothing."""

    def later(self, box: Box, seconds: float) -> None:
        """A pass so many seconds from now."""
        clock = SystemClock()
        now, wall = clock.monotonic() + seconds, clock.time() + seconds
        box.reaper._clock = SimpleNamespace(monotonic=lambda: now, time=lambda: wall)
        box.reap()

    def test_it_is_buried_long_before_its_deadline(self, box: Box) -> None:
        instance = box.instance(ready=False, lease=0)
        box.launcher.vanished.add(instance)
        self.later(box, 1.0)
        assert box.instance_state(instance) is InstanceState.STARTING, "it may show itself yet"
        self.later(box, 1.0 + JUST_NOW)
        assert box.instance_state(instance) is InstanceState.GONE
        assert "never begun" in box.find(instance).reason

    def test_one_that_the_launcher_has_is_left_to_its_deadline(self, box: Box) -> None:
        instance = box.instance(ready=False, lease=0)
        for seconds in (1.0, 1.0 + JUST_NOW, START_DEADLINE - 1):
            self.later(box, seconds)
        assert box.instance_state(instance) is InstanceState.STARTING

    def test_one_that_has_spoken_is_judged_by_its_lease(self, box: Box) -> None:
        instance = box.instance(ready=False)
        box.launcher.vanished.add(instance)
        for seconds in (1.0, 2.0 + JUST_NOW):
            self.later(box, seconds)
        assert box.instance_state(instance) is InstanceState.STARTING
        box.expire_lease(instance)
        for seconds in (3.0 + JUST_NOW, 3.0 + 2 * JUST_NOW):
            self.later(box, seconds)
        assert box.instance_state(instance) is InstanceState.GONE

    def test_one_that_could_not_speak_while_the_store_was_away_gets_the_time_to(self, box: Box) -> None:
        instance = box.instance(ready=False, lease=0)
        box.launcher.vanished.add(instance)
        box.reaper = box.new_reaper(grace=START_DEADLINE / 2)
        for seconds in (1.0, 2.0 + JUST_NOW):
            self.later(box, seconds)
        assert box.instance_state(instance) is InstanceState.STARTING


def test_one_that_begins_none_of_its_tasks(box: Box) -> None:
    instance = box.instance()
    box.reap(instance)
    assert box.instance_state(instance) is InstanceState.GONE
    assert box.launcher.killed == [instance]


def test_one_that_may_live_on_out_of_reach_keeps_its_tasks_until_its_lease_is_over(box: Box) -> None:
    holder = box.running(box.instance())
    box.launcher.certain = False
    box.launcher.end(holder.instance, "its node is lost")
    box.reap()
    assert box.state(holder.task) is TaskState.RUNNING, "it may still be running there"
    assert box.instance_state(holder.instance) is InstanceState.DRAINING, "it is given no other task"
    box.expire_lease(holder.instance)
    box.reap()
    assert box.state(holder.task) is TaskState.WAITING
    assert "its node is lost" in box.task(holder.task).reason


class TestStages:
    """Of a start that takes an engine its time."""

    def at(self, box: Box, instance: str, seconds: float, **stage: float) -> InstanceState:
        """The state of an instance so many seconds after its order, its present stage begun at `since`."""
        began = box.find(instance).created_at
        since = began + stage.pop("since", 0.0)
        box.launcher.starts[instance] = Progress("pulling its image", since, **stage)
        clock = SimpleNamespace(time=lambda: began + seconds, monotonic=time.monotonic)
        box.reaper._clock = clock
        box.reap()
        return box.instance_state(instance)

    def test_what_it_waits_for_is_seen_while_it_starts(self, box: Box) -> None:
        instance = box.instance(ready=False, lease=0)
        self.at(box, instance, 1.0)
        assert box.find(instance).reason == "pulling its image"
        box.store.run(instances.renew(instance, 60.0))
        box.store.run(instances.ready(instance, Place("here", 1, 2.5), "cuda:3"))
        assert (box.find(instance).reason, box.find(instance).device) == ("", "cuda:3")

    def test_each_stage_has_the_whole_deadline(self, box: Box) -> None:
        instance = box.instance(ready=False, lease=0)
        assert self.at(box, instance, START_DEADLINE + 5, since=10.0) is InstanceState.STARTING
        assert self.at(box, instance, START_DEADLINE + 11, since=10.0) is InstanceState.GONE
        assert "pulling its image" in box.find(instance).reason

    def test_a_stage_may_be_given_longer(self, box: Box) -> None:
        instance = box.instance(ready=False, lease=0)
        assert self.at(box, instance, 500.0, patience=600.0) is InstanceState.STARTING
        assert self.at(box, instance, 601.0, patience=600.0) is InstanceState.GONE
