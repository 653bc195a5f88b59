"""What the gateway asks of a queue, whatever is behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from backend.store.streams import Found, Item

HEADER_USER = "X-EAS-QueueService-Redis-Uid"
HEADER_GROUP = "X-EAS-QueueService-Redis-Gid"
HEADER_PRIORITY = "X-EAS-QueueService-Priority"
HEADER_REQUEST_ID = "X-Eas-Queueservice-Request-Id"
HEADER_INDEX = "X-Eas-Queueservice-Index"

REQUEST_ID = "requestId"
"""The tag that carries an item's request id."""


@dataclass(frozen=True, slots=True)
class NewItem:
    """A put. `request_id` also stands in `tags`; `task_id` is the id of the task that it may become."""

    data: bytes
    tags: Mapping[str, str]
    request_id: str
    task_id: str
    priority: int = 0
    path: str = ""
    content_type: str = ""
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a put went: for a repeated request id, where its first put went."""

    index: int
    request_id: str


@dataclass(frozen=True, slots=True)
class Query:
    """A get: up to `length` items with `tags` from index `first` on (-1: only the newest), taken out if `take`."""

    tags: Mapping[str, str]
    first: int = 0
    length: int = 1
    take: bool = False


class Queue(Protocol):
    """One queue of a service. Every method raises StoreUnavailable when the store does not answer."""

    name: str

    async def put(self, item: NewItem) -> Stored:
        """Store an item; raises TooLarge, QueueFull, Conflict (the queue was ended) or InvalidArgument."""

    async def get(self, query: Query, *, all_or_none: bool) -> list[Item]:
        """Items now; with `all_or_none`, none when there are fewer than wanted."""

    def topic(self, tags: Mapping[str, str]) -> str:
        """What to wait for on the hub before looking again."""

    async def count(self, tags: Mapping[str, str], priority: int | None) -> int:
        """How many items there are."""

    async def search(self, group: str, index: int) -> Found | None:
        """Where an item stands."""

    async def attributes(self) -> dict[str, str]:
        """Every attribute, all values text."""

    async def commit(self, group: str, indexes: Sequence[int]) -> None:
        """The group has consumed these."""

    async def negative(
        self, group: str, indexes: Sequence[int], *, counted: bool, code: str, reason: str
    ) -> None:
        """The group could not consume these."""

    async def delete(self, indexes: Sequence[int]) -> None:
        """Take these out for everybody."""

    async def truncate(self, index: int) -> None:
        """Take out everything below an index."""

    async def end(self, *, ended: bool, force: bool) -> None:
        """Take no more items, or take them again; with `force`, throw away what is there."""
