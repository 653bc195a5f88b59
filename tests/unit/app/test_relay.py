"""One task followed once for many pages: nothing is missing, nothing comes twice, whoever comes when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

from app.gateway import Gateway, GatewayLost, GatewayRefused
from app.relay import Relay, Relays
from app.sse import Event

Message = dict[str, Any]


class Task:
    """Stands where the gateway does: a task of which a test says what it prints."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ended = False
        self.away = False
        self.streams = 0
        self.news = asyncio.Event()

    def print(self, *lines: str) -> None:
        self.lines += lines
        self.news.set()

    def _log(self, after: int, limit: int = 1 << 30) -> Message:
        part = [[n + 1, self.lines[n]] for n in range(after, min(len(self.lines), after + limit))]
        return {"lines": part, "next": after + len(part)}

    async def get(self, path: str, **query: int) -> Any:
        await asyncio.sleep(0)
        if self.away:
            raise GatewayLost
        if path == "missing":
            raise GatewayRefused(404, {"error": "NotFound", "message": "no such task"})
        last = path.rpartition("/")[2]
        if last == "log":
            return self._log(query["after"], query["limit"])
        return {"scalars": {"points": [], "next": 0}, "files": {"files": []}}.get(
            last, {"log_lines": len(self.lines)}
        )

    async def stream(self, path: str, query: Mapping[str, int], last_id: str = "") -> AsyncIterator[Event]:
        self.streams += 1
        try:
            has = int(last_id) if last_id else query["log"]
            while True:
                await asyncio.sleep(0)
                if self.away:
                    raise GatewayLost
                if has < len(self.lines):
                    data = self._log(has)
                    has = data["next"]
                    yield Event("log", json.dumps(data), str(has))
                elif self.ended:
                    yield Event("end", "{}", str(has))
                    return
                else:
                    self.news.clear()
                    await self.news.wait()
        finally:
            self.streams -= 1


class Page:
    """Reads what a relay sends."""

    def __init__(self, relay: Relay, log: int = 0) -> None:
        self.messages: list[Message] = []
        self._relay = relay
        self.reading = asyncio.create_task(self._read({"log": log, "scalars": 0, "files": 0}))

    async def _read(self, cursors: dict[str, int]) -> None:
        async for text in self._relay.messages(cursors):
            self.messages.append(json.loads(text))

    @property
    def lines(self) -> list[str]:
        return [line for m in self.messages if m["event"] == "log" for _, line in m["data"]["lines"]]


async def soon() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def relay_of(task: Task, path: str = "tasks/a") -> Relay:
    return Relays().of(cast(Gateway, task), "token", path)


def test_pages_that_come_at_different_times_all_get_every_line_once() -> None:
    async def play() -> None:
        task = Task()
        task.print("1", "2")
        relay = relay_of(task)
        first = Page(relay)
        await soon()
        task.print("3")
        second, tail = Page(relay), Page(relay, log=-1)
        task.print("4")
        await soon()
        task.print("5", "6")
        await soon()
        assert task.streams == 1
        task.ended = True
        task.news.set()
        await asyncio.gather(first.reading, second.reading, tail.reading)
        assert first.lines == second.lines == ["1", "2", "3", "4", "5", "6"]
        assert tail.lines == first.lines[-len(tail.lines) :] and len(tail.lines) in (3, 4)
        after = Page(relay)
        await after.reading
        assert after.lines == first.lines and after.messages[-1]["event"] == "end"

    asyncio.run(play())


def test_a_page_that_reads_too_slowly_catches_up_and_misses_nothing() -> None:
    async def play() -> None:
        task = Task()
        relay = relay_of(task)
        first = Page(relay)
        await soon()
        slow = relay.messages({"log": 0, "scalars": 0, "files": 0})
        task.print("0")
        got = [json.loads(await anext(slow))]
        for n in range(1, 700):
            task.print(str(n))
            await soon()
        task.ended = True
        task.news.set()
        got += [json.loads(text) async for text in slow]
        await first.reading
        lines = [line for m in got if m["event"] == "log" for _, line in m["data"]["lines"]]
        assert lines == first.lines == [str(n) for n in range(700)]

    asyncio.run(play())


def test_the_stream_ends_with_the_last_page_and_what_is_not_there_is_said() -> None:
    async def play() -> None:
        task = Task()
        relay = relay_of(task)
        pages = [Page(relay), Page(relay)]
        await soon()
        for page in pages:
            assert task.streams == 1
            page.reading.cancel()
            await asyncio.gather(page.reading, return_exceptions=True)
        assert task.streams == 0
        refused = Page(relay_of(task, "missing"), log=-5)
        await refused.reading
        assert [message["event"] for message in refused.messages] == ["refused"]

    asyncio.run(play())
