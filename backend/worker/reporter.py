"""Carries what a run says to the store: in small batches, fenced, never dropped.

When the store is away or the output queue is full, `flush` waits; nobody reads the run's pipe meanwhile, so the run
slows down instead of anything being lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from backend.errors import StoreUnavailable
from backend.records import Phase, Record
from backend.store import tasks
from backend.store.connection import Store
from backend.store.tasks import Holder

BATCH_SECONDS = 0.05
BATCH_LINES = 500
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class Reporter:
    """The voice of one attempt. Not for sharing between threads."""

    def __init__(
        self, store: Store, holder: Holder, *, sink: str, log_file: Path, give_up: Callable[[], bool]
    ) -> None:
        self._store = store
        self._holder = holder
        self._sink = sink
        self._log_file = log_file
        self._give_up = give_up
        self._lines: list[str] = []
        self._records: list[Record] = []
        self._oldest = 0.0

    def say(self, lines: list[str], records: list[Record]) -> None:
        """Take what was said; it goes out with the next batch."""
        if not lines and not records:
            return
        if not self._lines and not self._records:
            self._oldest = time.monotonic()
        self._lines.extend(lines)
        self._records.extend(records)
        if len(self._lines) >= BATCH_LINES:
            self.flush()

    @property
    def due_in(self) -> float | None:
        """Seconds until the next batch should go out; None when there is nothing to say."""
        if not self._lines and not self._records:
            return None
        return max(0.0, self._oldest + BATCH_SECONDS - time.monotonic())

    def flush(self) -> None:
        """Send what was said.

        Raises:
            StaleAttempt: the attempt is over; nothing was added.
            StoreUnavailable: the instance gave up waiting for the store.
        """
        while self._lines or self._records:
            lines, records = self._lines[:BATCH_LINES], _squeezed(self._records)
            said = [tasks.spoken(record) for record in records]
            self._send(lines, said)
            with self._log_file.open("a", encoding="utf-8") as log:
                log.writelines(line + "\n" for line in lines)
            self._lines = self._lines[BATCH_LINES:]
            self._records = []

    def _send(self, lines: list[str], said: list[tuple[str, str]]) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                if self._store.run(tasks.append(self._holder, lines, said, sink=self._sink)) is not None:
                    return
            except StoreUnavailable:
                if self._give_up():
                    raise
            if self._give_up():
                raise StoreUnavailable("gave up waiting for the output queue")
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


def _squeezed(records: list[Record]) -> list[Record]:
    """The same records with a phase that is over at once left out."""
    last_phase = max((n for n, record in enumerate(records) if isinstance(record, Phase)), default=-1)
    return [record for n, record in enumerate(records) if not isinstance(record, Phase) or n == last_phase]
