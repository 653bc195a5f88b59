"""One scheduling pass over 2 000 waiting tasks and 100 instances: the store read, everything decided and written.

The live pool on a real store with a launcher that starts nothing. `after an event`: one
task ended, its instance is given the next. `from nothing` is a supervisor's first pass: it has read no task yet.
Then the memory of that supervisor's process while it sees 100 000 tasks put, given out and ended.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from backend.deploy import deploy
from backend.instance import Place
from backend.pool.learnt import Learnt
from backend.pool.pool import Pool, read_instances
from backend.service import parse
from backend.store import instances, services, tasks
from backend.store.connection import Store
from backend.store.embedded import EmbeddedStore
from backend.store.tasks import Holder, NewTask
from backend.task import TaskState
from tests.support.fake_launcher import FakeLauncher

WAITING, INSTANCES, PASSES = 2000, 100, 60
LONG, BATCH, STEP = 100_000, 200, 10_000
USERS = 20
SERVICE = "many"


def main() -> None:
    """Measure, print."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedStore(Path(folder))
        server.start()
        store = Store(server.url)
        try:
            _passes(store)
            store.redis.flushdb()
            _memory(store)
        finally:
            store.close()
            server.stop()


def _pool(store: Store) -> Pool:
    raw = {
        "metadata": {"name": SERVICE, "type": "ScalableJob"},
        "autoscaler": {"min": INSTANCES, "max": INSTANCES},
    }
    deploy(store, parse(raw).description)
    description = store.run(services.get(SERVICE)).description
    return Pool(SERVICE, store, FakeLauncher(), description, Learnt({}))


def _instances(store: Store) -> list[str]:
    names = [f"i{n}" for n in range(INSTANCES)]
    for name in names:
        created: dict[str, Any] = {
            "slots": 1,
            "launcher": "local",
            "host": "here",
            "device": "cpu",
            "created_at": time.time(),
        }
        store.run_all(instances.create(name, SERVICE, **created))
        store.run(instances.renew(name, 10**6))
        store.run(instances.ready(name, Place("here", 1, 2.5)))
    return names


def _numbers() -> Iterator[int]:
    n = 0
    while True:
        yield n
        n += 1


def _put(store: Store, numbers: Iterator[int], count: int) -> set[str]:
    put = set()
    for _ in range(count):
        n = next(numbers)
        store.run(tasks.put(NewTask(f"t{n}", SERVICE, "command", user=f"user{n % USERS}")))
        put.add(f"t{n}")
    return put


def _pass(store: Store, pool: Pool, changed: set[str] | None) -> float:
    """Seconds of one pass, as the supervisor makes it."""
    began = time.perf_counter()
    pool.step(read_instances(store), [], changed)
    return time.perf_counter() - began


def _claim(store: Store, pool: Pool) -> list[Holder]:
    """Have every instance begin what it was given."""
    found = []
    for instance in read_instances(store):
        for task in instance.tasks:
            attempt = store.run(tasks.claim(task, instance.id))
            if attempt:
                found.append(Holder(task, attempt, instance.id))
    return found


def _passes(store: Store) -> None:
    pool, numbers = _pool(store), _numbers()
    _instances(store)
    _put(store, numbers, WAITING + INSTANCES)
    _pass(store, pool, None)
    holders = _claim(store, pool)
    seconds = []
    for _ in range(PASSES):
        ended = holders.pop(0)
        store.run(tasks.finish(ended, TaskState.SUCCEEDED, ""))
        changed = {ended.task, *_put(store, numbers, 1)}
        gc.collect()
        seconds.append(_pass(store, pool, changed))
        holders += _claim(store, pool)
    fresh = []
    for _ in range(5):
        again = Pool(SERVICE, store, FakeLauncher(), pool.description, pool.learnt)
        fresh.append(_pass(store, again, None))
    print(f"{WAITING} waiting tasks of {USERS} users, {INSTANCES} busy instances, {PASSES} passes")
    _say("after an event", seconds)
    _say("from nothing", fresh)


def _say(what: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    print(
        f"  {what:16} median {statistics.median(seconds) * 1000:6.1f} ms, "
        f"p95 {ordered[int(0.95 * (len(ordered) - 1))] * 1000:6.1f} ms, most {ordered[-1] * 1000:6.1f} ms"
    )


def _memory(store: Store) -> None:
    pool, numbers = _pool(store), _numbers()
    _instances(store)
    process = psutil.Process()
    done = 0
    print(f"{LONG} tasks through the pool, {BATCH} waiting at a time; this process, and the store's keys")
    while done < LONG:
        changed = _put(store, numbers, BATCH)
        while changed:
            _pass(store, pool, changed)
            for holder in _claim(store, pool):
                store.run(tasks.finish(holder, TaskState.SUCCEEDED, ""))
                done += 1
                changed.discard(holder.task)
        # As the supervisor does; nothing is kept here, so that the store's own size shows too.
        while store.run(tasks.expire(1e-6, 200)):
            pass
        if done % STEP == 0:
            gc.collect()
            rss = process.memory_info().rss / 2**20
            print(f"  {done:7} tasks   {rss:7.1f} MiB   {store.redis.dbsize():6} keys", flush=True)


if __name__ == "__main__":
    main()
