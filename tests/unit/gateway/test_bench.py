"""Who is woken for an item: one of those that wait, in turn, and nobody is forgotten."""

from __future__ import annotations

import asyncio
from typing import cast

from backend.gateway.bench import Benches, Seat
from backend.gateway.hub import Hub
from backend.queue.stream import stream_topic
from backend.store.consumers import Watch
from backend.store.multiplex import MultiplexedStore


def _benches() -> tuple[Hub, Benches]:
    hub = Hub(cast(MultiplexedStore, None))
    return hub, Benches(hub)


def _watch(consumer: str, group: str = "g", **tags: str) -> Watch:
    return Watch("q", group, consumer, consumer, "here", tags=tags)


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_one_waiter_of_each_group_and_filter_is_woken_and_they_take_turns() -> None:
    async def run() -> list[str]:
        hub, benches = _benches()
        woken: list[str] = []

        async def wait(watch: Watch) -> None:
            with benches.joined(watch) as bench:
                for _ in range(2):
                    await bench.sit(Seat())
                    woken.append(f"{watch.group}.{watch.consumer}")

        watches = [_watch("a"), _watch("b"), _watch("x", group="other"), _watch("t", color="red")]
        tasks = [asyncio.create_task(wait(watch)) for watch in watches]
        await _settle()
        for _ in range(2):
            hub._wake(stream_topic("q", ""))
            await _settle()
        hub._wake(stream_topic("q", "color\0red"))
        await _settle()
        for task in tasks:
            task.cancel()
        return woken

    assert asyncio.run(run()) == ["g.a", "other.x", "g.b", "other.x", "g.t"]


def test_what_comes_while_nobody_sits_is_not_missed() -> None:
    async def run() -> None:
        hub, benches = _benches()
        with benches.joined(_watch("a")) as bench:
            hub._wake(stream_topic("q", ""))
            await asyncio.wait_for(bench.sit(Seat()), 1.0)

    asyncio.run(run())


def test_one_that_leaves_when_it_is_its_turn_passes_it_on() -> None:
    async def run() -> None:
        hub, benches = _benches()
        sitting = asyncio.Event()

        async def wait(name: str) -> None:
            with benches.joined(_watch(name)) as bench:
                if name == "last":
                    sitting.set()
                await bench.sit(Seat())

        first = asyncio.create_task(wait("first"))
        await _settle()
        last = asyncio.create_task(wait("last"))
        await sitting.wait()
        await _settle()
        hub._wake(stream_topic("q", ""))
        first.cancel()
        await asyncio.wait_for(last, 1.0)

    asyncio.run(run())


def test_a_bench_without_members_leaves_the_hub() -> None:
    hub, benches = _benches()
    with benches.joined(_watch("a")):
        with benches.joined(_watch("b")):
            pass
        assert hub._topics and hub._ticking
    assert not hub._topics and not hub._ticking
