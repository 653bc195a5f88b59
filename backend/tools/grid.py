"""Prompts × checkpoints on one sheet: what a training learnt when, with the same noise in every column."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from backend.errors import InvalidArgument, LorapoolError
from backend.inference import drawing
from backend.inference.catalog import Catalog
from backend.inference.engine import Engine
from backend.inference.request import SCHEDULERS, GenerationRequest, LoraChoice
from backend.inference.ticket import Ticket
from backend.training.lora_file import read_metadata
from backend.training.prompts import SCALE, STEPS, SamplePrompt

_GAP, _LABEL, _LETTER = 8, 18, 6
_INK, _PAPER = "#222222", "#ffffff"
_SEED = 5


@dataclass(frozen=True, slots=True)
class Column:
    """A checkpoint by the path that the data folder has for it; '' is the base model alone."""

    label: str
    lora: str = ""


def columns(files: Sequence[Path], shown: Callable[[Path], str]) -> list[Column]:
    """Checkpoints in the order of their steps, labelled with them; of two with the same numbers the first one."""
    alike = {_metadata(file).get("sshs_model_hash", str(file)): file for file in reversed(files)}
    said = [(_steps(file), file) for file in alike.values()]
    ordered = sorted(said, key=lambda each: each[0] if each[0] is not None else 1 << 62)
    return [
        Column(f"step {steps}" if steps is not None else file.stem, shown(file)) for steps, file in ordered
    ]


def base_model(files: Sequence[Path]) -> str:
    """The base model that the checkpoints were trained on, by name; '' when they do not say so."""
    return next(
        (name for file in files if (name := Path(_metadata(file).get("ss_sd_model_name", "")).name)), ""
    )


def draw(
    data_dir: Path,
    model: str,
    prompts: Sequence[SamplePrompt],
    wanted: Sequence[Column],
    weight: float,
    on_picture: Callable[[int, int], None],
) -> list[list[Image.Image]]:
    """A row of pictures for each prompt. `on_picture(done, total)`.

    Raises:
        InvalidArgument: a model or a checkpoint cannot be used.
    """
    engine = Engine(Catalog(data_dir))
    try:
        tickets = [[engine.submit(_request(p, model, c, weight), _SEED) for p in prompts] for c in wanted]
        total = len(prompts) * len(wanted)
        done = 0
        drawn: list[list[Image.Image]] = []
        for column in tickets:
            drawn.append([])
            for ticket in column:
                drawn[-1].append(_picture(ticket))
                done += 1
                on_picture(done, total)
    finally:
        engine.close()
    return [list(row) for row in zip(*drawn, strict=True)]


def sheet(
    prompts: Sequence[str], labels: Sequence[str], rows: Sequence[Sequence[Image.Image]]
) -> Image.Image:
    """The sheet: labels over the columns, each prompt over its row."""
    width = max(picture.width for row in rows for picture in row)
    width = max(width, *(_LETTER * len(label) for label in labels))
    heights = [max(picture.height for picture in row) for row in rows]
    across = _GAP + len(labels) * (width + _GAP)
    down = _GAP + _LABEL + sum(_LABEL + height + _GAP for height in heights)
    paper = Image.new("RGB", (across, down), _PAPER)
    pen, font = ImageDraw.Draw(paper), ImageFont.load_default()
    for place, label in enumerate(labels):
        pen.text((_GAP + place * (width + _GAP), _GAP), label, fill=_INK, font=font)
    top = _GAP + _LABEL
    for prompt, row, height in zip(prompts, rows, heights, strict=True):
        pen.text((_GAP, top), prompt[: (across - 2 * _GAP) // _LETTER], fill=_INK, font=font)
        for place, picture in enumerate(row):
            paper.paste(picture, (_GAP + place * (width + _GAP), top + _LABEL))
        top += _LABEL + height + _GAP
    return paper


def _request(prompt: SamplePrompt, model: str, column: Column, weight: float) -> GenerationRequest:
    return GenerationRequest(
        prompt.prompt,
        prompt.negative,
        model,
        (LoraChoice(column.lora, weight),) if column.lora else (),
        prompt.width,
        prompt.height,
        prompt.steps or STEPS,
        SCALE if prompt.scale is None else prompt.scale,
        prompt.seed,
        scheduler=prompt.sampler if prompt.sampler in SCHEDULERS else "default",
    )


def _picture(ticket: Ticket) -> Image.Image:
    with ticket.changed:
        while not ticket.over:
            ticket.changed.wait()
    if ticket.error is not None:
        raise ticket.error
    if ticket.drawn is None:
        raise LorapoolError("nothing was drawn")
    return (ticket.drawn if isinstance(ticket.drawn, list) else drawing.images(ticket.drawn))[0]


def _metadata(file: Path) -> dict[str, str]:
    try:
        return read_metadata(file)
    except (OSError, ValueError, struct.error):
        raise InvalidArgument("loras", f"{file.name} is no safetensors file") from None


def _steps(file: Path) -> int | None:
    text = _metadata(file).get("ss_steps", "")
    return int(text) if text.isdecimal() else None
