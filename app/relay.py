"""One task followed once, however many pages look at it.

The first page opens the gateway's stream, from where it stands. Whoever comes later reads what it lacks by itself, and
hears the rest from that one stream; what it has already is left out. A page that reads too slowly is not waited for: it
catches up the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from app.gateway import Gateway, GatewayLost, GatewayRefused

Message = dict[str, Any]
Cursors = dict[str, int]
"""`log`, `scalars`, `files`: how much of each a page has; a negative `log` is a tail."""

_RETRY = (0.2, 0.5, 1.0, 2.0)
_LINES = 1000
_BEHIND = 500
"""So many messages unread, and a page has to catch up instead."""

_LAST = ("end", "refused")


@dataclass(frozen=True, slots=True)
class Told:
    """A message for every page, and how it travels: written once. Neither: catch up, or (`over`) begin anew."""

    message: Message | None = None
    text: str = ""
    over: bool = False


_CATCH_UP, _OVER = Told(), Told(over=True)
_BACK: Message = {"event": "gateway", "state": "back"}


def _lost(error: GatewayLost) -> Message:
    return {"event": "gateway", "state": "lost", "reason": str(error)}


def written(message: Message) -> str:
    """A message as it travels."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


class Relays:
    """The relays of a front end: who may see a task is the gateway's to say, so each token has its own."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Relay] = {}

    def of(self, gateway: Gateway, token: str, path: str) -> Relay:
        """The relay of one task for whoever has this token."""
        self._known = {key: relay for key, relay in self._known.items() if relay.watched}
        return self._known.setdefault((token, path), Relay(gateway, path))

    async def close(self) -> None:
        """Stop all of them."""
        for relay in self._known.values():
            await relay.close()


class Relay:
    """One task. All methods run on one event loop."""

    def __init__(self, gateway: Gateway, path: str) -> None:
        self._gateway = gateway
        self._path = path
        self._pages: set[asyncio.Queue[Told]] = set()
        self._following: asyncio.Task[None] | None = None
        self._newest: str = ""
        self._lost = False

    @property
    def watched(self) -> bool:
        """Whether a page looks at it."""
        return bool(self._pages)

    async def messages(self, cursors: Cursors) -> AsyncIterator[str]:
        """What a page that has so much already is sent, until the task's last event."""
        page: asyncio.Queue[Told] = asyncio.Queue()
        self._pages.add(page)
        try:
            late = self._following is not None
            if self._following is None:
                self._following = asyncio.create_task(self._follow(cursors))
            while True:
                while late:
                    try:
                        async for text in self._missed(cursors):
                            yield text
                        late = False
                    except GatewayRefused as error:
                        yield written({"event": "refused", "data": error.answer})
                        return
                    except GatewayLost as error:
                        yield written(_lost(error))
                        await asyncio.sleep(_RETRY[-1])
                told = await page.get()
                late = told is _CATCH_UP
                if told.over:
                    return
                if told.message is not None:
                    for text in unseen(told, cursors):
                        yield text
                    if told.message["event"] in _LAST:
                        return
        finally:
            self._pages.discard(page)
            if not self._pages:
                await self.close()

    async def close(self) -> None:
        """Stop following."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    def _tell(self, message: Message) -> None:
        told = Told(message, written(message))
        if message["event"] == "task":
            self._newest = told.text
        if message["event"] in _LAST:
            # Who comes from now on asks anew.
            self._following = None
        for page in self._pages:
            if page.qsize() < _BEHIND:
                page.put_nowait(told)
            else:
                while not page.empty():
                    page.get_nowait()
                page.put_nowait(_CATCH_UP)
                if message["event"] in _LAST:
                    page.put_nowait(told)

    async def _follow(self, first: Cursors) -> None:
        """The gateway's events until the last one, over every loss of it."""
        last_id, attempt = "", 0
        try:
            while True:
                try:
                    if first["log"] < 0:
                        first["log"] = max(
                            0, (await self._gateway.get(self._path))["log_lines"] + first["log"]
                        )
                    start = dict(first)
                    stream = self._gateway.stream(f"{self._path}/events", start, last_id)
                    async with contextlib.aclosing(stream) as events:
                        async for event in events:
                            if self._lost:
                                self._lost = False
                                self._tell(_BACK)
                            last_id, attempt = event.id or last_id, 0
                            self._tell({"event": event.name, "data": json.loads(event.data)})
                            if event.name == "end":
                                return
                except GatewayRefused as error:
                    if error.status < 500:
                        self._tell({"event": "refused", "data": error.answer})
                        return
                except GatewayLost as error:
                    if not self._lost:
                        self._lost = True
                        self._tell(_lost(error))
                await asyncio.sleep(_RETRY[min(attempt, len(_RETRY) - 1)])
                attempt += 1
        except Exception:
            # Pages open their connections again by themselves.
            for page in self._pages:
                page.put_nowait(_OVER)
            raise

    async def _missed(self, cursors: Cursors) -> AsyncIterator[str]:
        """What a page lacks of what was said before it came."""
        if cursors["log"] < 0:
            cursors["log"] = max(0, (await self._gateway.get(self._path))["log_lines"] + cursors["log"])
        yield written(_BACK)
        if self._newest:
            yield self._newest
        async for message in self._missed_parts(cursors):
            yield written(message)

    async def _missed_parts(self, cursors: Cursors) -> AsyncIterator[Message]:
        while True:
            page = await self._gateway.get(f"{self._path}/log", after=cursors["log"], limit=_LINES)
            if page["lines"]:
                cursors["log"] = page["next"]
                yield {"event": "log", "data": {"lines": page["lines"], "next": page["next"]}}
            if len(page["lines"]) < _LINES:
                break
        while (page := await self._gateway.get(f"{self._path}/scalars", after=cursors["scalars"]))["points"]:
            cursors["scalars"] = page["next"]
            yield {"event": "scalars", "data": page}
        files = (await self._gateway.get(f"{self._path}/files"))["files"]
        if new := files[cursors["files"] :]:
            cursors["files"] = len(files)
            yield {"event": "files", "data": {"files": new, "next": len(files)}}


def unseen(told: Told, cursors: Cursors) -> Iterator[str]:
    """What of a message is news for a page that has so much; it has it then."""
    message = told.message or {}
    kind, data = message["event"], message.get("data") or {}
    if kind not in ("log", "scalars", "files"):
        yield told.text
        return
    part = {"log": "lines", "scalars": "points", "files": "files"}[kind]
    items, has, upto = data[part], cursors[kind], data["next"]
    if upto <= has:
        return
    cursors[kind] = upto
    if kind == "files":
        new = items[max(0, has - (upto - len(items))) :]
    else:
        new = [item for item in items if (item[0] if kind == "log" else item["n"]) > has]
    yield told.text if len(new) == len(items) else written({"event": kind, "data": {part: new, "next": upto}})
