"""Every instance that is not gone, kept up by what is heard of changes; the others are looked at in turn."""

from __future__ import annotations

from collections.abc import Iterable

from backend.instance import Instance
from backend.pool.clock import Clock, SystemClock
from backend.store import instances
from backend.store.connection import Store

LOOK_EVERY = 1.0
"""Seconds after which an instance is read again of which nothing was heard: its lease, its load, what it holds warm."""


class Roster:
    """The instances of all services."""

    def __init__(self, store: Store, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._known: dict[str, Instance] = {}
        self._read_at: dict[str, float] = {}

    def update(self, changed: Iterable[str] | None) -> list[Instance]:
        """The instances as they are, by id, those of `changed` read again; None: all of them."""
        now = self._clock.monotonic()
        ids = self._store.run(instances.ids())
        stale = set(ids if changed is None else changed)
        stale |= {name for name in ids if name not in self._known or self._due(name, now)}
        here = set(ids)
        for name in self._known.keys() - here:
            del self._known[name], self._read_at[name]
        wanted = sorted(stale & here)
        for found in self._store.run(instances.some(wanted)) if wanted else []:
            self._known[found.id], self._read_at[found.id] = found, now
        return [self._known[name] for name in ids if name in self._known]

    def _due(self, name: str, now: float) -> bool:
        """Whether it has not been looked at for a while, or its lease may be over by now."""
        return now - self._read_at[name] >= min(LOOK_EVERY, self._known[name].lease_left or LOOK_EVERY)
