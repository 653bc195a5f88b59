"""The pictures that a task has drawn, a row for each step, with a slider over the steps."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets
from PIL import Image

from app.notebook import words
from backend.client import TaskHandle
from backend.errors import LorapoolError
from backend.views import FileView

_LARGEST = 320
_SHOWN = "160px"
_STEPS_KEPT = 40


def by_step(files: Sequence[FileView]) -> dict[int, list[FileView]]:
    """Samples of each step, steps rising."""
    found: dict[int, list[FileView]] = {}
    for file in files:
        if file.kind == "sample" and file.step is not None:
            found.setdefault(file.step, []).append(file)
    return dict(sorted(found.items()))


def thumbnail(content: bytes, largest: int = _LARGEST) -> bytes:
    """A picture as PNG, at most `largest` pixels wide and high: what a notebook shows need not travel whole."""
    with Image.open(io.BytesIO(content)) as picture:
        picture.thumbnail((largest, largest))
        out = io.BytesIO()
        picture.save(out, "PNG")
    return out.getvalue()


class Samples:
    """`widget` shows the newest step, and follows it until one has moved the slider away from the end."""

    def __init__(self, task: TaskHandle) -> None:
        self._task = task
        self._files: dict[int, list[FileView]] = {}
        self._pictures: dict[str, bytes] = {}
        self._drawn: list[str] = []
        self._moving = False
        self._slider: Any = ipywidgets.SelectionSlider(
            options=[("–", -1)], description="step", continuous_update=False
        )
        self._row: Any = ipywidgets.HBox(layout={"flex_flow": "row wrap"})
        self.widget: Any = ipywidgets.VBox([self._slider, self._row], layout={"display": "none"})
        self._slider.observe(lambda _: self._draw(), "value")

    @property
    def steps(self) -> list[int]:
        """Steps of which there are pictures."""
        return list(self._files)

    @property
    def shown(self) -> int:
        """How many pictures are shown now."""
        return len(self._drawn)

    def update(self, files: Sequence[FileView]) -> None:
        """Show what there is; asks the gateway for pictures that were not shown before."""
        found = by_step(files)
        if not found or found == self._files:
            return
        last = self._slider.value == next(reversed(self._files), -1)
        self._files = found
        chosen = next(reversed(found)) if last else self._slider.value
        # New options move the slider to the first one: that is not worth its pictures.
        self._moving = True
        self._slider.options = [(str(step), step) for step in found]
        self._slider.value = chosen
        self._moving = False
        self.widget.layout.display = None
        self._draw()

    def _draw(self) -> None:
        if self._moving:
            return
        wanted = self._files.get(self._slider.value, [])
        paths = [file.path for file in wanted]
        if paths == self._drawn:
            return
        self._drawn = paths
        self._row.children = [self._picture(file) for file in wanted]

    def _picture(self, file: FileView) -> Any:
        caption = ipywidgets.HTML(words.say(file.label or "", "muted"), layout={"width": _SHOWN})
        try:
            content = self._content(file.path)
        except (LorapoolError, OSError) as error:
            return ipywidgets.VBox([ipywidgets.HTML(words.say(str(error), "bad")), caption])
        image = ipywidgets.Image(value=content, format="png", width=_SHOWN, height=_SHOWN)
        return ipywidgets.VBox([image, caption])

    def _content(self, path: str) -> bytes:
        if path not in self._pictures:
            with tempfile.TemporaryDirectory() as folder:
                file = self._task.download(path, Path(folder) / "picture")
                self._pictures[path] = thumbnail(file.read_bytes())
            while len(self._pictures) > _STEPS_KEPT * 4:
                del self._pictures[next(iter(self._pictures))]
        return self._pictures[path]
