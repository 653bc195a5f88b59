"""The queue service beside a bare Starlette handler on the same store, in turn, in one run.

The rival (`_bare_queue.py`) does the least that could be called a queue: one XADD for a put, one XREAD for a watch.
Ours does tags, groups, windows, commits, redelivery, limits and request ids on top. Rates are medians over the rounds;
`ratio` is ours over the rival's. Then the same operations of ours on a queue of 10 and of 100 000 items.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import psutil

from backend.store import streams
from backend.store.connection import Store
from benchmarks._load import Connection, Target, drain_rate, latencies, put_rate
from tests.support.gateway_box import TOKEN, Box, eventually, free_port

ROUNDS = 5
PUTS, CONNECTIONS = 1500, 8
ITEMS = 2000
LATENCY_RATE, LATENCY_COUNT = 200.0, 1000
WATCHERS, IDLE_SECONDS = 100, 15.0
LONG, SHORT = 100_000, 10
BODY = b"x" * 100

_NUMBERS = itertools.count()


def main() -> None:
    """Measure, print tables."""
    with tempfile.TemporaryDirectory() as folder:
        box = Box(Path(folder)).start()
        rival = _start_rival(box)
        try:
            asyncio.run(_compare(box, rival))
            _lengths(box)
        finally:
            rival.process.kill()
            rival.process.wait()
            box.close()


class _Rival:
    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process = process
        self.target = Target("bare Starlette", url, {})


def _start_rival(box: Box) -> _Rival:
    port = free_port()
    environment = {**os.environ, "REDIS_URL": box.store_server.url}
    command = [sys.executable, "-m", "benchmarks._bare_queue", str(port)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.post(f"{url}/ready", content=b"x").status_code == 200
        except httpx.TransportError:
            return False

    eventually(answers)
    return _Rival(process, url)


async def _compare(box: Box, rival: _Rival) -> None:
    ours = Target("lorapool", f"{box.url}/api/predict", {"Authorization": TOKEN, **_PROTOBUF})
    assert box.gateway is not None
    rows: list[tuple[str, str, list[float], list[float]]] = []
    measures: list[tuple[str, str, Callable[[Target], Coroutine[Any, Any, dict[str, float]]]]] = [
        ("put/s, 8 connections", "1/s", lambda target: _put(box, target)),
        ("watch items/s, one watcher", "1/s", lambda target: _drain(box, target)),
        (f"put → watch at {LATENCY_RATE:.0f}/s", "ms", lambda target: _latency(box, target)),
    ]
    for name, unit, measure in measures:
        found: dict[str, dict[str, list[float]]] = {}
        for round_ in range(ROUNDS + 1):
            for target in (ours, rival.target):
                for what, value in (await measure(target)).items():
                    if round_:  # the first round warms both up
                        found.setdefault(what, {}).setdefault(target.name, []).append(value)
        rows += [
            (f"{name} {what}".strip(), unit, by[ours.name], by[rival.target.name])
            for what, by in found.items()
        ]
    _print(rows)
    for target, pid in ((ours, box.gateway.pid), (rival.target, rival.process.pid)):
        await _idle(box, target, psutil.Process(pid))


_PROTOBUF = {"Accept": "application/vnd.google.protobuf"}


def _queue(box: Box, target: Target) -> str:
    """A fresh queue of a rival."""
    name = f"q{next(_NUMBERS)}"
    if target.name == "lorapool":
        box.create(name)
    return name


async def _put(box: Box, target: Target) -> dict[str, float]:
    path = f"/{_queue(box, target)}"
    return {"": await put_rate(target, path, BODY, count=PUTS, connections=CONNECTIONS)}


async def _drain(box: Box, target: Target) -> dict[str, float]:
    path = f"/{_queue(box, target)}"
    await put_rate(target, path, BODY, count=ITEMS, connections=CONNECTIONS)
    return {"": await drain_rate(target, path + _watch(target), count=ITEMS)}


async def _latency(box: Box, target: Target) -> dict[str, float]:
    path = f"/{_queue(box, target)}"
    found = await latencies(target, path + _watch(target), path, rate=LATENCY_RATE, count=LATENCY_COUNT)
    cuts = statistics.quantiles(found, n=100)
    return {"p50": cuts[49] * 1000, "p99": cuts[98] * 1000}


def _watch(target: Target) -> str:
    return "?_watch_=true&_auto_commit_=true" if target.name == "lorapool" else ""


async def _idle(box: Box, target: Target, process: psutil.Process) -> None:
    """CPU and memory of a hundred watchers that wait, on a queue each."""
    rss, before = process.memory_info().rss, process.cpu_times()
    await asyncio.sleep(IDLE_SECONDS)
    alone = _cpu(process, before)
    opened = []
    for _ in range(WATCHERS):
        connection = await Connection(target).open()
        await connection.watch(f"/{_queue(box, target)}{_watch(target)}")
        opened.append((connection, asyncio.create_task(connection.frame())))
    await asyncio.sleep(1.0)
    before = process.cpu_times()
    await asyncio.sleep(IDLE_SECONDS)
    busy, grown = _cpu(process, before), (process.memory_info().rss - rss) / WATCHERS
    for connection, waiting in opened:
        waiting.cancel()
        connection.close()
    print(
        f"{WATCHERS} idle watchers, {target.name}: {100 * busy:.1f} % of a core "
        f"(none: {100 * alone:.1f} %), {grown / 1024:.0f} kB each"
    )


def _cpu(process: psutil.Process, before: Any) -> float:
    now = process.cpu_times()
    return float(now.user + now.system - before.user - before.system) / IDLE_SECONDS


def _lengths(box: Box) -> None:
    """One put, delivery, commit, get by request id and search, on a short and on a long queue, in turn."""
    names = {length: f"length{length}" for length in (SHORT, LONG)}
    store = box.store()
    for length, name in names.items():
        box.create(name)
        _fill(store, name, length)
    with box.http(**{"X-EAS-QueueService-Redis-Uid": "u"}) as http:
        found: dict[int, list[float]] = {length: [] for length in names}
        for round_ in range(21):
            for length, name in names.items():
                seconds = _cycle(http, name)
                if round_:
                    found[length].append(seconds)
    medians = {length: statistics.median(values) * 1000 for length, values in found.items()}
    print(
        f"\nput, get by request id, search, commit: {medians[SHORT]:.2f} ms with {SHORT} items in the queue, "
        f"{medians[LONG]:.2f} ms with {LONG} (ratio {medians[LONG] / medians[SHORT]:.2f})"
    )
    store.close()


def _fill(store: Store, name: str, length: int) -> None:
    for n in range(length):
        store.run(streams.put(name, BODY, {"requestId": f"{name}-{n}", "taskType": "query"}))


def _cycle(http: httpx.Client, name: str) -> float:
    url, request_id = f"/api/predict/{name}", f"cycle-{next(_NUMBERS)}"
    began = time.perf_counter()
    index = http.post(url, params={"requestId": request_id}, content=BODY).text
    assert http.get(url, params={"requestId": request_id, "_raw_": "false"}).json()[0]["index"] == int(index)
    assert http.get(url, params={"_search_": "true", "_index_": index}).json()["IsPending"] is False
    assert http.put(url, params={"_indexes_": index}).text == "OK"
    return time.perf_counter() - began


def _print(rows: list[tuple[str, str, list[float], list[float]]]) -> None:
    print(f"{'':34}{'lorapool':>22}{'bare Starlette':>22}{'ratio':>8}")
    for name, unit, ours, theirs in rows:
        a, b = statistics.median(ours), statistics.median(theirs)
        print(f"{name:34}{_spread(ours, unit):>22}{_spread(theirs, unit):>22}{a / b:>8.2f}")


def _spread(values: list[float], unit: str) -> str:
    digits = 1 if unit == "ms" else 0
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} {unit} ({low:.{digits}f}–{high:.{digits}f})"


if __name__ == "__main__":
    main()
