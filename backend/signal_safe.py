"""An event that a signal handler may set."""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue


class SignalSafeEvent:
    """As `threading.Event`, whose `set` takes a lock: in a handler that interrupts `set` or `wait`, it never returns.

    Here nothing waits for a lock that the interrupted code could hold: `SimpleQueue.put` is re-entrant, which its
    documentation promises.
    """

    def __init__(self) -> None:
        self._set = False
        self._calls: SimpleQueue[None] = SimpleQueue()

    def is_set(self) -> bool:
        """Whether `set` was called since the last `clear`."""
        return self._set

    def set(self) -> None:
        """Wake whoever waits."""
        if not self._set:
            self._set = True
            self._calls.put(None)

    def clear(self) -> None:
        """Make the next `wait` wait."""
        self._set = False
        while not self._calls.empty():
            self._take(0.0)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, `timeout` seconds at the most; whether it is."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            if not self._take(None if until is None else until - time.monotonic()):
                return self.is_set()
            if self.is_set():
                self._calls.put(None)  # for the next one who waits
        return True

    def _take(self, timeout: float | None) -> bool:
        try:
            self._calls.get(timeout=None if timeout is None else max(0.0, timeout))
        except Empty:
            return False
        return True
