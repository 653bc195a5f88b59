"""What may be drawn with, and what was drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ModelView:
    """A base model of the data folder. `pipeline` names a diffusers class, '' for a single file."""

    name: str
    path: str
    pipeline: str
    size: int


@dataclass(frozen=True, slots=True)
class LoraView:
    """A LoRA of the data folder; what its file does not say is empty. `task` made it, where that is known."""

    name: str
    path: str
    size: int
    modified: float
    rank: int | None = None
    base_model: str = ""
    task: str = ""
    epoch: int | None = None
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class ModelList:
    """What a query may name; LoRAs newest first."""

    models: list[ModelView]
    loras: list[LoraView]


@dataclass(frozen=True, slots=True)
class GenerationView:
    """What a query has drawn. `images` are links or base64, `files` paths in the data folder."""

    images: list[str]
    seeds: list[int]
    seconds: float
    parameters: dict[str, Any]
    files: list[str] = field(default_factory=list)
