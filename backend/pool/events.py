"""What changes in the store, as the supervisor hears it: it wakes, and knows which tasks to read again."""

from __future__ import annotations

import json
import logging
import threading

from backend.store.connection import Store
from backend.store.keys import key

log = logging.getLogger("lorapool.supervisor")

_LOOK = 1.0
_PAUSE = 0.2


class Events:
    """A listening thread. `wake` is set by every change but a task's output."""

    def __init__(self, store: Store, wake: threading.Event) -> None:
        self._store = store
        self._wake = wake
        self._lock = threading.Lock()
        self._tasks: set[str] = set()
        self._missed = True
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="events", daemon=True)

    def start(self) -> None:
        """Begin to listen; returns at once."""
        self._thread.start()

    def changed(self) -> set[str] | None:
        """Tasks that changed since the last call; None when some may have been missed: any may have changed."""
        with self._lock:
            tasks, missed = self._tasks, self._missed
            self._tasks, self._missed = set(), False
        return None if missed else tasks

    def close(self) -> None:
        """Stop listening."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(2 * _LOOK)

    def _listen(self) -> None:
        while not self._closing.is_set():
            try:
                with self._store.listen(key("events")) as messages:
                    self._miss()
                    while not self._closing.is_set():
                        message = messages.get_message(timeout=_LOOK)
                        if message:
                            self._hear(json.loads(message["data"]))
            except Exception as error:
                # The supervisor's own calls say so if the store is away; without events it still looks every second.
                log.info("the store's announcements are lost for a moment: %s", error)
                self._closing.wait(_PAUSE)

    def _miss(self) -> None:
        with self._lock:
            self._missed = True
        self._wake.set()

    def _hear(self, said: dict[str, str]) -> None:
        if said["kind"] == "output":
            return
        if said["kind"] == "task":
            with self._lock:
                self._tasks.add(said["id"])
        self._wake.set()
