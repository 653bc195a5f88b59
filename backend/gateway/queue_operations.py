"""The operations of the queue protocol on one queue, each from a request to its answer."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from starlette.responses import Response
from starlette.types import Receive

from backend.errors import InvalidArgument
from backend.gateway.body import TookTooLong
from backend.gateway.hub import Flag, Hub
from backend.gateway.models import models_of
from backend.gateway.queue_request import MOST_ITEMS, QueueRequest, negative_reason
from backend.queue import frames
from backend.queue.contract import HEADER_INDEX, HEADER_REQUEST_ID, REQUEST_ID, NewItem, Query, Queue
from backend.queue.source import TASK_TYPE, kind_of
from backend.service import Description, ServiceType
from backend.store.streams import Item

PATH_TAG = "request.path"
"""The tag that carries the sub-path of a put where no instance of ours reads it."""

SHUTDOWN = "Shutdown"
"""Code of a consumer that leaves: what it hands back has not failed."""

_OK = b"OK"
_EARLY = 0.05  # seconds; the official client gives up at the very moment that its long poll should end
_EARLY_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about: the service (deployed at `since`), one of its queues, and the path for its app.

    `permit` looks at what an account puts, and raises where it may not; None where everything may be put.
    """

    service: Description
    since: float
    queue: Queue
    is_input: bool
    path: str = ""
    permit: Callable[[NewItem], Awaitable[None]] | None = None


def _text(body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, media_type="text/plain", headers=headers)


def _values(request: QueueRequest, values: Mapping[str, str]) -> Response:
    if request.protobuf:
        return Response(frames.attributes(values), media_type=frames.PROTOBUF)
    return Response(frames.json_object(values), media_type=frames.JSON)


def new_item(request: QueueRequest, target: Target, body: bytes) -> NewItem:
    """A put as an item; raises InvalidArgument where the service wants another `taskType`."""
    tags = dict(request.tags)
    if target.is_input and target.service.type is not ServiceType.QUEUE:
        if target.service.type is not ServiceType.ASYNC or TASK_TYPE in tags:
            kind_of(tags)
        if target.path and not target.service.type.runs_tasks:
            tags[PATH_TAG] = unquote(target.path)
    made = str(uuid.uuid4())
    request_id = tags.get(REQUEST_ID) or made
    if len(request_id) > 512:
        raise InvalidArgument(REQUEST_ID, "is longer than 512 characters. Nothing was stored.")
    tags[REQUEST_ID] = request_id
    return NewItem(
        data=body,
        tags=tags,
        request_id=request_id,
        task_id=made,
        priority=request.priority(),
        path=target.path,
        content_type=request.headers.get("content-type", ""),
        models=tuple(models_of(target.service, tags.get(TASK_TYPE, ""), body)) if target.is_input else (),
    )


async def put(request: QueueRequest, target: Target, body: bytes) -> Response:
    """POST: store an item. The answer is its index, without a newline: Go's client would trip over one."""
    item = new_item(request, target, body)
    if target.permit is not None:
        await target.permit(item)
    stored = await target.queue.put(item)
    return _text(str(stored.index).encode(), {HEADER_REQUEST_ID: header_text(stored.request_id)})


def header_text(text: str) -> str:
    """Text as far as a header can carry it: ASCII that can be seen, without blanks around it."""
    if text.isascii() and text.isprintable():
        return text.strip(" ")
    return "".join(c if " " <= c <= "~" else "?" for c in text).strip(" ")


async def end(request: QueueRequest, target: Target) -> Response:
    """POST `_eos_`: take no more items (`true`), or take them again (`false`)."""
    await target.queue.end(ended=request.asks("_eos_"), force=request.asks("_force_"))
    return _text(_OK)


async def attributes(request: QueueRequest, target: Target) -> Response:
    """GET `_attrs_`."""
    return _values(request, await target.queue.attributes())


async def search(request: QueueRequest, target: Target) -> Response:
    """GET `_search_`: where an item stands; `{}` when the queue does not hold it (any more)."""
    found = await target.queue.search(request.group, request.number("_index_", default=None, least=1))
    values: dict[str, object] = {}
    if found is not None:
        values = {"ConsumerId": found.consumer, "IsPending": found.pending, "WaitCount": found.ahead}
    return Response(frames.json_object(values), media_type=frames.JSON)


async def count(request: QueueRequest, target: Target) -> Response:
    """GET `_count_`."""
    priority = request.priority() if "_priority_" in request.reserved else None
    return _text(str(await target.queue.count(request.tags, priority)).encode())


async def commit(request: QueueRequest, target: Target) -> Response:
    """PUT `_indexes_`: consumed."""
    await target.queue.commit(request.group, request.indexes())
    return _text(_OK)


async def negative(request: QueueRequest, target: Target, body: bytes) -> Response:
    """PUT `_indexes_` with `_negative_`: not consumed. The code `Shutdown` does not count as a failure."""
    indexes = request.indexes()
    code, reason = negative_reason(body)
    await target.queue.negative(request.group, indexes, counted=code != SHUTDOWN, code=code, reason=reason)
    return _text(_OK)


async def delete(request: QueueRequest, target: Target) -> Response:
    """DELETE `_indexes_`."""
    await target.queue.delete(request.indexes())
    return _text(_OK)


async def truncate(request: QueueRequest, target: Target) -> Response:
    """DELETE `_trunc_`: everything below `_index_`."""
    await target.queue.truncate(request.number("_index_", default=None, least=0))
    return _text(_OK)


@dataclass(frozen=True, slots=True)
class LongPoll:
    """A get that waits: for how long, and how it notices that nobody waits for it any more."""

    hub: Hub
    receive: Receive
    longest: float

    async def get(self, request: QueueRequest, target: Target) -> tuple[Response, int]:
        """GET: items now, or as soon as there are enough; the answer and how many items it holds."""
        raw = request.flag("_raw_", default=True)
        length = min(request.number("_length_", default=1, least=1), MOST_ITEMS)
        query = Query(
            tags=request.tags,
            first=request.number("_index_", default=0, least=-1),
            length=1 if raw else length,
            take=request.asks("_auto_delete_"),
        )
        timeout = request.timeout()
        items = await self._items(target.queue, query, min(timeout, self.longest))
        if not items:
            if timeout > self.longest:
                raise TookTooLong(f"nothing came within {self.longest:.1f} s (rpc.keepalive)")
            return Response(status_code=204), 0
        return _items(request, items, raw=raw), len(items)

    async def _items(self, queue: Queue, query: Query, timeout: float) -> list[Item]:
        loop, flag = asyncio.get_running_loop(), Flag()
        # Answered a little early: at five seconds sharp the client has already given up.
        deadline = loop.time() + max(0.0, timeout - max(_EARLY, _EARLY_SHARE * timeout))
        with self.hub.waiting(flag, queue.topic(query.tags)), contextlib.ExitStack() as stack:
            left: asyncio.Task[None] | None = None
            while True:
                remaining = deadline - loop.time()
                last = remaining <= 0 or self.hub.stopping
                items = await queue.get(query, all_or_none=not last)
                if items or last:
                    return items
                if left is None:
                    left = stack.enter_context(self._left(flag))
                await flag.wait(remaining)
                if left.done():
                    # Nothing is taken out of the queue for a client that is gone.
                    return []

    @contextlib.contextmanager
    def _left(self, flag: Flag) -> Iterator[asyncio.Task[None]]:
        """A task that is done when the client has gone away, and wakes `flag` then."""
        task = asyncio.create_task(self._disconnected())
        task.add_done_callback(lambda _: flag.wake())
        try:
            yield task
        finally:
            task.cancel()

    async def _disconnected(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass


def _items(request: QueueRequest, items: list[Item], *, raw: bool) -> Response:
    if raw:
        item = items[0]
        headers = {
            HEADER_INDEX: str(item.index),
            HEADER_REQUEST_ID: header_text(item.tags.get(REQUEST_ID, "")),
        }
        return Response(item.data, media_type="application/octet-stream", headers=headers)
    if request.protobuf:
        return Response(frames.frame_list(items), media_type=frames.PROTOBUF)
    return Response(frames.json_list(items), media_type=frames.JSON)
