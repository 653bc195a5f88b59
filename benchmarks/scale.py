"""How scheduling pass, store and gateway load grow: waiting tasks and instances by ten.

A live supervisor on a real store, with instances that another process plays: ten times a second a task ends, a new one
is put, an instance is given the next. Then a gateway over queues of each length: what people and clients ask of it.
Then what an instance costs that does nothing but keep its lease.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from backend.store import instances
from backend.store.connection import Store
from backend.store.embedded import EmbeddedStore
from benchmarks import _fleet as fleet
from benchmarks._load import Target, latencies
from benchmarks._pool import percentile
from tests.support.gateway_box import TOKEN, Box

CASES = ((200, 20), (200, 200), (200, 2_000), (200, 20_000), (20, 2_000), (1_000, 2_000))
"""Instances, waiting tasks."""
RATE, SECONDS = 10.0, 6.0
QUEUES = (20, 200, 2_000, 20_000)
ROUNDS = 60
RENEWALS = 20_000


def main() -> None:
    """Measure, print three tables."""
    print(
        "| instances | waiting | pass, median | p99 | longest | its CPU, median | first passes, longest |"
        " all to the first decision | end to next task | supervisor CPU | store CPU | commands/s | store memory |"
    )
    print("|--:" * 13 + "|")
    for count, waiting in CASES:
        with _store() as (server, folder):
            print(_pool(server, folder, count, waiting), flush=True)
    _leases()
    print(
        "\n| waiting | list 50 tasks | one task | put | put → watch of a queue | CPU of a put | store memory |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|")
    for waiting in QUEUES:
        print(asyncio.run(_gateway(waiting)), flush=True)


class _store:
    def __enter__(self) -> tuple[EmbeddedStore, Path]:
        self._folder = tempfile.TemporaryDirectory()
        self._server = EmbeddedStore(Path(self._folder.name))
        self._server.start()
        return self._server, Path(self._folder.name)

    def __exit__(self, *_: Any) -> None:
        self._server.stop()
        self._folder.cleanup()


@dataclass(frozen=True)
class _Spent:
    """What processes and the store have used so far."""

    own: float
    store: float
    commands: int
    at: float

    @classmethod
    def now(cls, server: EmbeddedStore, store: Store) -> _Spent:
        assert server.process is not None
        commands = int(store.redis.info("stats")["total_commands_processed"])
        return cls(
            _cpu(psutil.Process()), _cpu(psutil.Process(server.process.pid)), commands, time.monotonic()
        )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _pool(server: EmbeddedStore, folder: Path, count: int, waiting: int) -> str:
    store = Store(server.url)
    fleet.fleet(store, count)
    fleet.put(store, waiting + count, itertools.count())
    supervisor = fleet.Timed(fleet.settings(folder, server.url))
    reached: list[float] = []
    spent: list[_Spent] = []
    settled: list[int] = []

    def said(seconds: float) -> None:
        # The first seconds are for the opening: the queue is read, and every instance gets a task.
        reached.append(seconds)
        if len(reached) == int(RATE * 2):
            spent.append(_Spent.now(server, store))
            settled.append(len(supervisor.passes))

    fleet.run(supervisor, fleet.paced, store.url, SECONDS + 2, RATE, 10**6, said=said)
    spent.append(_Spent.now(server, store))
    before, after = spent
    seconds = after.at - before.at
    settled_at, opening = settled[0], supervisor.passes[: supervisor.opening]
    passes, worked = supervisor.passes[settled_at:], supervisor.worked[settled_at:]
    memory = store.redis.info("memory")["used_memory"] / 2**20
    store.close()
    cells = (
        *(str(count), str(waiting)),
        *(_ms(statistics.median(passes)), _ms(percentile(passes, 0.99)), _ms(max(passes))),
        *(
            _ms(statistics.median(worked)),
            _ms(max(opening)),
            _ms(sum(opening)),
            _ms(statistics.median(reached)),
        ),
        *(f"{(after.own - before.own) / seconds:.0%}", f"{(after.store - before.store) / seconds:.0%}"),
        *(f"{(after.commands - before.commands) / seconds:.0f}", f"{memory:.1f} MiB"),
    )
    return f"| {' | '.join(cells)} |"


def _leases() -> None:
    """What the sign of life of an instance costs the store."""
    with _store() as (server, _):
        store = Store(server.url)
        names = fleet.fleet(store, 100)
        before = _Spent.now(server, store)
        for _ in range(RENEWALS // len(names)):
            store.run_all([instances.renew(name, 10.0) for name in names])
        after = _Spent.now(server, store)
        each = (after.store - before.store) / RENEWALS
        print(
            f"\na renewed lease costs the store {each * 1e6:.0f} µs; an instance renews its own every 2 s",
            flush=True,
        )
        store.close()


async def _gateway(waiting: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        box = Box(Path(folder)).start()
        try:
            return await _asked(box, waiting)
        finally:
            box.close()


async def _asked(box: Box, waiting: int) -> str:
    box.create("many", "ScalableJob")
    box.create("plain")
    store = box.store()
    fleet.put(store, waiting, itertools.count())
    assert box.gateway is not None
    gateway = psutil.Process(box.gateway.pid)
    with box.http() as http:
        found = {
            "list": _timed(lambda: http.get("/api/v1/tasks", params={"service": "many", "limit": 50})),
            "one": _timed(lambda: http.get(f"/api/v1/tasks/t{waiting // 2}")),
        }
        before = _cpu(gateway)
        found["put"] = _timed(
            lambda: http.post("/api/predict/many", params={"taskType": "command"}, content=b"true")
        )
        cpu = (_cpu(gateway) - before) / ROUNDS
    target = Target(
        "lorapool",
        f"{box.url}/api/predict",
        {"Authorization": TOKEN, "Accept": "application/vnd.google.protobuf"},
    )
    watched = await latencies(
        target, "/plain?_watch_=true&_auto_commit_=true", "/plain", rate=100.0, count=300
    )
    memory = store.redis.info("memory")["used_memory"] / 2**20
    store.close()
    return (
        f"| {waiting} | {_ms(found['list'])} | {_ms(found['one'])} | {_ms(found['put'])} "
        f"| {_ms(statistics.median(watched))} | {_ms(cpu)} | {memory:.1f} MiB |"
    )


def _timed(ask: Callable[[], Any]) -> float:
    """Median seconds of one request."""
    spent = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        ask().raise_for_status()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


if __name__ == "__main__":
    main()
