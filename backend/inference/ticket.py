"""One query on its way through the engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from torch import Tensor

from backend.errors import LorapoolError
from backend.inference.catalog import LoraEntry, ModelEntry
from backend.inference.request import GenerationRequest


class DrawingFailed(LorapoolError):
    """Drawing ended in a way that another attempt may not."""


@dataclass(frozen=True, slots=True)
class ChosenLora:
    """A LoRA of the data folder, the name it was asked by, how strongly, and where the query named it."""

    entry: LoraEntry
    asked: str
    weight: float
    field: str


@dataclass(eq=False)
class Ticket:
    """One query on its way. `changed` is notified on every step; read the rest with it held. `ended` is set at the end.

    `preview` is (step, pixels (1, height, width, 3)); `error` or `drawn` is set at the end.
    """

    request: GenerationRequest
    entry: ModelEntry
    loras: tuple[ChosenLora, ...]
    seeds: tuple[int, ...]
    kind: Hashable
    since: float = field(default_factory=time.monotonic)
    changed: threading.Condition = field(default_factory=threading.Condition)
    ended: threading.Event = field(default_factory=threading.Event)
    phase: str = "waiting for the device"
    step: int = 0
    steps: int = 0
    preview: tuple[int, Tensor] | None = None
    cancelled: bool = False
    error: LorapoolError | None = None
    drawn: list[Image.Image] | Tensor | None = None
    scheduler: str = ""

    @property
    def over(self) -> bool:
        return self.error is not None or self.drawn is not None

    def set(self, **values: Any) -> None:
        """Change it and tell whoever waits."""
        with self.changed:
            for name, value in values.items():
                setattr(self, name, value)
            self.changed.notify_all()
        if self.over:
            self.ended.set()
