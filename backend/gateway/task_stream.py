"""One task as server-sent events: its record, log lines, points of its curve and files, resumable.

    event: task      data: TaskView                       at every change, at most five times a second
    event: log       data: {"lines": [[n, text], …], "next": n}
    event: scalars   data: {"points": […], "next": n}
    event: files     data: {"files": […], "next": n}
    event: end       data: {}                             after the last of a task that has ended
    : ping                                                every ten seconds

The id of each event holds the three cursors, so that a client that sends it back as `Last-Event-ID` gets each line,
point and file exactly once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import StreamingResponse

from backend.accounts import Caller
from backend.errors import NotFound, StoreUnavailable
from backend.gateway.context import Gateway
from backend.gateway.hub import Flag, service_topic, task_topic
from backend.gateway.task_views import file_views, point_view, shown_one
from backend.store import outputs, tasks
from backend.task import Task
from backend.views import TaskView, as_json

PING = 10.0
PACE = 0.2
_LINES = 2000
_POINTS = 5000


@dataclass(frozen=True, slots=True)
class Cursor:
    """How much of each list the client has: numbers of the last line, point and file."""

    log: int = 0
    scalars: int = 0
    files: int = 0

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """From an event id; None when it is none of ours."""
        parts = text.split(".")
        if len(parts) != 3 or not all(part.isdecimal() and len(part) < 16 for part in parts):
            return None
        return cls(*map(int, parts))

    def __str__(self) -> str:
        return f"{self.log}.{self.scalars}.{self.files}"


def event(name: str, data: Any, *, cursor: Cursor | None = None) -> str:
    """One server-sent event."""
    head = f"id: {cursor}\n" if cursor is not None else ""
    # ASCII only: readers split lines at more characters than line feeds, U+2028 among them.
    text = json.dumps(data, separators=(",", ":"))
    return f"{head}event: {name}\ndata: {text}\n\n"


def streamed(events: AsyncIterator[str]) -> StreamingResponse:
    """A response of server-sent events that no proxy should hold back."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


class TaskStream:
    """Follows one task for one client."""

    def __init__(self, gateway: Gateway, caller: Caller, task: Task, cursor: Cursor) -> None:
        self._gateway = gateway
        self._caller = caller
        self._id = task.id
        self._service = task.service
        self._cursor = cursor
        self._shown: TaskView | None = None

    async def events(self) -> AsyncIterator[str]:
        """Until the task has ended and all was sent, or the gateway stops."""
        hub, loop, flag = self._gateway.hub, asyncio.get_running_loop(), Flag()
        spoke = loop.time()
        # The end of other tasks moves a waiting one forward, so it listens to its service too.
        with hub.waiting(flag, task_topic(self._id), service_topic(self._service)):
            while not hub.stopping:
                looked = loop.time()
                try:
                    async for text in self._news():
                        yield text
                        spoke = loop.time()
                    if self._shown is not None and self._shown.final:
                        yield event("end", {}, cursor=self._cursor)
                        return
                except NotFound:
                    yield event("end", {}, cursor=self._cursor)
                    return
                except StoreUnavailable:
                    # The records are safe and so is the cursor: look again when the store is back.
                    yield ": the store does not answer\n\n"
                await asyncio.sleep(max(0.0, looked + PACE - loop.time()))
                if not await flag.wait(max(0.0, spoke + PING - loop.time())):
                    yield ": ping\n\n"
                    spoke = loop.time()

    async def _news(self) -> AsyncIterator[str]:
        """What the client has not seen. The record is read first: after an end there are no more lines."""
        store = self._gateway.store
        view = await shown_one(store, self._caller, await store.run(tasks.get(self._id)))
        if view != self._shown:
            yield event("task", as_json(view), cursor=self._cursor)
        async for text in self._lines(view):
            yield text
        async for text in self._points():
            yield text
        files = await store.run(outputs.files(self._id, self._cursor.files))
        if files:
            self._cursor = replace(self._cursor, files=self._cursor.files + len(files))
            shown = file_views(self._gateway.settings.data_dir, self._id, files)
            data = {"files": [as_json(file) for file in shown], "next": self._cursor.files}
            yield event("files", data, cursor=self._cursor)
        self._shown = view

    async def _lines(self, view: TaskView) -> AsyncIterator[str]:
        while view.log_lines > self._cursor.log:
            lines = await self._gateway.store.run(outputs.log(self._id, self._cursor.log, limit=_LINES))
            if not lines:
                return
            self._cursor = replace(self._cursor, log=lines[-1][0])
            yield event("log", {"lines": lines, "next": self._cursor.log}, cursor=self._cursor)

    async def _points(self) -> AsyncIterator[str]:
        while points := await self._gateway.store.run(
            outputs.scalars(self._id, self._cursor.scalars, limit=_POINTS)
        ):
            self._cursor = replace(self._cursor, scalars=points[-1][0])
            data = {"points": [point_view(point) for point in points], "next": self._cursor.scalars}
            yield event("scalars", data, cursor=self._cursor)
            if len(points) < _POINTS:
                return


async def changes(gateway: Gateway, services: frozenset[str] | None) -> AsyncIterator[str]:
    """Which tasks, instances and services change, of these services or (None) of all."""
    hub = gateway.hub
    with hub.changes() as seen:
        yield event("hello", {})
        while not hub.stopping:
            await seen.wait(PING)
            news = [item for item in seen.seen if services is None or item[2] in services]
            seen.seen.clear()
            for kind, name, service in news:
                yield event("changed", {"kind": kind, "id": name, "service": service})
            if not news:
                yield ": ping\n\n"
            await asyncio.sleep(PACE)
