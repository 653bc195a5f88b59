"""Full garbage collections between a supervisor's passes and not in the middle of one: each may take tens of ms."""

from __future__ import annotations

import gc
import time

EVERY = 30.0
"""Seconds from one full collection to the next, where there is a moment without work."""
_RARELY = 1000
"""Collections of the middle generation before Python makes a full one by itself, should no moment come."""


class Garbage:
    """Collects when told that there is time. What there is at its making is taken to stay for good."""

    def __init__(self) -> None:
        gc.collect()
        gc.freeze()
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, _RARELY)
        self._due = time.monotonic() + EVERY

    def tend(self) -> None:
        """There is time now."""
        if time.monotonic() >= self._due:
            gc.collect()
            self._due = time.monotonic() + EVERY
