"""One connection for all calls, against a real store that comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.errors import StoreUnavailable
from backend.store import streams
from backend.store.call import command
from backend.store.embedded import EmbeddedStore
from backend.store.multiplex import MultiplexedStore


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedStore]:
    server = EmbeddedStore(tmp_path)
    server.start()
    yield server
    server.stop()


def test_answers_go_to_those_who_asked(server: EmbeddedStore) -> None:
    async def run() -> None:
        store = MultiplexedStore(server.url)

        async def work(name: str) -> None:
            for n in range(50):
                assert await store.run(command("SET", name, n)) == b"OK"
                assert await store.run(command("GET", name)) == b"%d" % n

        await asyncio.gather(*(work(f"k{n}") for n in range(20)))
        assert await store.run_all([command("GET", f"k{n}") for n in range(20)]) == [b"49"] * 20
        put = await store.run(streams.put("q", b"x" * 3_000_000, {}))
        (item,) = await store.run(streams.get("q", {}))
        assert (put.index, len(item.data)) == (1, 3_000_000)
        await store.close()

    asyncio.run(run())


def test_one_that_stops_waiting_spoils_nothing(server: EmbeddedStore) -> None:
    async def run() -> None:
        store = MultiplexedStore(server.url)
        await store.run(command("SET", "a", "1"))
        impatient = asyncio.create_task(store.run(command("GET", "a")))
        await asyncio.sleep(0)
        impatient.cancel()
        assert await store.run(command("GET", "missing")) is None
        assert await store.run(command("GET", "a")) == b"1"
        await store.close()

    asyncio.run(run())


def test_it_connects_again_after_a_restart(server: EmbeddedStore) -> None:
    async def run() -> None:
        store = MultiplexedStore(server.url)
        await store.run(streams.put("q", b"x", {}))
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        with pytest.raises(StoreUnavailable):
            await store.run(command("PING"))
        server.start()
        assert await store.run(command("PING")) == b"PONG"
        # A fresh server knows no scripts.
        await store.run(streams.put("q", b"x", {}))
        await store.close()

    asyncio.run(run())


def test_a_wrong_password_is_not_an_absent_store(server: EmbeddedStore) -> None:
    async def run() -> None:
        store = MultiplexedStore(server.url.replace("unix://:", "unix://:wrong"))
        with pytest.raises(Exception, match="WRONGPASS"):
            await store.run(command("PING"))
        await store.close()

    asyncio.run(run())


async def _opened_and_closed(url: str, turns: int, end: str) -> None:
    """Ask and listen, and be closed after so many turns of the loop: before, after or while the others end."""
    store = MultiplexedStore(url)

    async def ask() -> None:
        with contextlib.suppress(StoreUnavailable):
            for _ in range(3):
                await store.run(command("PING"))

    async def listen() -> None:
        with contextlib.suppress(StoreUnavailable):
            await store.listen(["channel"], lambda *_: None, lambda: None)

    others = [ask(), ask(), listen()]
    running = [asyncio.create_task(each) for each in others]
    for _ in range(turns):
        await asyncio.sleep(0)
    if end == "last":
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    await store.close()
    if end == "first":
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@pytest.mark.parametrize("end", ["first", "last", "together"])
def test_one_that_is_closed_at_any_moment_leaves_no_socket_open(server: EmbeddedStore, end: str) -> None:
    """An open socket would be a warning, and so an error."""
    for turns in range(30):
        asyncio.run(_opened_and_closed(server.url, turns, end))
        gc.collect(1)  # what is young is all that this has left behind
