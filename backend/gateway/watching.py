"""Watchers over a websocket and over a plain streamed answer: accepting, sending, noticing that they are gone."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from starlette.types import Receive, Scope, Send

from backend.errors import Conflict, StoreUnavailable
from backend.gateway.bench import Benches
from backend.gateway.context import Gateway
from backend.gateway.line import EXTENSION, Line
from backend.gateway.queue_operations import Target
from backend.gateway.queue_request import QueueRequest
from backend.gateway.session import Session
from backend.queue import frames
from backend.queue.stream import StreamQueue
from backend.store import consumers
from backend.store.consumers import GATEWAY_LEASE, ONLY_NEW, Watch
from backend.store.streams import Item

SILENCE = 20.0
"""Seconds without a byte from a websocket client after which its items go to others."""

_LOOK = 2.0
_WIDEST = 10_000


class Watching:
    """Serves every watcher of one gateway, which is known to the store as `gateway_id`."""

    def __init__(
        self, gateway: Gateway, benches: Benches, gateway_id: str, *, silence: float = SILENCE
    ) -> None:
        self._gateway = gateway
        self._benches = benches
        self._id = gateway_id
        self._silence = silence

    async def keep_lease(self) -> None:
        """Say to the store that this gateway is there, for as long as it runs."""
        while True:
            with contextlib.suppress(StoreUnavailable):
                await self._gateway.store.run(consumers.renew(self._id))
            await asyncio.sleep(GATEWAY_LEASE / 4)

    async def websocket(
        self, request: QueueRequest, target: Target, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a watcher from before its handshake's answer to its end."""
        await receive()
        session = await self._connected(request, target)
        try:
            await send({"type": "websocket.accept"})
        except BaseException as error:
            await asyncio.shield(session.disconnect(counted=False, reason=_REASONS["broken"]))
            if isinstance(error, OSError):
                return  # it has gone in the middle of its handshake
            raise
        line: Line = scope["extensions"][EXTENSION]
        encode = frames.frame if request.protobuf else frames.json_frame

        async def deliver(items: list[Item]) -> None:
            await line.send([encode(item) for item in items], text=not request.protobuf)

        others = [_until_closed(receive), _until_silent(line, self._silence)]
        reason = await self._serve(session, deliver, others, target)
        if reason == "silent":
            line.cut()
        elif reason in ("ended", "removed"):
            await send({"type": "websocket.close", "code": 1000, "reason": _REASONS[reason]})

    async def plain(self, request: QueueRequest, target: Target, receive: Receive, send: Send) -> None:
        """The same as a streamed answer: each frame behind its length in 4 bytes."""
        session = await self._connected(request, target)
        encode = frames.frame if request.protobuf else frames.json_frame
        media = frames.PROTOBUF if request.protobuf else frames.JSON

        async def deliver(items: list[Item]) -> None:
            body = b"".join([frames.delimited(encode(item)) for item in items])
            await send({"type": "http.response.body", "body": body, "more_body": True})

        start = {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", media.encode()), (b"cache-control", b"no-store")],
        }
        await send(start)
        # An empty chunk makes the server send the headers now: the client is connected although nothing comes.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await self._serve(session, deliver, [_until_closed(receive)], target)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _connected(self, request: QueueRequest, target: Target) -> Session:
        """A registered consumer; whatever refuses it does so before anything was accepted."""
        if not isinstance(target.queue, StreamQueue):
            raise Conflict(
                f"the tasks of {target.service.name} are given to its instances; watch {target.service.name}/sink "
                "for their results"
            )
        name = uuid.uuid4().hex
        watch = Watch(
            queue=target.queue.name,
            group=request.group,
            consumer=request.user or f"anonymous-{name}",
            session=name,
            gateway=self._id,
            window=min(request.number("_window_", default=1, least=0), _WIDEST),
            auto_commit=request.asks("_auto_commit_"),
            index_only=request.asks("_index_only_"),
            start=request.number("_index_", default=0, least=ONLY_NEW),
            tags=request.tags,
        )
        session = Session(self._gateway, self._benches, watch, target)
        await session.connect()
        return session

    async def _serve(
        self,
        session: Session,
        deliver: Callable[[list[Item]], Awaitable[None]],
        ends: list[Coroutine[Any, Any, str]],
        target: Target,
    ) -> str:
        """Deliver until something ends it; then give back what was not committed. Answers what ended it."""
        queue = target.queue.name
        looks_often = target.service.queue.max_idle > 0
        work = [session.run(deliver, looks_often=looks_often), *ends]
        running = [asyncio.create_task(each) for each in work]
        watchers = self._gateway.metrics.watchers.labels(queue)
        watchers.inc()
        reason = "cancelled"
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            first = next(task for task in running if task in done)
            reason = "broken" if first.exception() is not None else first.result()
        finally:
            watchers.dec()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            # A gateway that stops is not the item's fault.
            counted = not self._gateway.hub.stopping and reason != "cancelled"
            await asyncio.shield(session.disconnect(counted=counted, reason=_REASONS.get(reason, reason)))
        return reason


_REASONS = {
    "broken": "its connection broke",
    "closed": "its connection ended",
    "silent": "its connection went silent",
    "ended": "the queue was ended",
    "removed": "the service was removed",
    "cancelled": "the gateway stopped",
}


async def _until_closed(receive: Receive) -> str:
    """Read what the client sends, which means nothing here, until it is gone."""
    while (await receive())["type"] not in ("websocket.disconnect", "http.disconnect"):
        pass
    return "closed"


async def _until_silent(line: Line, seconds: float) -> str:
    while line.silent_for() < seconds:
        await asyncio.sleep(min(_LOOK, seconds / 4))
    return "silent"
