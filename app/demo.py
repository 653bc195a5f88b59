"""The demo's story: the sample LoRA, trained through the gateway while one watches, and the picture that it makes."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from backend import paths, samples
from backend.client import Client, TaskHandle
from backend.errors import LorapoolError
from backend.service import DEFAULT_SERVICE
from backend.views import FileView, TaskView
from kohya_adapter.presets import preset
from kohya_adapter.submission import submit

_ZOOM = 3
_GAP = 12
_LABEL = 132
_LINE = 30
_PAPER = "#ffffff"
_INK = "#333333"
_BAR = 28


class Story:
    """Tells itself on the terminal; `exit_code` is 1 when it did not come to its end."""

    def __init__(self, data_dir: Path, *, ui: str) -> None:
        self._data_dir = data_dir
        self._ui = ui
        self.exit_code = 1

    def tell(self, endpoint: str, token: str) -> None:
        """Submit the sample training, show its progress, print where everything is."""
        began = time.monotonic()
        try:
            samples.install(self._data_dir)
            with Client(endpoint, token) as client:
                form = preset("tiny-shapes").form
                task = submit(client, form, service=DEFAULT_SERVICE, data_dir=self._data_dir)
                print(
                    f"\nTraining {form.text('output_name')!r} on the sample data set, as task {task.id}.",
                    flush=True,
                )
                print(f"Watch it in a browser: {self._ui}/jobs?task={task.id}\n", flush=True)
                view = _watch(task)
                self._end(task, view, time.monotonic() - began)
        except (LorapoolError, OSError) as error:
            print(f"\nThe demo did not come to its end: {error}", file=sys.stderr, flush=True)

    def _end(self, task: TaskHandle, view: TaskView, seconds: float) -> None:
        job = paths.job_dir(self._data_dir, task.id)
        if view.state != "succeeded":
            print(f"\nThe training {view.state}: {view.reason}\nIts log: {job / 'log.txt'}", flush=True)
            return
        picture = before_and_after(task.files(), job)
        self.exit_code = 0
        print(
            f"\nDone in {seconds:.0f} s.\n"
            f"  the LoRA             {view.output}\n"
            f"  the log              {job / 'log.txt'}\n"
            f"  before and after     {picture or 'no sample pictures were drawn'}\n"
            f"  the front end        {self._ui}\n\n"
            "Everything stays up; Ctrl-C stops it.",
            flush=True,
        )


def _watch(task: TaskHandle) -> TaskView:
    """Follow a task on the terminal until it has ended: its phases as lines, its steps as a bar."""
    last: TaskView | None = None
    tty = sys.stdout.isatty()
    shown = ""
    for name, data in task.events():
        if name != "task":
            continue
        last = data
        line = _line(data)
        # Without a terminal there is nothing to redraw: a line for each part of the bar is enough.
        news = line if tty else line[:_BAR]
        if news != shown:
            print(("\r\x1b[K" if tty else "") + line, end="" if tty else "\n", flush=True)
            shown = news
    if tty:
        print()
    return last if last is not None and last.final else task.wait()


def _line(view: TaskView) -> str:
    progress = view.progress
    if view.state == "waiting":
        return f"queued, position {view.position or 1}"
    if view.final:
        return view.state
    if progress is None:
        return view.phase or view.state
    filled = round(_BAR * progress.step / max(1, progress.total))
    eta = f", {progress.eta:.0f} s left" if progress.eta is not None else ""
    loss = f", loss {progress.loss:.4f}" if progress.loss is not None else ""
    bar = "█" * filled + "░" * (_BAR - filled)
    phase = f" ({view.phase})" if view.phase not in ("", "training") else ""
    return f"{bar} {progress.step}/{progress.total}{loss}{eta}{phase}"


def before_and_after(files: list[FileView], job: Path) -> Path | None:
    """One picture of the first and the last samples of a training, a column for each prompt; None without samples."""
    drawn = [file for file in files if file.kind == "sample" and file.step is not None]
    if not drawn:
        return None
    steps = [min(file.step or 0 for file in drawn), max(file.step or 0 for file in drawn)]
    rows = [[file for file in drawn if file.step == step] for step in steps]
    target = job / "before-after.png"
    titles = ("before", f"after {steps[1]} steps")
    _sheet(list(zip(titles, rows, strict=True)), job).save(target)
    return target


def _sheet(rows: list[tuple[str, list[FileView]]], job: Path) -> Image.Image:
    """Rows of pictures, their titles at the left, the prompts below."""
    font = ImageFont.load_default(size=15)
    with Image.open(job / rows[0][1][0].path) as first:
        width, height = first.width * _ZOOM, first.height * _ZOOM
    columns = max(len(row) for _, row in rows)
    bottom = _GAP + len(rows) * (height + _GAP)
    sheet = Image.new("RGB", (_LABEL + columns * (width + _GAP), bottom + _LINE), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (title, row) in enumerate(rows):
        top = _GAP + number * (height + _GAP)
        draw.text((_GAP, top + height / 2), title, fill=_INK, font=font, anchor="lm")
        for column, file in enumerate(row):
            with Image.open(job / file.path) as picture:
                large = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
            sheet.paste(large, (_LABEL + column * (width + _GAP), top))
    for column, file in enumerate(rows[-1][1]):
        middle = _LABEL + column * (width + _GAP) + width / 2
        draw.text((middle, bottom), file.label or "", fill=_INK, font=font, anchor="ma")
    return sheet
