"""Carries what a run says to the store: in small batches, fenced, once, never dropped.

When the store is away or the output queue is full, `flush` waits; nobody reads the run's pipe meanwhile, so the run
slows down instead of anything being lost. Only a run that was asked to end does not wait for a full output queue for
long: what it says then is in its log alone, and the log says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from backend.errors import StoreUnavailable
from backend.records import Phase, Record
from backend.store import outputs
from backend.store.connection import Store
from backend.store.outputs import Holder, Refusal
from backend.worker.patience import patiently

BATCH_SECONDS = 0.05
BATCH_LINES = 500
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class Sink:
    """The output queue of a run, '' for none. Items of at most `limit` bytes go into it.

    `hurry` says that it is not waited for any more when it is full. `open` is whether lines still go there.
    """

    def __init__(self, queue: str, *, limit: int, hurry: Callable[[], bool]) -> None:
        self.queue = queue
        self.limit = limit
        self.hurry = hurry
        self.open = bool(queue)

    def refused(self, why: Refusal) -> str:
        """What the log says about lines that do not go there; '' when they will, in a while."""
        match why:
            case "large":
                return "— the line above is too large for the output queue —"
            case "full" if not self.hurry():
                return ""
        self.open = False
        reason = "was ended" if why == "ended" else "is full, and this run was asked to end"
        return f"— the output queue {reason}: lines from here on are in this log alone —"


class Reporter:
    """The voice of one attempt. Not for sharing between threads."""

    def __init__(
        self, store: Store, holder: Holder, *, sink: Sink, log_file: Path, give_up: Callable[[], bool]
    ) -> None:
        self._store = store
        self._holder = holder
        self._sink = sink
        self._log_file = log_file
        self._give_up = give_up
        self._lines: list[str] = []
        self._records: list[Record] = []
        self._oldest = 0.0
        self._batch = 0

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
            count = self._fitting()
            self._send(self._lines[:count], [outputs.spoken(record) for record in _squeezed(self._records)])
            self._lines = self._lines[count:]
            self._records = []

    def _fitting(self) -> int:
        """How many lines go into one batch: they become one item of the output queue."""
        size = 0
        for count, line in enumerate(self._lines[:BATCH_LINES]):
            size += len(line.encode()) + 1
            if self._sink.open and count and size > self._sink.limit:
                return count
        return min(len(self._lines), BATCH_LINES)

    def _send(self, lines: list[str], said: list[tuple[str, str]]) -> None:
        self._batch += 1
        sink = self._sink.queue if self._sink.open else ""
        pause = _FIRST_PAUSE
        while isinstance(answer := self._append(lines, said, sink), str):
            if note := self._sink.refused(answer):
                lines, sink = [*lines, note], ""
                continue
            if self._give_up():
                raise StoreUnavailable("gave up waiting for the output queue")
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        with self._log_file.open("a", encoding="utf-8") as log:
            log.writelines(line + "\n" for line in lines)

    def _append(self, lines: list[str], said: list[tuple[str, str]], sink: str) -> int | Refusal:
        call = outputs.append(self._holder, lines, said, batch=self._batch, sink=sink)
        return patiently(lambda: self._store.run(call), self._give_up)


def _squeezed(records: list[Record]) -> list[Record]:
    """The same records with a phase that is over at once left out."""
    last_phase = max((n for n, record in enumerate(records) if isinstance(record, Phase)), default=-1)
    return [record for n, record in enumerate(records) if not isinstance(record, Phase) or n == last_phase]
