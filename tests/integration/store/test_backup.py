"""Backup and restore: what comes back is what was there, of one moment; a file that is not whole changes nothing."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.errors import Conflict, InvalidInput
from backend.processes import wait_until
from backend.store import backup, instances, tasks
from backend.store.connection import Store
from backend.store.embedded import EmbeddedStore
from backend.task import TaskState
from tests.support.store_fixtures import running_store
from tests.support.store_world import World


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    """A store on another machine."""
    with running_store(tmp_path_factory.mktemp("other")) as server:
        yield server


@pytest.fixture
def fresh(other: EmbeddedStore) -> Iterator[Store]:
    store = Store(other.url)
    store.redis.flushdb()
    try:
        yield store
    finally:
        store.close()


VALUES = {
    b"lorapool:string": b"\xff\x00\r\n text",
    b"lorapool:hash": {b"a\xfe": b"\x80", b"b": b""},
    b"lorapool:list": [b"1", b"1", b"\xff"],
    b"lorapool:set": {b"x", b"y\x00"},
}


def test_every_kind_of_value_comes_back(world: World, fresh: Store, tmp_path: Path) -> None:
    server = world.store.redis
    server.set(b"lorapool:string", VALUES[b"lorapool:string"])  # type: ignore[arg-type]
    server.hset("lorapool:hash", mapping=VALUES[b"lorapool:hash"])  # type: ignore[arg-type]
    server.rpush("lorapool:list", *VALUES[b"lorapool:list"])
    server.sadd("lorapool:set", *VALUES[b"lorapool:set"])
    server.zadd("lorapool:zset", {"a": 0.1, "b": float("-inf"), "c": 1e300, "d": 1790000000.123456})
    server.xadd("lorapool:stream", {"a": "1", b"\xff": b"\x00"}, id="5-1")
    server.xadd("lorapool:stream", {"b": "2"}, id="7-0")
    server.xdel("lorapool:stream", "7-0")
    server.xadd("lorapool:empty", {"b": "2"}, id="9-0")
    server.xtrim("lorapool:empty", maxlen=0)
    server.set("lorapool:passing", "1", px=100_000)
    server.set("somebody:else", "1")
    # Other tests' tasks are in the store, too, and those that run come back as waiting ones.
    kinds = ("string", "hash", "list", "set", "zset", "stream", "empty", "passing")
    names = [f"lorapool:{kind}" for kind in kinds]
    backup.write(world.store, tmp_path / "b")
    assert backup.read_into(fresh, tmp_path / "b", replace=False) >= 9
    there = fresh.redis
    for name in names:
        kind = server.type(name)
        assert there.type(name) == kind, name
        if kind == b"stream":
            assert there.xrange(name) == server.xrange(name)
            last = "last-generated-id"
            assert there.xinfo_stream(name)[last] == server.xinfo_stream(name)[last]
        elif kind == b"zset":
            assert there.zrange(name, 0, -1, withscores=True) == server.zrange(name, 0, -1, withscores=True)
        elif kind == b"set":
            assert there.smembers(name) == server.smembers(name)
        elif kind == b"hash":
            assert there.hgetall(name) == server.hgetall(name), name
        elif kind == b"list":
            assert there.lrange(name, 0, -1) == server.lrange(name, 0, -1), name
        else:
            assert there.get(name) == server.get(name), name
    assert 0 < there.pttl("lorapool:passing") <= 100_000
    assert not there.exists("somebody:else")
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600


def test_what_ran_goes_back_to_the_queue(world: World, fresh: Store, tmp_path: Path) -> None:
    # given a task that waits, one that runs and one that is done
    running, done = world.running(world.instance()), world.running(world.instance())
    waiting = world.put()
    world.store.run(tasks.finish(done, TaskState.SUCCEEDED, ""))
    backup.write(world.store, tmp_path / "b")
    # when the backup is restored elsewhere
    backup.read_into(fresh, tmp_path / "b", replace=False)
    # then nobody runs anything there, and the task that ran waits as the first, with no delivery counted
    assert fresh.run(instances.ids()) == []
    found = [fresh.run(tasks.get(task)) for task in (waiting, running.task, done.task)]
    states = [task.state for task in found]
    assert states == [TaskState.WAITING, TaskState.WAITING, TaskState.SUCCEEDED]
    assert found[1].deliveries == 0
    assert fresh.run(tasks.waiting(world.service)) == [running.task, waiting]


def test_a_backup_is_of_one_moment(world: World, fresh: Store, tmp_path: Path) -> None:
    """Two counters that are always changed together are equal in every backup."""
    server, stop = world.store.redis, threading.Event()
    for n in range(2000):
        server.set(f"lorapool:filling{n}", n)

    def count() -> None:
        writer = Store(world.store.url)
        while not stop.is_set():
            writer.redis.eval(
                "redis.call('INCR', 'lorapool:a-first'); redis.call('INCR', 'lorapool:z-last')", 0
            )
        writer.close()

    thread = threading.Thread(target=count)
    thread.start()
    try:
        assert wait_until(lambda: server.exists("lorapool:z-last") == 1, 10.0)
        for n in range(3):
            backup.write(world.store, tmp_path / str(n))
    finally:
        stop.set()
        thread.join()
    for n in range(3):
        backup.read_into(fresh, tmp_path / str(n), replace=True)
        first = fresh.redis.get("lorapool:a-first")
        assert first == fresh.redis.get("lorapool:z-last") is not None


def test_files_that_are_not_whole_change_nothing(world: World, fresh: Store, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    backup.write(world.store, whole)
    data = whole.read_bytes()
    lines = gzip.decompress(data).splitlines(keepends=True)
    broken = {
        "cut": (data[: len(data) // 2], "damaged or was cut off"),
        "flipped": (data[:60] + bytes([data[60] ^ 1]) + data[61:], "damaged or was cut off"),
        "a line less": (gzip.compress(b"".join([*lines[:2], *lines[3:]])), "damaged or was cut off"),
        "no end": (gzip.compress(b"".join(lines[:-1])), "damaged or was cut off"),
        "something else": (b"PK\x03\x04", "is no backup of lorapool"),
        "other lines": (gzip.compress(b'{"a": 1}\n'), "is no backup of lorapool"),
        "later": (
            gzip.compress(data and lines[0].replace(b'"version":1', b'"version":9') + b"".join(lines[1:])),
            "in a form that this one does not read",
        ),
    }
    fresh.redis.set("lorapool:mine", "1")
    for name, (content, said) in broken.items():
        file = tmp_path / "broken"
        file.write_bytes(content)
        with pytest.raises(InvalidInput, match=said):
            backup.read_into(fresh, file, replace=True)
        assert fresh.redis.get("lorapool:mine") == b"1", name
    with pytest.raises(InvalidInput, match="there is no file"):
        backup.check(tmp_path / "missing")


def test_a_store_in_use_is_left_alone(world: World, fresh: Store, tmp_path: Path) -> None:
    backup.write(world.store, tmp_path / "b")
    fresh.redis.set("lorapool:mine", "1")
    with pytest.raises(Conflict, match="--replace"):
        backup.read_into(fresh, tmp_path / "b", replace=False)
    fresh.run(instances.lead("somebody", 60))
    with pytest.raises(Conflict, match="stop it first"):
        backup.read_into(fresh, tmp_path / "b", replace=True)
    assert fresh.redis.get("lorapool:mine") == b"1"
