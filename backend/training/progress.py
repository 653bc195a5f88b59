"""What a run says while it goes: records on `PROGRESS_FD`, lines for people on standard output."""

from __future__ import annotations

import os
import time
from collections import deque
from typing import TYPE_CHECKING

from backend.records import (
    PROGRESS_FD,
    Failed,
    FileKind,
    FileWritten,
    Phase,
    Progress,
    Record,
    Result,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_RECORD_EVERY = 0.05
_LINE_EVERY = 0.35
_RECENT_STEPS = 20


class Reporter:
    """Speaks for one process; `quiet` makes all but the first of several processes silent."""

    def __init__(
        self, descriptor: int | None, *, clock: Callable[[], float] = time.monotonic, quiet: bool = False
    ) -> None:
        self._descriptor = descriptor
        self._clock = clock
        self.quiet = quiet
        self._last_record = self._last_line = float("-inf")
        self._times: deque[float] = deque(maxlen=_RECENT_STEPS + 1)

    def log(self, text: str) -> None:
        """A line for people."""
        if not self.quiet:
            print(text, flush=True)

    def phase(self, name: str) -> None:
        """What is being done now, other than stepping."""
        self.log(name)
        self._record(Phase(name))

    def start_steps(self) -> None:
        """The clock of the steps starts, after a pause for samples or saving too."""
        self._times.clear()
        self._times.append(self._clock())

    def step(self, progress: Progress, *, average: float, always: bool) -> None:
        """A step is done; records come at most 20 a second and lines about 3, but `always` is always said."""
        now = self._clock()
        self._times.append(now)
        pace = self._pace()
        left = progress.total - progress.step
        full = Progress(
            progress.step,
            progress.total,
            progress.epoch,
            progress.epochs,
            progress.loss,
            progress.lr,
            pace,
            None if pace is None else pace * left,
        )
        if always or now - self._last_record >= _RECORD_EVERY:
            self._last_record = now
            self._record(full)
        if always or now - self._last_line >= _LINE_EVERY:
            self._last_line = now
            self.log(_line(full, average))

    def _pace(self) -> float | None:
        if len(self._times) < 2:
            return None
        return (self._times[-1] - self._times[0]) / (len(self._times) - 1)

    def file(self, kind: FileKind, path: Path, *, step: int, epoch: int, label: str | None = None) -> None:
        """A file is complete."""
        self._record(FileWritten(kind, str(path), step, epoch, label))

    def failed(self, reason: str) -> None:
        """The run ends here, for this reason."""
        self._record(Failed(reason))

    def result(self, output: Path, steps: int) -> None:
        """The run has done what it was asked."""
        self._record(Result(str(output), steps))

    def _record(self, record: Record) -> None:
        if self._descriptor is None or self.quiet:
            return
        data = (encode(record) + "\n").encode()
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            self._descriptor = None


def from_environment() -> Reporter:
    """The reporter of this process, by `PROGRESS_FD`."""
    text = os.environ.get(PROGRESS_FD, "")
    first_of_several = os.environ.get("RANK", "0") == "0"
    return Reporter(int(text) if text.isdecimal() else None, quiet=not first_of_several)


def _line(progress: Progress, average: float) -> str:
    width = len(str(progress.total))
    loss = f"loss {progress.loss:.4f}" if progress.loss is not None else ""
    pace = f"{progress.seconds_per_step:.3g} s/step" if progress.seconds_per_step is not None else ""
    eta = f"ETA {_clock_time(progress.eta)}" if progress.eta is not None else ""
    parts = (
        f"step {progress.step:>{width}}/{progress.total}",
        f"epoch {progress.epoch}/{progress.epochs}",
        f"{loss} (average {average:.4f})",
        f"lr {progress.lr:.3g}",
        pace,
        eta,
    )
    return "  ".join(part for part in parts if part)


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
