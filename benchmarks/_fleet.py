"""A live supervisor in this process, timed, over instances that another process plays on a real store."""

from __future__ import annotations

import itertools
import multiprocessing
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backend.deploy import deploy
from backend.instance import Place
from backend.pool.forecast import Forecast
from backend.pool.supervisor import Supervisor
from backend.service import parse
from backend.settings import Settings, read
from backend.store import instances, tasks
from backend.store.connection import Store
from backend.store.outputs import Holder
from backend.store.tasks import NewTask
from backend.task import TaskState
from tests.support.fake_launcher import FakeLauncher

SERVICE = "many"
USERS = 20
AT_ONCE = 500
_LEASE = 10**6


class Timed(Supervisor):
    """Notes how many seconds each of its passes took, from the look at the store to the last word to it.

    `worked` is how many of these its thread had the processor; `opening` how many passes there were to the first
    decision, that one with them: in these the queue is read.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, FakeLauncher())
        self.passes: list[float] = []
        self.worked: list[float] = []
        self.opening = 0

    def _pass(self) -> None:
        began, worked = time.perf_counter(), time.thread_time()
        super()._pass()
        self.passes.append(time.perf_counter() - began)
        self.worked.append(time.thread_time() - worked)
        if not self.opening and any(len(pool.journal) for pool in self._pools.values()):
            self.opening = len(self.passes)


@contextmanager
def slices(into: list[float]) -> Iterator[None]:
    """Have the seconds of each slice of a forecast noted."""
    plain = Forecast.go_on

    def timed(forecast: Forecast) -> None:
        began = time.perf_counter()
        plain(forecast)
        into.append(time.perf_counter() - began)

    Forecast.go_on = timed  # type: ignore[method-assign]
    try:
        yield
    finally:
        Forecast.go_on = plain  # type: ignore[method-assign]


def run(
    supervisor: Timed,
    work: Callable[..., None],
    *arguments: Any,
    said: Callable[[Any], None] = lambda _: None,
) -> None:
    """Run the supervisor in this thread while `work(say, *arguments)` runs in a process of its own, until that ends."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, work, arguments))
    process.start()
    theirs.close()

    def listen() -> None:
        try:
            while True:
                said(ours.recv())
        except EOFError:
            supervisor.stop()

    listener = threading.Thread(target=listen)
    listener.start()
    supervisor.run()
    listener.join()
    process.join()
    assert process.exitcode == 0


def _work(pipe: Any, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    work(pipe.send, *arguments)
    pipe.close()


def settings(folder: Path, url: str, **more: Any) -> Settings:
    """Of a deployment whose instances outlive its supervisor."""
    return read(data_dir=folder, REDIS_URL=url, end_instances=False, **more)


def fleet(store: Store, count: int) -> list[str]:
    """A service of `count` instances that are up, and stay so without a sign of life."""
    bounds = {"min": count, "max": count}
    raw = {"metadata": {"name": SERVICE, "type": "ScalableJob"}, "autoscaler": bounds}
    deploy(store, parse(raw).description)
    names = [f"i{n}" for n in range(count)]
    for name in names:
        created: dict[str, Any] = {
            "slots": 1,
            "launcher": "local",
            "host": socket.gethostname(),
            "device": "cpu",
            "created_at": time.time(),
        }
        store.run_all(instances.create(name, SERVICE, **created))
    store.run_all([instances.renew(name, _LEASE) for name in names])
    store.run_all([instances.ready(name, Place(socket.gethostname(), 1, 2.5)) for name in names])
    return names


def put(store: Store, count: int, numbers: Iterator[int]) -> None:
    """Queue tasks of some users, many to a round trip."""
    for first in range(0, count, AT_ONCE):
        some = itertools.islice(numbers, min(AT_ONCE, count - first))
        store.run_all(
            [tasks.put(NewTask(f"t{n}", SERVICE, "command", user=f"user{n % USERS}")) for n in some]
        )


def claim(store: Store) -> list[Holder]:
    """Have every instance begin what it was given and has not begun."""
    given = [(i.id, task) for i in store.run(instances.present()) for task in i.tasks]
    attempts = store.run_all([tasks.claim(task, name) for name, task in given])
    return [Holder(task, n, name) for (name, task), n in zip(given, attempts, strict=True) if n]


def paced(say: Callable[[Any], None], url: str, seconds: float, rate: float, numbered_from: int) -> None:
    """So often a second a task ends, a new one is put, and the instance begins what it is given next.

    Says, in seconds, how long each instance waited for that.
    """
    store, numbers = Store(url), itertools.count(numbered_from)
    began, holders = time.monotonic(), _all_at_work(store)
    for turn in range(round(seconds * rate)):
        time.sleep(max(0.0, began + turn / rate - time.monotonic()))
        ended = holders.pop(0)
        store.run(tasks.finish(ended, TaskState.SUCCEEDED, ""))
        at = time.monotonic()
        put(store, 1, numbers)
        while not (held := store.run(instances.held(ended.instance))):
            time.sleep(0.001)
        say(time.monotonic() - at)
        attempt = store.run(tasks.claim(held[0], ended.instance))
        holders.append(Holder(held[0], attempt, ended.instance))
    store.close()


def through(say: Callable[[Any], None], url: str, count: int, step: int) -> None:
    """Have `count` tasks run, as fast as they are given out; says how many have ended, each `step`."""
    store, numbers, done = Store(url), itertools.count(), 0
    put(store, AT_ONCE, numbers)
    while done < count:
        holders = claim(store)
        if not holders:
            time.sleep(0.005)
            continue
        put(store, len(holders), numbers)
        store.run_all([tasks.finish(holder, TaskState.SUCCEEDED, "") for holder in holders])
        before, done = done, done + len(holders)
        if before // step < done // step:
            say(done)
    store.close()


def _all_at_work(store: Store) -> list[Holder]:
    """Those that run, once every instance has a task."""
    holders: list[Holder] = []
    while True:
        holders += claim(store)
        present = store.run(instances.present())
        if all(instance.tasks for instance in present):
            running = {holder.task for holder in holders}
            held = [(i.id, task) for i in present for task in i.tasks if task not in running]
            found = store.run_all([tasks.get(task) for _, task in held])
            return holders + [Holder(t.id, t.attempt, t.instance) for t in found if t.attempt]
        time.sleep(0.01)
