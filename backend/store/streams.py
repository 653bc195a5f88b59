"""Stream queues: the sink of every service, and both queues of services whose items outside consumers take.

A queue is named as in its URL: `svc`, `svc/sink`, and `svc/dead` for dead letters. Its settings and last index
are one hash; its items (data and tags) another, and a sorted set in delivery order; its tags a lexical index, so
that no operation walks the queue. A consumer group has a sorted set of what it has not been given ("to
do"), and what it has been given and has not committed ("pending"), each with its consumer. A committed item
disappears when every group that existed when it was put has committed it.

Waiting is edge triggered: a call that finds nothing puts down what it waits for, the next fitting put takes
that mark away and publishes once on the channel `queue_events`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.errors import Conflict, QueueFull, TooLarge
from backend.store.call import Call, command, script
from backend.store.keys import key

MOST_AT_ONCE = 500
"""How many indexes one call takes; a script must not hold the store up for long."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What a queue is told when its service is created. Zero means no limit.

    `capacity` items; `max_payload` bytes; `max_delivery` deliveries of one item in one group before it is a
    dead letter; `max_idle` seconds with one consumer before an item is given to another.
    """

    capacity: int = 0
    auto_evict: bool = False
    max_payload: int = 0
    max_delivery: int = 0
    max_idle: float = 0.0


@dataclass(frozen=True, slots=True)
class Put:
    """What became of a put: the item's index, and whether an earlier put with this request id had stored it."""

    index: int
    known: bool


def configure(queue: str, settings: QueueSettings) -> Call[None]:
    """Write the settings of a queue; its items stay as they are."""
    return command(
        "HSET",
        key("queue", queue),
        *("capacity", settings.capacity, "auto_evict", int(settings.auto_evict)),
        *("max_payload", settings.max_payload, "max_delivery", settings.max_delivery),
        *("max_idle", settings.max_idle),
    ).then(lambda _: None)


def encode_tags(tags: Mapping[str, str]) -> str:
    """Tags as the store holds them: JSON, keys in order, so that equal tags are equal text."""
    return json.dumps(dict(tags), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def put(
    queue: str, data: bytes, tags: Mapping[str, str], *, request_id: str = "", priority: int = 0
) -> Call[Put]:
    """Store one item; with a `request_id`, only once.

    Raises:
        TooLarge: the data is over the queue's `max_payload`.
        QueueFull: the queue holds `capacity` items and does not evict.
        Conflict: the queue was ended.
    """
    return script("queue_put", queue, request_id, encode_tags(tags), data, priority).then(
        lambda answer: _read_put(queue, len(data), answer)
    )


def _read_put(queue: str, size: int, answer: list[Any]) -> Put:
    outcome, number = answer[0].decode(), int(answer[1])
    match outcome:
        case "large":
            raise TooLarge(
                f"this item has {size} bytes, queue {queue} takes at most {number}. Nothing was stored; "
                "put the data into a file and send its path, or raise queue.max_payload_size_kb."
            )
        case "full":
            raise QueueFull(
                f"queue {queue} is full ({number} items); nothing was stored, what it holds is safe. "
                "Read or truncate it, raise its capacity, or set auto_evict."
            )
        case "ended":
            raise Conflict(f"queue {queue} was ended and takes no more items. Nothing was stored.")
    return Put(number, known=outcome == "known")


@dataclass(frozen=True, slots=True)
class Item:
    """One item as a reader gets it."""

    index: int
    tags: dict[str, str]
    data: bytes


def read_items(answer: list[Any]) -> list[Item]:
    """Items from a script's page: (index, size of tags, size of data) *, and all tags and data in one."""
    if not answer:
        return []
    numbers, text = [int(number) for number in answer[0].split()], answer[1]
    items, at = [], 0
    for index, tags, data in zip(numbers[0::3], numbers[1::3], numbers[2::3], strict=True):
        middle, end = at + tags, at + tags + data
        items.append(Item(index, json.loads(text[at:middle]), text[middle:end]))
        at = end
    return items


def wanted_pair(tags: Mapping[str, str]) -> str:
    """What a waiter with this tag filter is woken by: its most telling tag, or every put."""
    if not tags:
        return ""
    name = "requestId" if "requestId" in tags else min(tags)
    return f"{name}\0{tags[name]}"


def get(
    queue: str,
    tags: Mapping[str, str],
    *,
    first: int = 0,
    length: int = 1,
    all_or_none: bool = False,
    take: bool = False,
    max_bytes: int = 32 << 20,
) -> Call[list[Item]]:
    """Read up to `length` items from index `first` on, in delivery order; `first` = -1 reads only the newest.

    With `all_or_none`, fewer than `length` answer nothing, and the next fitting put is announced. `take`
    removes what was read, for every group.
    """
    return script(
        *("queue_get", queue, first, length, int(all_or_none), int(take), max_bytes),
        *(wanted_pair(tags), encode_tags(tags)),
    ).then(read_items)


def delete(queue: str, indexes: Sequence[int]) -> Call[int]:
    """Remove up to `MOST_AT_ONCE` items for every group, delivered or not; answers how many were there."""
    return script("queue_delete", queue, *indexes).then(int)


def truncate(queue: str, index: int, *, most: int = MOST_AT_ONCE) -> Call[int]:
    """Remove up to `most` of the items below `index`; call again while it answers `most`."""
    return script("queue_truncate", queue, index, most).then(int)


def count(queue: str, tags: Mapping[str, str], *, priority: int | None = None) -> Call[int]:
    """How many items with these tags, of this priority (0 or 1) or of any."""
    level = "" if priority is None else int(priority > 0)
    return script("queue_count", queue, level, encode_tags(tags)).then(int)


def end(queue: str, *, ended: bool = True) -> Call[None]:
    """Take no more items (or take them again); what is there is still delivered."""
    return script("queue_end", queue, int(ended)).then(lambda _: None)


def drop(queue: str) -> Call[None]:
    """Remove the queue with its settings, items and groups."""
    return script("queue_drop", queue).then(lambda _: None)


@dataclass(frozen=True, slots=True)
class Found:
    """Where an item stands: with a consumer (`group.name`), or with `ahead` items before it."""

    pending: bool
    consumer: str
    ahead: int


def search(queue: str, group: str, index: int) -> Call[Found | None]:
    """Where item `index` stands, as `group` sees it; None when the queue does not hold it."""
    return script("queue_search", queue, group, index).then(
        lambda answer: Found(bool(answer[0]), answer[1].decode(), int(answer[2])) if answer else None
    )
