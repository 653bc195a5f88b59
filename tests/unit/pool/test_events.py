"""What the supervisor hears of changes in the store."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from backend.pool import events as events_module
from backend.pool.events import Events
from backend.processes import wait_until
from backend.store import outputs
from backend.store.call import command
from backend.store.keys import key
from tests.support.store_world import World

PATIENCE = 20.0


@pytest.fixture
def wake() -> threading.Event:
    return threading.Event()


@pytest.fixture
def events(world: World, wake: threading.Event) -> Iterator[Events]:
    events = Events(world.store, wake)
    events.start()
    # the subscription stands: from here on nothing is missed
    assert wait_until(lambda: subscribers(world) > 0, PATIENCE)
    assert wake.wait(PATIENCE)
    events.changed()
    wake.clear()
    try:
        yield events
    finally:
        events.close()


def subscribers(world: World) -> int:
    answer = world.ask("PUBSUB", "NUMSUB", key("events"))
    count: int = (
        dict(answer)[key("events").encode()]
        if isinstance(answer, list) and isinstance(answer[0], tuple)
        else answer[1]
    )
    return count


def heard(world: World, events: Events) -> set[str]:
    return (events.changed() or {}).get(world.service, set())


def test_before_it_listens_anything_may_have_changed(world: World, wake: threading.Event) -> None:
    assert Events(world.store, wake).changed() is None


def test_a_put_wakes_and_names_its_task(world: World, events: Events, wake: threading.Event) -> None:
    task = world.put()
    assert wake.wait(PATIENCE)
    assert wait_until(lambda: task in heard(world, events), PATIENCE)
    assert events.changed() == {}


def test_output_wakes_nobody(world: World, events: Events, wake: threading.Event) -> None:
    holder = world.running(world.instance())
    assert wait_until(lambda: holder.task in heard(world, events), PATIENCE)
    world.put("after-the-start")
    assert wait_until(lambda: "after-the-start" in heard(world, events), PATIENCE)
    wake.clear()
    world.store.run(outputs.append(holder, ["a line"], [], batch=1))
    # what is published behind it comes, it does not
    world.put("the-next")
    assert wait_until(lambda: heard(world, events) == {"the-next"}, PATIENCE)


def test_a_lost_connection_means_that_anything_may_have_changed(
    world: World, events: Events, wake: threading.Event
) -> None:
    world.store.run(command("CLIENT", "KILL", "TYPE", "pubsub"))
    assert wake.wait(PATIENCE)
    assert wait_until(lambda: events.changed() is None, PATIENCE)
    assert wait_until(lambda: subscribers(world) > 0, PATIENCE)
    task = world.put()
    assert wait_until(lambda: task in heard(world, events), PATIENCE)


def test_who_does_not_ask_is_told_to_read_everything_instead_of_a_list_without_end(
    world: World, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "MOST_CHANGES", 3)
    for _ in range(5):
        world.put()
    assert wait_until(lambda: events.changed() is None, PATIENCE)
    task = world.put()
    assert wait_until(lambda: task in heard(world, events), PATIENCE)
