"""What every page shows of all tasks, read from the gateway once and not once per page.

A board is silent while nobody looks. With the first page it reads the newest tasks and then follows the gateway's
events, looks up what they name, and passes on only the tasks that have changed. Progress is no event: tasks that run
are looked at once a second. When a task changes its state, the positions of others move too, so then everything that
has not ended is looked up again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeAlias

from app.gateway import Gateway, GatewayLost, GatewayRefused

Message: TypeAlias = dict[str, Any]

NEWEST = 100
"""How many tasks a page starts with; older ones are read as it asks for them."""

_UNENDED = "waiting,assigned,running"
_SHORT_KEYS = (
    *("id", "index", "service", "name", "kind", "user", "state", "phase", "reason", "priority", "position"),
    "waits_for",
    *(
        "expected_start",
        "created_at",
        "started_at",
        "finished_at",
        "progress",
        "cancel",
        "attempt",
        "instance",
    ),
)
_PAUSE = 0.4
_PROGRESS = 1.0
_RETRY = (0.3, 0.6, 1.2, 2.4)
_MANY = 12
_TRAININGS = 40
_MOST_READS = 5


def short(task: Message) -> Message:
    """What the list shows of a task: not its command, log, or details."""
    return {key: task.get(key) for key in _SHORT_KEYS}


class Boards:
    """A board for each who looks: what one sees of a task is not what another does."""

    def __init__(self) -> None:
        self._boards: dict[str, Board] = {}

    def of(self, gateway: Gateway, token: str) -> Board:
        """The board of whoever has this token."""
        self._boards = {known: board for known, board in self._boards.items() if board.watched}
        return self._boards.setdefault(token, Board(gateway))

    async def close(self) -> None:
        """Stop all of them."""
        for board in self._boards.values():
            await board.close()


class Board:
    """The tasks of a deployment as the pages see them. All methods run on one event loop."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._tasks: dict[str, Message] = {}
        self._pages: set[asyncio.Queue[Message]] = set()
        self._following: asyncio.Task[None] | None = None
        self._lost = False
        self._loaded = False

    @property
    def watched(self) -> bool:
        """Whether a page looks at it."""
        return bool(self._pages)

    async def messages(self) -> AsyncIterator[Message]:
        """What one page is told: `board`, which is everything, then `tasks`, `deleted`, `pool` and `gateway`."""
        page: asyncio.Queue[Message] = asyncio.Queue()
        self._pages.add(page)
        try:
            if self._following is None:
                self._following = asyncio.create_task(self._follow())
            elif self._loaded:
                page.put_nowait(self._everything())
            if self._lost:
                page.put_nowait(_gateway_is("lost"))
            while True:
                yield await page.get()
        finally:
            self._pages.discard(page)
            if not self._pages:
                await self.close()

    async def close(self) -> None:
        """Stop following."""
        following, self._following = self._following, None
        self._tasks, self._loaded, self._lost = {}, False, False
        if following is not None:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    def _tell(self, message: Message) -> None:
        for page in self._pages:
            page.put_nowait(message)

    def _everything(self) -> Message:
        return {"event": "board", "now": time.time(), "tasks": list(self._tasks.values())}

    async def _follow(self) -> None:
        attempt = 0
        while True:
            try:
                await self._read_all()
                attempt = 0
                await self._read_changes()
                await asyncio.sleep(_PAUSE)
            except (GatewayLost, GatewayRefused) as error:
                if not self._lost:
                    self._lost = True
                    self._tell(_gateway_is("lost", str(error)))
                await asyncio.sleep(_RETRY[min(attempt, len(_RETRY) - 1)])
                attempt += 1

    async def _read_all(self) -> None:
        newest = await self._newest()
        unended = (await self._gateway.get("tasks", state=_UNENDED, limit=NEWEST))["tasks"]
        self._tasks = {task["id"]: short(task) for task in (*newest, *unended)}
        self._loaded = True
        if self._lost:
            self._lost = False
            self._tell(_gateway_is("back"))
        self._tell(self._everything())

    async def _newest(self) -> list[Message]:
        """The newest tasks, and so many more that pictures do not push all trainings out."""
        found: list[Message] = []
        for _ in range(_MOST_READS):
            before = {"before": found[-1]["index"]} if found else {}
            tasks = (await self._gateway.get("tasks", limit=NEWEST, **before))["tasks"]
            found += tasks
            trainings = sum(task["kind"] != "query" for task in found)
            if len(tasks) < NEWEST or trainings >= _TRAININGS:
                break
        return found

    async def _read_changes(self) -> None:
        changed: asyncio.Queue[Message | None] = asyncio.Queue()
        listening = asyncio.create_task(self._listen(changed))
        try:
            ended = False
            while not ended:
                batch = await self._batch(changed)
                ended = None in batch
                await self._look_up([change for change in batch if change is not None])
            await listening
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _batch(self, changed: asyncio.Queue[Message | None]) -> list[Message | None]:
        """What has changed since the last look, and what runs."""
        running = [id for id, task in self._tasks.items() if task["state"] in ("assigned", "running")]
        batch: list[Message | None] = [{"kind": "task", "id": id} for id in running]
        with contextlib.suppress(TimeoutError):
            batch.append(await asyncio.wait_for(changed.get(), _PROGRESS if running else None))
            await asyncio.sleep(_PAUSE)
            while not changed.empty():
                batch.append(changed.get_nowait())
        return batch

    async def _listen(self, changed: asyncio.Queue[Message | None]) -> None:
        try:
            async with contextlib.aclosing(self._gateway.stream("events", {})) as events:
                async for event in events:
                    if event.name == "changed":
                        changed.put_nowait(json.loads(event.data))
        finally:
            changed.put_nowait(None)

    async def _look_up(self, batch: list[Message]) -> None:
        deleted = {change["id"] for change in batch if change.get("kind") == "deleted"}
        ids = {change["id"] for change in batch if change.get("kind") == "task"} - deleted
        if any(change.get("kind") not in ("task", "deleted") for change in batch):
            self._tell({"event": "pool"})
        if deleted:
            for id in deleted:
                self._tasks.pop(id, None)
            self._tell({"event": "deleted", "ids": sorted(deleted)})
        found = await self._named(ids) if len(ids) <= _MANY else await self._unended()
        if any(self._moved(task) for task in found.values()):
            found |= await self._unended()
        news = [task for id, task in found.items() if self._tasks.get(id) != task]
        if news:
            self._tasks.update((task["id"], task) for task in news)
            self._forget()
            self._tell({"event": "tasks", "now": time.time(), "tasks": news})

    def _moved(self, task: Message) -> bool:
        known = self._tasks.get(task["id"])
        return known is None or known["state"] != task["state"] or known["priority"] != task["priority"]

    async def _named(self, ids: Iterable[str]) -> dict[str, Message]:
        found = {}
        for id in ids:
            try:
                found[id] = short(await self._gateway.get(f"tasks/{id}"))
            except GatewayRefused as error:
                if error.status != 404:
                    raise
        return found

    async def _unended(self) -> dict[str, Message]:
        tasks = {
            t["id"]: short(t)
            for t in (await self._gateway.get("tasks", state=_UNENDED, limit=NEWEST))["tasks"]
        }
        ended = [id for id, t in self._tasks.items() if t["finished_at"] is None and id not in tasks]
        return tasks | await self._named(ended[:_MANY])

    def _forget(self) -> None:
        ended = [task for task in self._tasks.values() if task["finished_at"] is not None]
        for pictures in (True, False):
            these = [task for task in ended if (task["kind"] == "query") == pictures]
            these.sort(key=lambda task: float(task["created_at"]), reverse=True)
            for task in these[2 * NEWEST :]:
                del self._tasks[task["id"]]


def _gateway_is(state: str, reason: str = "") -> Message:
    return {"event": "gateway", "state": state, "reason": reason}
