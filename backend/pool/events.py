"""What changes in the store, as the supervisor hears it: it wakes, knows which tasks to read again, and since when."""

from __future__ import annotations

import json
import logging
import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import TypeAlias

from backend.signal_safe import SignalSafeEvent
from backend.store.announcements import CHANGES
from backend.store.connection import Store

log = logging.getLogger("lorapool.supervisor")

MOST_TIMES = 10_000
MOST_CHANGES = 100_000
"""Announcements that are remembered for a supervisor that does not ask, as it does not lead."""

Moment: TypeAlias = tuple[str, float]
"""A service, and a time in seconds since the epoch by the store's clock."""

_LOOK = 1.0
_PAUSE = 0.2


class Events:
    """A listening thread. `wake` is set by every change but a task's output."""

    def __init__(self, store: Store, wake: SignalSafeEvent) -> None:
        self._store = store
        self._wake = wake
        self._lock = threading.Lock()
        self._tasks: defaultdict[str, set[str]] = defaultdict(set)
        self._count = 0
        self._instances: set[str] = set()
        self._times: list[Moment] = []
        self._missed = True
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="events", daemon=True)

    def start(self) -> None:
        """Begin to listen; returns at once."""
        self._thread.start()

    def changed(self) -> Mapping[str, set[str]] | None:
        """The tasks of each service that changed since the last call; None when any may have: some were missed."""
        with self._lock:
            tasks, missed = self._tasks, self._missed
            self._tasks, self._missed, self._count = defaultdict(set), False, 0
        return None if missed else tasks

    def instances(self) -> set[str]:
        """Instances that changed since the last call; asked for after `changed`, which says if any may have."""
        with self._lock:
            found, self._instances = self._instances, set()
        return found

    def times(self) -> list[Moment]:
        """When, and at which service, what was heard since the last call happened; at most `MOST_TIMES`."""
        with self._lock:
            times, self._times = self._times, []
        return times

    def close(self) -> None:
        """Stop listening."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(2 * _LOOK)

    def _listen(self) -> None:
        while not self._closing.is_set():
            try:
                with self._store.listen(CHANGES) as messages:
                    self.miss()
                    while not self._closing.is_set():
                        message = messages.get_message(timeout=_LOOK)
                        if message:
                            self._hear(json.loads(message["data"]))
            except Exception as error:
                # The supervisor's own calls say so if the store is away; without events it still looks every second.
                log.info("the store's announcements are lost for a moment: %s", error)
                self._closing.wait(_PAUSE)

    def miss(self) -> None:
        """Something may have been missed: everything is to be read again."""
        with self._lock:
            self._missed = True
        self._wake.set()

    def _hear(self, said: dict[str, str]) -> None:
        if said["kind"] in ("output", "deleted"):
            return
        with self._lock:
            if said["kind"] == "task" and not self._missed:
                self._tasks[said["service"]].add(said["id"])
                self._count += 1
                self._missed = self._count > MOST_CHANGES
            elif said["kind"] == "instance" and not self._missed:
                self._instances.add(said["id"])
            if "at" in said and len(self._times) < MOST_TIMES:
                self._times.append((said["service"], float(said["at"])))
        self._wake.set()
