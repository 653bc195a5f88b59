"""A stream queue behind the queue protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from backend.queue import attributes
from backend.queue.contract import NewItem, Query, Stored
from backend.queue.patience import certainly, patiently
from backend.store import consumers, streams
from backend.store.call import Call
from backend.store.connection import AsyncStore
from backend.store.streams import MOST_AT_ONCE, Found, Item

T = TypeVar("T")


def stream_topic(queue: str, pair: str) -> str:
    """The hub topic on which the store announces a fitting put."""
    return f"queue\0{queue}\0{pair}"


def consumer_topic(queue: str, group: str, consumer: str) -> str:
    """The hub topic on which the store calls one consumer."""
    return f"consumer\0{queue}\0{group}\0{consumer}"


def _chunks(indexes: Sequence[int]) -> list[Sequence[int]]:
    return [indexes[start : start + MOST_AT_ONCE] for start in range(0, len(indexes), MOST_AT_ONCE)]


class StreamQueue:
    """See `contract.Queue`; `name` is the queue's name in the store."""

    def __init__(self, store: AsyncStore, name: str) -> None:
        self.name = name
        self._store = store

    async def put(self, item: NewItem) -> Stored:
        # With its request id, so that repeating it over a restart of the store stores it once.
        put = await certainly(
            self._store,
            streams.put(self.name, item.data, item.tags, request_id=item.request_id, priority=item.priority),
        )
        return Stored(put.index, item.request_id)

    async def get(self, query: Query, *, all_or_none: bool) -> list[Item]:
        return await self._run(
            streams.get(
                self.name,
                query.tags,
                first=query.first,
                length=query.length,
                take=query.take,
                all_or_none=all_or_none,
            )
        )

    def topic(self, tags: Mapping[str, str]) -> str:
        return stream_topic(self.name, streams.wanted_pair(tags))

    async def count(self, tags: Mapping[str, str], priority: int | None) -> int:
        return await self._run(streams.count(self.name, tags, priority=priority))

    async def search(self, group: str, index: int) -> Found | None:
        return await self._run(streams.search(self.name, group, index))

    async def attributes(self) -> dict[str, str]:
        return attributes.as_text(self.name, await self._run(consumers.view(self.name)))

    async def commit(self, group: str, indexes: Sequence[int]) -> None:
        for some in _chunks(indexes):
            await self._run(consumers.commit(self.name, group, some))

    async def negative(
        self, group: str, indexes: Sequence[int], *, counted: bool, code: str, reason: str
    ) -> None:
        for some in _chunks(indexes):
            await self._run(
                consumers.negative(self.name, group, some, counted=counted, code=code, reason=reason)
            )

    async def delete(self, indexes: Sequence[int]) -> None:
        for some in _chunks(indexes):
            await self._run(streams.delete(self.name, some))

    async def truncate(self, index: int) -> None:
        while await self._run(streams.truncate(self.name, index)) == MOST_AT_ONCE:
            pass

    async def end(self, *, ended: bool, force: bool) -> None:
        await self._run(streams.end(self.name, ended=ended))
        if force:
            last = (await self._run(consumers.view(self.name))).last
            await self.truncate(last + 1)

    async def _run(self, call: Call[T]) -> T:
        return await patiently(self._store, call)
