"""Sample pictures while training: the prompts of the file, drawn with the LoRA as it is now."""

from __future__ import annotations

import io
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from backend.errors import InvalidInput
from backend.training import prompts
from backend.training.files import write_file
from backend.training.progress import Reporter
from backend.training.prompts import SamplePrompt
from backend.training.seeds import derive

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.Image import Image


class Artist(Protocol):
    """Draws with the models of a run as they are, each family in its own way."""

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The models that have to be on the device."""

    @property
    def side(self) -> int:
        """The side in pixels of a picture whose prompt says nothing about it."""

    @property
    def side_step(self) -> int:
        """What sides are rounded down to a multiple of."""

    def draw(self, prompt: SamplePrompt, width: int, height: int, seed: int) -> Image:
        """The picture of a prompt."""


class Sampler:
    """Draws the prompts of `file`, which is read again each time, so that it can be edited while the run goes."""

    def __init__(
        self,
        file: Path,
        first: tuple[SamplePrompt, ...],
        folder: Path,
        name: str,
        artist: Artist,
        *,
        seed: int,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[Any]],
        reporter: Reporter,
    ) -> None:
        self._file, self._prompts, self._folder, self._name, self._artist = file, first, folder, name, artist
        self._seed, self._device, self._autocast, self._reporter = seed, device, autocast, reporter

    def draw(self, *, step: int, epoch: int, by_epoch: bool) -> list[Path]:
        """Draw every prompt; the files."""
        self._read_again()
        if not self._prompts:
            return []
        self._reporter.phase("sampling")
        parts = self._artist.parts
        before = [(part, part.training, next(part.parameters()).device) for part in parts]
        for part in parts:
            part.eval().to(self._device)
        try:
            with torch.no_grad(), self._autocast():
                return [
                    self._draw_one(index, prompt, step, epoch, by_epoch)
                    for index, prompt in enumerate(self._prompts)
                ]
        finally:
            for part, was_training, device in before:
                part.train(was_training).to(device)

    def _read_again(self) -> None:
        try:
            self._prompts = prompts.read(self._file)
        except InvalidInput as error:
            self._reporter.log(f"the prompts are left as they were: {error}")

    def _draw_one(self, index: int, prompt: SamplePrompt, step: int, epoch: int, by_epoch: bool) -> Path:
        seed = prompt.seed if prompt.seed is not None else derive(self._seed, "sample", index) % 2**32
        image = self._artist.draw(prompt, self._side(prompt.width), self._side(prompt.height), seed)
        counter = f"e{epoch:06d}" if by_epoch else f"{step:06d}"
        drawn = f"_{prompt.seed}" if prompt.seed is not None else ""
        stamp = time.strftime("%Y%m%d%H%M%S")
        path = self._folder / f"{self._name}_{counter}_{index:02d}_{stamp}{drawn}.png"
        write_file(path, (_png(image),))
        self._reporter.file("sample", path, step=step, epoch=epoch, label=prompt.prompt)
        self._reporter.log(f"sample {path}")
        return path

    def _side(self, asked: int | None) -> int:
        step = self._artist.side_step
        return max(step, (asked or self._artist.side) // step * step)


def _png(image: Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
