"""Attributes of a queue as text, with the names that the Go client calls mandatory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from backend.queue.contract import HEADER_GROUP, HEADER_PRIORITY, HEADER_USER
from backend.store.consumers import ConsumerView, GroupView, QueueView

BACKEND = "lorapool"


def as_text(name: str, queue: QueueView) -> dict[str, str]:
    """Every attribute of a queue; lists are numbered keys, as the documents show them."""
    values = {
        "meta.backend": BACKEND,
        "meta.name": name,
        "meta.state": "Ended" if queue.ended else "Normal",
        "meta.maxPayloadBytes": str(queue.max_payload),
        "meta.header.user": HEADER_USER,
        "meta.header.group": HEADER_GROUP,
        "meta.header.priority": HEADER_PRIORITY,
        "stream.length": str(queue.length),
        "stream.approxMaxLength": str(queue.capacity),
        "stream.firstEntry": str(queue.first),
        "stream.lastEntry": str(queue.last),
        "consumers.stats.total": str(len(queue.consumers)),
        "consumers.status.total": str(len(queue.consumers)),
    }
    values |= _numbered("groups.list", [_group(group) for group in queue.groups])
    return values | _numbered("consumers.list", [_consumer(consumer) for consumer in queue.consumers])


def _numbered(prefix: str, lines: Sequence[str]) -> dict[str, str]:
    return {f"{prefix}.[{number}]": line for number, line in enumerate(lines)}


def _group(group: GroupView) -> str:
    return f"Id: {group.name}, Waiting: {group.waiting}, Pending: {group.pending}"


def _consumer(consumer: ConsumerView) -> str:
    line = (
        f"Id: {consumer.group}.{consumer.name}, Index: {consumer.index}, Pending: {consumer.pending}, "
        f"Status: {consumer.status}, Idle: {consumer.idle:.3f}s, Window: {consumer.window}, "
        f"Slots: {consumer.slots}, AutoCommit: {json.dumps(consumer.auto_commit)}"
    )
    return f"{line}, Tags: {_tags(consumer.tags)}" if consumer.tags else line


def _tags(tags: Mapping[str, str]) -> str:
    return " ".join(f"tags[{key}={value}]" for key, value in sorted(tags.items()))
