"""The limits of a service's stream queues, from its description."""

from __future__ import annotations

from typing import Any

from backend.service import Description, QueueLimits
from backend.store import streams
from backend.store.call import Call
from backend.store.streams import QueueSettings


def calls(description: Description) -> list[Call[Any]]:
    """What writes the limits of the sink and, where its input queue is a stream, of that one too."""
    found = [streams.configure(description.sink, _settings(description, description.queue.sink))]
    if not description.type.runs_tasks:
        found.append(streams.configure(description.name, _settings(description, description.queue.source)))
    return found


def _settings(description: Description, limits: QueueLimits) -> QueueSettings:
    return QueueSettings(
        capacity=limits.capacity,
        auto_evict=limits.auto_evict,
        max_payload=limits.max_payload_size_kb * 1024,
        max_delivery=description.queue.max_delivery,
        max_idle=description.queue.max_idle,
    )
