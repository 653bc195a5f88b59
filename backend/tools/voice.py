"""What a tool says: lines for people, records for the queue."""

from __future__ import annotations

import os

from backend.records import PROGRESS_FD, Progress, Record, encode


def line(text: str) -> None:
    """A line of the task's log."""
    print(text, flush=True)


def record(said: Record) -> None:
    """A record on `PROGRESS_FD`; nobody listens where that is not set."""
    text = os.environ.get(PROGRESS_FD, "")
    if not text.isdecimal():
        return
    data = (encode(said) + "\n").encode()
    try:
        while data:
            data = data[os.write(int(text), data) :]
    except OSError:
        os.environ.pop(PROGRESS_FD, None)


def progress(done: int, total: int) -> None:
    """How far it is."""
    record(Progress(done, total))
