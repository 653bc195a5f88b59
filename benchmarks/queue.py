"""The queue service beside a bare Starlette handler on the same store, in turn, in one run.

The rival (`_bare_queue.py`) stores the same, as durably, and answers the same bytes; ours does tag filters, groups,
windows, redelivery, limits and once-only request ids besides. Medians over the rounds, least to greatest; `ratio` is
ours over the rival's. Then the same operations of ours on a queue of 10 and of 100 000 items.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks import _queue_lengths
from benchmarks._load import Connection, Target, drain_rate, latencies, put_rate
from tests.support.gateway_box import TOKEN, Box, eventually, free_port

ROUNDS = 5
PUTS, CONNECTIONS = 1500, 8
ITEMS = 2000
LATENCY_RATE, LATENCY_COUNT = 200.0, 600
WATCHERS, IDLE_SECONDS = 100, 10.0
BODY = b"x" * 100

_NUMBERS = itertools.count()


def main() -> None:
    """Measure, print tables."""
    with tempfile.TemporaryDirectory() as folder:
        box = Box(Path(folder)).start()
        rival = _start_rival(box)
        try:
            asyncio.run(_compare(box, rival))
            _queue_lengths.main(box)
        finally:
            rival.process.kill()
            rival.process.wait()
            box.close()


class _Rival:
    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process = process
        self.target = Target("bare Starlette", url, {"Authorization": TOKEN})


def _start_rival(box: Box) -> _Rival:
    port = free_port()
    environment = {**os.environ, "REDIS_URL": box.store_server.url, "LORAPOOL_TOKEN": TOKEN}
    command = [sys.executable, "-m", "benchmarks._bare_queue", str(port)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.post(f"{url}/ready", headers={"Authorization": TOKEN}).status_code == 200
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
    assert box.store_server.process is not None
    store = psutil.Process(box.store_server.process.pid)
    print(f"\n| {WATCHERS} idle watchers | CPU | without them | CPU of the store | memory of each |")
    print("|---|---|---|---|---|")
    for target, pid in ((ours, box.gateway.pid), (rival.target, rival.process.pid)):
        await _idle(box, target, psutil.Process(pid), store)


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


async def _idle(box: Box, target: Target, process: psutil.Process, store: psutil.Process) -> None:
    """CPU and memory of a hundred watchers that wait, on a queue each."""
    opened = []
    queues = [_queue(box, target) for _ in range(WATCHERS)]
    rss = process.memory_info().rss
    (alone,) = await _cpu(process)
    for queue in queues:
        connection = await Connection(target).open()
        await connection.watch(f"/{queue}{_watch(target)}")
        opened.append((connection, asyncio.create_task(connection.frame())))
    await asyncio.sleep(1.0)
    busy, of_store = await _cpu(process, store)
    grown = (process.memory_info().rss - rss) / WATCHERS / 1024
    for connection, waiting in opened:
        waiting.cancel()
        connection.close()
    print(
        f"| {target.name} | {100 * busy:.1f} % of a core | {100 * alone:.1f} % | "
        f"{100 * of_store:.1f} % | {grown:.0f} kB |"
    )


async def _cpu(*processes: psutil.Process) -> list[float]:
    """Shares of a core that processes use over a while."""
    before = [process.cpu_times() for process in processes]
    await asyncio.sleep(IDLE_SECONDS)
    after = [process.cpu_times() for process in processes]
    return [
        (b.user + b.system - a.user - a.system) / IDLE_SECONDS for a, b in zip(before, after, strict=True)
    ]


def _print(rows: list[tuple[str, str, list[float], list[float]]]) -> None:
    print("| | lorapool | bare Starlette | ratio |\n|---|---|---|---|")
    for name, unit, ours, theirs in rows:
        ratio = statistics.median(ours) / statistics.median(theirs)
        print(f"| {name} | {_spread(ours, unit)} | {_spread(theirs, unit)} | {ratio:.2f} |")


def _spread(values: list[float], unit: str) -> str:
    digits = 1 if unit == "ms" else 0
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} {unit} ({low:.{digits}f}–{high:.{digits}f})"


if __name__ == "__main__":
    main()
