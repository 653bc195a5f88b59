"""kohya's LoRA files for FLUX on diffusers' modules, where what the original fuses lies in parts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from backend.inference.lora_deltas import Factors
from backend.training.flux import network
from backend.training.flux.names import file_name

_UP = "lora_up.weight"


def in_parts(modules: Mapping[str, Factors], transformer: nn.Module) -> dict[str, Factors]:
    """The factors by diffusers' names, those of a fused module dealt out to its parts; other names are left alone.

    Only of a plain LoRA can rows be told apart; of another kind a fused module keeps its name too.
    """
    found = dict(modules)
    for module in network.targets(transformer):
        factors = found.get(file_name(module))
        if factors is None or not (len(module.paths) == 1 or _UP in factors.parts):
            continue
        del found[file_name(module)]
        if len(module.paths) == 1:
            found[f"transformer.{module.paths[0]}"] = factors
            continue
        rows = [linear.out_features for linear in network.linears(transformer, module)]
        up = factors.parts[_UP]
        pieces = torch.split(up, rows) if sum(rows) == up.shape[0] else [up] * len(rows)
        for path, piece in zip(module.paths, pieces, strict=True):
            found[f"transformer.{path}"] = Factors({**factors.parts, _UP: piece})
    return found
