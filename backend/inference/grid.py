"""A checkpoint grid: one prompt, a row for each saved epoch, a column for each weight. Planning and assembly, pure."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from backend.errors import InvalidArgument

MOST_CELLS = 400
_GAP, _HEAD, _FONT = 8, 28, 13
_PAPER, _INK, _EMPTY, _BAD = "#ffffff", "#333333", "#eeeeee", "#b3261e"
_SMALLEST = 128


@dataclass(frozen=True, slots=True)
class Cell:
    """One picture of a grid: its place, what it is drawn with, and, once it has come, the PNG or why there is none.

    `instance` is the one that drew it.
    """

    row: int
    column: int
    checkpoint: str
    weight: float
    image: bytes | None = None
    error: str = ""
    instance: str = ""

    @property
    def checkpoint_label(self) -> str:
        """The file's name without its ending."""
        return PurePosixPath(self.checkpoint).stem

    def filled(self, image: bytes | None, error: str, instance: str = "") -> Cell:
        """The same with what came of it."""
        return replace(self, image=image, error=error, instance=instance)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a grid asks for. `keys` are those of a query, the same in every cell; the seed is, too."""

    id: str
    service: str
    prompt: str
    checkpoints: tuple[str, ...]
    weights: tuple[float, ...]
    keys: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        service: str,
        prompt: str,
        checkpoints: Sequence[str],
        weights: Sequence[float],
        keys: Mapping[str, Any],
    ) -> Plan:
        """A plan; one without a seed gets one, so that only checkpoint and weight differ between its cells.

        Raises:
            InvalidArgument: nothing to draw, or too much.
        """
        if not checkpoints:
            raise InvalidArgument("checkpoints", "there is none: no epoch was saved, or none is left")
        if not weights:
            raise InvalidArgument("weights", "at least one weight is needed")
        if len(checkpoints) * len(weights) > MOST_CELLS:
            raise InvalidArgument(
                "weights", f"{len(checkpoints)} × {len(weights)} pictures; up to {MOST_CELLS} are drawn"
            )
        made = uuid.uuid4()
        seeded = {"seed": made.int % 2**32, **{k: v for k, v in keys.items() if v is not None}}
        return cls(made.hex, service, prompt, tuple(checkpoints), tuple(weights), seeded)

    @property
    def cells(self) -> list[Cell]:
        """Every cell, row by row."""
        return [
            Cell(row, column, checkpoint, weight)
            for row, checkpoint in enumerate(self.checkpoints)
            for column, weight in enumerate(self.weights)
        ]

    def keys_of(self, cell: Cell) -> dict[str, Any]:
        """The keys of the query for a cell, but for the prompt."""
        more = self.keys.get("loras") or ()
        others = (
            [{"name": name, "weight": weight} for name, weight in more.items()]
            if isinstance(more, Mapping)
            else list(more)
        )
        own = {"name": cell.checkpoint, "weight": cell.weight}
        return {**self.keys, "count": 1, "loras": [own, *others]}

    def place_of(self, cell: Cell) -> dict[str, Any]:
        """Where the cell stands, for whoever shows the whole grid."""
        rows = [PurePosixPath(checkpoint).stem for checkpoint in self.checkpoints]
        columns = [f"{weight:g}" for weight in self.weights]
        return {"group": self.id, "row": cell.row, "column": cell.column, "rows": rows, "columns": columns}

    def sheet(self, cells: Iterable[Cell]) -> Image.Image:
        """One picture of the cells that are there; the others are empty."""
        there = {(cell.row, cell.column): cell for cell in cells}
        pictures = {
            place: Image.open(io.BytesIO(cell.image)).convert("RGB")
            for place, cell in there.items()
            if cell.image is not None
        }
        width, height = _cell_size(pictures.values())
        font = ImageFont.load_default(size=_FONT)
        labels = [PurePosixPath(checkpoint).stem for checkpoint in self.checkpoints]
        left = _GAP * 2 + max(int(font.getlength(label)) for label in labels)
        sheet = Image.new(
            "RGB",
            (
                left + len(self.weights) * (width + _GAP),
                _HEAD + len(labels) * (height + _GAP),
            ),
            _PAPER,
        )
        draw = ImageDraw.Draw(sheet)
        for column, weight in enumerate(self.weights):
            middle = left + column * (width + _GAP) + width / 2
            draw.text((middle, _HEAD / 2), f"{weight:g}", fill=_INK, font=font, anchor="mm")
        for row, label in enumerate(labels):
            top = _HEAD + row * (height + _GAP)
            draw.text((_GAP, top + height / 2), label, fill=_INK, font=font, anchor="lm")
            for column in range(len(self.weights)):
                corner = (left + column * (width + _GAP), top)
                picture = pictures.get((row, column))
                if picture is not None:
                    sheet.paste(picture.resize((width, height), Image.Resampling.LANCZOS), corner)
                    continue
                draw.rectangle((*corner, corner[0] + width - 1, corner[1] + height - 1), fill=_EMPTY)
                cell = there.get((row, column))
                if cell is not None and cell.error:
                    centre = (corner[0] + width / 2, corner[1] + height / 2)
                    draw.text(centre, "failed", fill=_BAD, font=font, anchor="mm")
        return sheet


def _cell_size(pictures: Iterable[Image.Image]) -> tuple[int, int]:
    """The size of a picture, small ones drawn larger."""
    first = next(iter(pictures), None)
    if first is None:
        return _SMALLEST, _SMALLEST
    zoom = max(1, -(-_SMALLEST // first.width))
    return first.width * zoom, first.height * zoom
