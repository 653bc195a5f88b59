"""How a store that is away, or takes no changes, shows itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from backend.errors import StoreUnavailable
from backend.store import tasks
from backend.store.call import command
from backend.store.connection import AsyncStore, Store
from backend.store.embedded import EmbeddedStore
from backend.store.keys import key
from tests.support.store_fixtures import running_store
from tests.support.store_world import World

OVER = "maxmemory"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedStore]:
    """A server that a test may kill."""
    with running_store(tmp_path) as server:
        yield server


@pytest.fixture
def full(world: World) -> Iterator[World]:
    """A server without any memory left."""
    world.ask("CONFIG", "SET", OVER, 1)
    try:
        yield world
    finally:
        world.ask("CONFIG", "SET", OVER, 0)


def test_a_store_that_is_away_is_one_error_and_then_there_again(own: EmbeddedStore) -> None:
    world = World(own.url)
    task = world.put()
    assert own.process is not None
    own.process.kill()
    own.process.wait()
    with pytest.raises(StoreUnavailable, match="acknowledged is safe"):
        world.task(task)
    with pytest.raises(StoreUnavailable):
        world.store.run_all([command("PING")])
    own.start()
    # what was acknowledged is there, and so are the scripts
    assert world.task(task).id == task
    world.put()
    world.close()


def test_a_store_without_memory_is_said_to_be_full(full: World) -> None:
    with pytest.raises(StoreUnavailable, match="takes no changes"):
        full.put()
    with pytest.raises(StoreUnavailable, match="takes no changes"):
        full.store.run_all([command("SET", "x", "y" * 100)])
    assert full.waiting() == []


def test_the_same_in_an_event_loop(full: World) -> None:
    async def ask() -> None:
        store = AsyncStore(full.store.url)
        try:
            assert await store.run(tasks.waiting_count(full.service)) == 0
            with pytest.raises(StoreUnavailable, match="takes no changes"):
                await store.run(command("SET", "x", "y"))
            with pytest.raises(StoreUnavailable, match="takes no changes"):
                await store.run_all([command("SET", "x", "y")])
        finally:
            await store.close()

    asyncio.run(ask())


def test_a_wrong_statement_is_no_excuse(world: World) -> None:
    with pytest.raises(redis.ResponseError):
        world.ask("NOSUCHCOMMAND")
    with pytest.raises(redis.ResponseError):
        world.store.run_all([command("HGET", "READONLY")])


def test_a_silent_server_is_given_up(own: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.store.connection.TIMEOUT", 0.2)
    store = Store(own.url)
    store.run(command("PING"))
    assert own.process is not None
    os.kill(own.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            store.run(command("PING"))
    finally:
        os.kill(own.process.pid, signal.SIGCONT)
        store.close()


def test_a_listener_hears_what_is_published(world: World) -> None:
    with world.store.listen(key("events")) as messages:
        messages.get_message(timeout=0.1)  # the answer to the subscription
        task = world.put()
        message = None
        while message is None:
            message = messages.get_message(timeout=20.0)
        said = json.loads(message["data"])
        assert abs(float(said.pop("at")) - time.time()) < 60
        assert said == {"kind": "task", "id": task, "service": world.service}


def test_scripts_go_in_one_round_trip_too_whether_the_server_knows_them_or_not(world: World) -> None:
    put = [world.put() for _ in range(3)]
    instance = world.instance(slots=3)
    world.ask("SCRIPT", "FLUSH")
    calls = [tasks.assign(task, instance, 2) for task in put]
    assert world.store.run_all(calls) == ["ok", "ok", "no room"]
    assert world.store.run_all([*calls, command("ECHO", "x")])[-1] == b"x"
