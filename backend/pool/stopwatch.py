"""How fast the supervisor is: collected in memory, written to the store about once a second."""

from __future__ import annotations

import time
from collections.abc import Iterable

from backend.pool.events import Moment
from backend.store import measures
from backend.store.connection import Store
from backend.store.measures import Observation

FLUSH_EVERY = 1.0


class Stopwatch:
    """Times of one supervisor's passes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._said: dict[str, list[Observation]] = {}
        self._flushed_at = time.monotonic()

    def passed(self, service: str, seconds: float, events: Iterable[Moment]) -> None:
        """A pass over `service` took `seconds` and has just ended; `events` are those that it was the first after."""
        now = time.time()
        said = self._said.setdefault(service, [])
        said.append(("pass", seconds))
        said += [("reaction", max(0.0, now - at)) for name, at in events if name == service]

    def flush(self, *, now: bool = False) -> None:
        """Write what was collected, if it is time to."""
        if not now and time.monotonic() - self._flushed_at < FLUSH_EVERY:
            return
        said, self._said = self._said, {}
        self._flushed_at = time.monotonic()
        for service, observations in said.items():
            self._store.run(measures.observe(service, observations))
