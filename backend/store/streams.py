"""Stream queues: the sink of every service, and both queues of services whose items outside consumers take.

A queue is named as in its URL: `svc`, `svc/sink`, and `svc/dead` for dead letters. Its settings and last index
are one hash; its items two hashes (data, tags) and one sorted set in delivery order; its tags a lexical index,
so that no operation walks the queue. A consumer group has a sorted set of what it has not been given ("to
do"), and what it has been given and has not committed ("pending"), each with its consumer. A committed item
disappears when every group that existed when it was put has committed it.

Waiting is edge triggered: a call that finds nothing puts down what it waits for, the next fitting put takes
that mark away and publishes once on the channel `queue_events`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.errors import Conflict, QueueFull, TooLarge
from backend.store.call import Call, command, script
from backend.store.keys import key


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
