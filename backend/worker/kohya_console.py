"""The console of a real sd-scripts run -> log lines and progress records.

Steps, epochs, checkpoints, states and samples are read off what sd-scripts prints. Steps are counted over every
resume, where sd-scripts itself starts its bar again at 0. The loss it shows is a mean over an epoch, in three digits:
where it writes an event file for TensorBoard, the loss and the rate of each step are taken from there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from backend.records import Failed, FileWritten, Phase, Progress, Record, Result
from backend.worker.kohya_failure import FailureFinder
from backend.worker.kohya_samples import SampleFolder
from backend.worker.kohya_text import Bar, ConsoleText, Line, Shown

if TYPE_CHECKING:
    from backend.worker.event_file import EventFile

_STEPS = "steps"
_LOUD = ("WARNING", "ERROR", "CRITICAL")
_PHASES = (
    ("prepare images", "reading the dataset"),
    ("loading image sizes", "sorting pictures into buckets"),
    ("loading model for process", "loading the base model"),
    ("caching latents...", "caching latents"),
    ("caching Text Encoder outputs", "caching text encoder outputs"),
    ("create LoRA network", "building the network"),
    ("prepare optimizer", "preparing the optimizer"),
    ("running training", "training"),
)
_VALIDATION = re.compile(r"(?:epoch|step) validation steps")
_EPOCH = re.compile(r"epoch (\d+)/(\d+)$")
_BATCHES = re.compile(r"num batches per epoch.*: *(\d+)\s*$")
_ACCUMULATION = re.compile(r"gradient accumulation steps\D*?(\d+)\s*$")
_TOTAL = re.compile(r"total optimization steps\D*?(\d+)\s*$")
_SKIPPING = re.compile(r"skipping (\d+) steps\b")
_CHECKPOINT = re.compile(r"saving checkpoint: (.+)$")
_STATE = re.compile(r"Saving current state to (.+)$")
_STATE_DONE = "Random states saved in "
_SAMPLING = re.compile(r"generating sample images at step\D*?(\d+)\s*$")
_PROMPT = re.compile(r"prompt: (.*)$")


class KohyaConsole:
    """Reads one run. `output_dir` is where the run puts its files; without it samples are not reported.

    `first_step` is how many optimizer steps earlier attempts have done; None takes what sd-scripts says it skips.
    `mid_epoch` says that it goes on in the middle of an epoch; else the epoch of that step is done again whole.
    `curve` is where it writes what TensorBoard shows.
    """

    def __init__(
        self,
        output_dir: Path | None = None,
        *,
        first_step: int | None = None,
        mid_epoch: bool = True,
        curve: EventFile | None = None,
    ) -> None:
        self._text = ConsoleText()
        self._failure = FailureFinder()
        self._files = SampleFolder(output_dir / "sample" if output_dir else None)
        self._first_step = first_step
        self._mid_epoch = mid_epoch
        self._curve = curve
        self._untold: Progress | None = None
        self._batches, self._accumulation = 0, 1
        self._skipped = 0
        self._announced: int | None = None
        self._epoch: tuple[int, int] | None = None
        self._progress = Progress(0, 0)
        self._held: Bar | None = None
        self._bar_line: Bar | None = None
        self._phase = ""
        self._checkpoint = ""
        self._state = ""
        self._last_saved = ""
        self._sampling = False
        self._not_finite_since: int | None = None
        self._is_saved = False

    def feed(self, chunk: bytes) -> tuple[list[str], list[Record]]:
        """Take the next bytes, cut anywhere; give the lines and records that they complete."""
        return self._told(self._text.feed(chunk))

    def close(self) -> tuple[list[str], list[Record]]:
        """The stream has ended; give what was left, and why the run failed if it looks like it did."""
        lines, records = self._told(self._text.close())
        lines += self._bar_over()
        records += self._release()
        records += self._settled()
        records += self._files.new(self._progress, self._epoch)
        reason = self._reason()
        return lines, [*records, Failed(reason)] if reason else records

    def _reason(self) -> str:
        if self._not_finite_since is not None:
            return f"the loss is not a number since step {self._not_finite_since}: the training diverged"
        return "" if self._is_saved else self._failure.reason

    def _told(self, shown: Iterator[Shown]) -> tuple[list[str], list[Record]]:
        lines: list[str] = []
        records: list[Record] = []
        for each in shown:
            if isinstance(each, Bar):
                lines += self._bar(each, records)
            else:
                lines += self._bar_over()
                lines.append(f"{each.level}: {each.text}" if each.level in _LOUD else each.text)
                self._line(each, records)
        return lines, records

    # Bars

    def _bar(self, bar: Bar, records: list[Record]) -> list[str]:
        lines = self._bar_over() if self._bar_line and self._bar_line.name != bar.name else []
        self._bar_line = bar
        if self._is_saved:
            return lines
        if bar.name == _STEPS:
            records += self._saved(by="")
            records += self._step(bar)
        elif _VALIDATION.fullmatch(bar.name):
            records += self._enter("validating")
        return lines

    def _bar_over(self) -> list[str]:
        """The last state of a bar becomes a line of the log when something else is printed."""
        bar, self._bar_line = self._bar_line, None
        return [bar.text] if bar else []

    def _step(self, bar: Bar) -> list[Record]:
        """sd-scripts draws each step twice, first with the loss of the step before: only the second one counts."""
        records: list[Record] = []
        if self._sampling:
            self._sampling = False
            records += self._files.new(self._progress, self._epoch)
        if self._held is not None and self._held.done == bar.done:
            self._held = None
            return [*records, *self._progressed(bar)]
        records += self._release()
        if bar.done == 0 or bar.done == self._done_in_bar():
            return [*records, *self._progressed(bar)]
        self._held = bar
        return records

    def _done_in_bar(self) -> int:
        return self._progress.step - self._offset()

    def _release(self) -> list[Record]:
        held, self._held = self._held, None
        return self._progressed(held) if held else []

    def _progressed(self, bar: Bar) -> list[Record]:
        step = self._offset() + bar.done
        total = self._announced or self._offset() + bar.total
        loss = bar.loss if bar.done else None
        epoch, epochs = self._epoch or (None, None)
        eta = bar.seconds * max(0, total - step) if bar.seconds is not None else None
        shown = loss if loss is not None and math.isfinite(loss) else None
        progress = Progress(step, total, epoch, epochs, shown, None, bar.seconds, eta)
        phase = self._enter("training")
        if replace(self._progress, seconds_per_step=bar.seconds, eta=eta) == progress:
            return phase  # only the clock went on
        self._progress = progress
        return [*phase, *self._tell(progress), *self._finite(loss, step)]

    def _tell(self, progress: Progress) -> list[Record]:
        """A step's values reach the event file after its bar was drawn: each step is told when the next one is."""
        if self._curve is None or progress.step == self._offset():
            return [progress]
        records = self._settled() if self._untold and self._untold.step != progress.step else []
        self._untold = progress
        return records

    def _settled(self) -> list[Record]:
        """The step that was not told yet, with its own loss and rate where the event file has them."""
        untold, self._untold = self._untold, None
        if untold is None or self._curve is None:
            return []
        values = self._curve.values(untold.step - self._offset() + self._first_count())
        return [untold if values is None else replace(untold, loss=values.loss, lr=values.lr)]

    def _finite(self, loss: float | None, step: int) -> list[Record]:
        if loss is None or math.isfinite(loss):
            self._not_finite_since = None
        elif self._not_finite_since is None:
            self._not_finite_since = step
            return [Phase(f"training, the loss is not a number since step {step}")]
        return []

    def _offset(self) -> int:
        """Optimizer steps that were done before the first one of the bar."""
        if self._first_step is None:
            return self._skipped
        steps = self._epoch_steps()
        return self._first_step if self._mid_epoch or not steps else self._first_step // steps * steps

    def _first_count(self) -> int:
        """What sd-scripts itself counts from: after skipping steps, from their number within their epoch."""
        steps = self._epoch_steps()
        return self._offset() % steps if steps else 0

    def _epoch_steps(self) -> int:
        return math.ceil(self._batches / self._accumulation)

    # Lines

    def _line(self, line: Line, records: list[Record]) -> None:
        records += self._release()
        self._failure.line(line.text, line.level)
        text = line.text.strip()
        records += self._saved(by=text)
        self._counts(text)
        records += self._stages(text)
        records += self._notes_files(text)

    def _counts(self, text: str) -> None:
        if epoch := _EPOCH.match(text):
            self._epoch = int(epoch[1]), int(epoch[2])
        elif total := _TOTAL.search(text):
            self._announced = int(total[1])
        elif batches := _BATCHES.search(text):
            self._batches = int(batches[1])
        elif accumulation := _ACCUMULATION.search(text):
            self._accumulation = max(1, int(accumulation[1]))
        elif skipping := _SKIPPING.match(text):
            self._skipped = int(skipping[1])

    def _stages(self, text: str) -> list[Record]:
        if _SAMPLING.search(text):
            self._sampling = True
            self._files.prompts.clear()
            return self._enter("painting samples")
        for start, name in _PHASES:
            if text.startswith(start):
                return self._enter(name)
        return []

    def _enter(self, phase: str) -> list[Record]:
        if phase == self._phase:
            return []
        self._phase = phase
        return [Phase(phase)]

    # Files

    def _notes_files(self, text: str) -> list[Record]:
        if checkpoint := _CHECKPOINT.match(text):
            self._checkpoint = checkpoint[1]
        elif state := _STATE.match(text):
            self._state = state[1]
        elif text.startswith(_STATE_DONE) and self._state:
            state_dir, self._state = self._state, ""
            return [FileWritten("state", state_dir, self._progress.step, self._epoch_now())]
        elif self._sampling:
            return self._sampled(text)
        return []

    def _sampled(self, text: str) -> list[Record]:
        if prompt := _PROMPT.match(text):
            found = self._files.new(self._progress, self._epoch)
            self._files.prompts.append(prompt[1])
            return found
        if _EPOCH.match(text):
            self._sampling = False
            return self._files.new(self._progress, self._epoch)
        return []

    def _saved(self, *, by: str) -> list[Record]:
        """A checkpoint is complete as soon as anything else is printed: saving prints nothing."""
        if by == "model saved.":
            self._is_saved = True
            self._failure.forget()
            path, self._checkpoint = self._checkpoint or self._last_saved, ""
            done = FileWritten("lora", path, self._progress.step, self._epoch_now())
            settled = self._settled()
            return [*settled, done, Result(path, self._progress.step)] if path else settled
        if not self._checkpoint:
            return []
        path, self._checkpoint = self._checkpoint, ""
        self._last_saved = path
        return [FileWritten("checkpoint", path, self._progress.step, self._epoch_now())]

    def _epoch_now(self) -> int | None:
        return self._epoch[0] if self._epoch else None
