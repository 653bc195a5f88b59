"""What a service's queue and pool looked like over time, written when it changes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from backend.instance import InstanceState
from backend.store import pools
from backend.store.connection import Store

LEAST_GAP = 5.0
"""Seconds between two moments that are written; what changes in between is told by the next."""

_STATES = (InstanceState.STARTING, InstanceState.IDLE, InstanceState.BUSY, InstanceState.DRAINING)


class History:
    """The history of one service. A quiet one writes nothing."""

    def __init__(self, store: Store, service: str) -> None:
        self._store = store
        self._service = service
        self._last: dict[str, int] = {}
        self._peak = 0
        self._written_at = -math.inf

    def note(self, waiting: int, running: int, states: Iterable[InstanceState], now: float) -> None:
        """How it is at `now`, in seconds since the epoch."""
        count = Counter(states)
        seen = {"waiting": waiting, "running": running} | {s.value: count[s] for s in _STATES}
        self._peak = max(self._peak, waiting)
        if (seen == self._last and self._peak == waiting) or now - self._written_at < LEAST_GAP:
            return
        # A queue that filled and emptied since the last moment was long all the same.
        self._store.run(pools.note_moment(self._service, seen | {"waiting": self._peak, "at": now}))
        self._last = seen | {"waiting": self._peak}
        self._peak, self._written_at = waiting, now
