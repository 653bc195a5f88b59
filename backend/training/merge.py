"""LoRA files merged into the base model before a run starts (`base_weights`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from backend.errors import InvalidArgument
from backend.training.lora_names import adapted_modules
from backend.training.model import BaseModel

_FIELD = "base_weights"


@torch.no_grad()
def merge(tensors: Mapping[str, Tensor], base: BaseModel, multiplier: float) -> None:
    """Add multiplier · alpha / rank · up · down of every module in the file to the weight it adapts.

    Raises:
        InvalidArgument: the file is no LoRA of kohya's kind, or one for another model.
    """
    modules = adapted_modules(base.unet, base.text_encoders)
    names = sorted({key.split(".", 1)[0] for key in tensors})
    for name in names:
        down, up = tensors.get(f"{name}.lora_down.weight"), tensors.get(f"{name}.lora_up.weight")
        parts = modules.get(name)
        if down is None or up is None or parts is None:
            raise InvalidArgument(
                _FIELD, f"{name} of the file is no LoRA module of this model; take the file out"
            )
        alpha = tensors.get(f"{name}.alpha")
        scale = multiplier * (1.0 if alpha is None else float(alpha) / down.shape[0])
        _add(name, parts, up.float().flatten(1) @ down.float().flatten(1) * scale)


def _add(name: str, parts: list[nn.Module], change: Tensor) -> None:
    weights = [cast(Tensor, part.weight) for part in parts]
    rows = [weight.shape[0] for weight in weights]
    if change.numel() != sum(weight.numel() for weight in weights) or change.shape[0] != sum(rows):
        raise InvalidArgument(
            _FIELD, f"{name} of the file has another shape than this model's; take the file out"
        )
    for weight, piece in zip(weights, torch.split(change, rows), strict=True):
        weight += piece.view_as(weight).to(weight.device, weight.dtype)
