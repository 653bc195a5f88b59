"""What a supervisor knows of a queue: read once, kept up by what is announced, and mended where that went astray."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backend.pool import backlog as backlog_module
from backend.pool.backlog import COMPARE_EVERY, LOOK_EVERY, Backlog
from backend.pool.learnt import Learnt
from backend.pool.views import waiting_task
from backend.records import Progress
from backend.store import outputs, tasks
from backend.store.embedded import EmbeddedStore
from backend.task import TaskState
from tests.support.ear import Ear
from tests.support.hands import Hands
from tests.support.store_world import World


class Known:
    def __init__(self, url: str) -> None:
        self.world = World(url)
        self.hands = Hands(1000.0)
        self.ear = Ear(self.world.store)
        self.backlog = self.new()

    def new(self) -> Backlog:
        learnt = Learnt({})
        return Backlog(
            self.world.service, self.world.store, self.hands, lambda task: waiting_task(task, learnt)
        )

    def update(self) -> None:
        self.backlog.update(self.ear.changed(self.world.service))

    @property
    def waiting(self) -> list[str]:
        return [task.id for task in self.backlog.waiting]

    @property
    def active(self) -> set[str]:
        return set(self.backlog.active)


@pytest.fixture
def known(server: EmbeddedStore) -> Iterator[Known]:
    known = Known(server.url)
    try:
        yield known
    finally:
        known.ear.close()
        known.world.close()


def test_a_queue_is_read_once_and_then_followed(known: Known) -> None:
    world = known.world
    first, second, third = world.put(), world.put(), world.put()
    known.update()
    assert known.waiting == [first, second, third]
    # one is given out and ends, one is cancelled, one goes out and comes back, one is new
    instance = world.instance()
    holder = world.running(instance, first)
    known.update()
    assert (known.waiting, known.active) == ([second, third], {first})
    world.store.run(tasks.finish(holder, TaskState.SUCCEEDED, ""))
    world.store.run(tasks.cancel(third))
    back = world.running(instance, second)
    fourth = world.put()
    known.update()
    assert (known.waiting, known.active) == ([fourth], {second})
    world.store.run(tasks.give_back(back, "could not", counted=True, max_delivery=9))
    known.update()
    assert (known.waiting, known.active) == ([second, fourth], set())


def test_a_long_queue_is_read_in_parts(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    put = [known.world.put() for _ in range(5)]
    monkeypatch.setattr(backlog_module, "READ_AT_ONCE", 2)
    monkeypatch.setattr(backlog_module, "READ_FOR", -1.0)
    known.backlog.update(None)
    assert not known.backlog.complete
    # what happens meanwhile is not lost
    known.world.store.run(tasks.cancel(put[0]))
    put.append(known.world.put())
    while not known.backlog.complete:
        known.update()
    assert known.waiting == put[1:]


def test_what_nobody_announced_is_found_in_the_end(known: Known) -> None:
    gone = known.world.put()
    known.update()
    known.world.store.run(tasks.cancel(gone))
    new = known.world.put()
    known.ear.changed(known.world.service)  # heard by nobody
    known.update()
    assert known.waiting == [gone]
    known.hands.now += COMPARE_EVERY
    known.update()
    assert known.waiting == [new]


def test_after_something_went_wrong_everything_is_read_again(known: Known) -> None:
    known.update()
    task = known.world.put()
    known.ear.changed(known.world.service)
    known.backlog.lost()
    assert not known.backlog.complete
    known.backlog.update(set())
    assert known.backlog.complete and known.waiting == [task]


def test_how_far_what_runs_is_comes_in_time(known: Known) -> None:
    holder = known.world.running(known.world.instance())
    known.update()
    progress = outputs.spoken(Progress(10, 20, seconds_per_step=0.5, eta=30.0))
    known.world.store.run(outputs.append(holder, [], [progress], batch=1))
    known.backlog.update(set())
    assert known.backlog.active[holder.task].progress is None
    known.hands.now += LOOK_EVERY
    known.backlog.update(set())
    said = known.backlog.active[holder.task].progress
    assert said is not None and said.eta == 30.0
