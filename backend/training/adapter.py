"""How an adapted layer computes: the base layer plus the low-rank path, in as few operations as it takes.

peft's own forward serves many adapters at once, casts to full precision and back under autocast, and drops out what
goes into the down projection. A run has one adapter, leaves precision to autocast, and wants kohya's dropouts, which
act on what comes out of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Dropouts:
    """The chances of dropping single values of the low-rank path, whole ranks of a picture, and whole modules."""

    values: float = 0.0
    ranks: float = 0.0
    modules: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.values or self.ranks or self.modules)


NO_DROPOUTS = Dropouts()


@dataclass(frozen=True, slots=True)
class Adapter:
    """The low-rank path of one module: down, up, and alpha, by whose ratio to the rank it is scaled."""

    down: nn.Linear | nn.Conv2d
    up: nn.Linear | nn.Conv2d
    alpha: float

    @property
    def scale(self) -> float:
        """What the path is multiplied by."""
        return self.alpha / self.down.weight.shape[0]


def adapted(
    base: nn.Module, down: nn.Module, up: nn.Module, scale: float, dropouts: Dropouts
) -> Callable[[Tensor], Tensor]:
    """The forward of a Linear (…, features) or Conv2d (b, c, h, w) with its low-rank path."""
    path = _linear if isinstance(base, nn.Linear) else _convolution

    def forward(x: Tensor) -> Tensor:
        lowered = down(x)
        if dropouts and down.training:
            lowered = dropped(lowered, dropouts)
        return path(base(x), lowered, up, scale)

    return forward


def _linear(out: Tensor, lowered: Tensor, up: nn.Module, scale: float) -> Tensor:
    """`out + scale · up(lowered)` in one matrix product."""
    weight = up.weight
    assert isinstance(weight, Tensor)
    if out.dtype != lowered.dtype:
        return torch.add(out, up(lowered), alpha=scale)
    flat = torch.addmm(out.flatten(0, -2), lowered.flatten(0, -2), weight.t(), alpha=scale)
    return flat.view(out.shape)


def _convolution(out: Tensor, lowered: Tensor, up: nn.Module, scale: float) -> Tensor:
    return torch.add(out, up(lowered), alpha=scale)


def dropped(lowered: Tensor, dropouts: Dropouts) -> Tensor:
    """What comes out of a down projection, with kohya's dropouts."""
    if dropouts.modules and float(torch.rand(())) < dropouts.modules:
        return lowered * 0
    if dropouts.values:
        lowered = functional.dropout(lowered, dropouts.values)
    if dropouts.ranks:
        ranks = 1 if lowered.dim() == 4 else -1
        sizes = [1] * lowered.dim()
        sizes[0], sizes[ranks] = lowered.shape[0], lowered.shape[ranks]
        kept = torch.rand(sizes, device=lowered.device) >= dropouts.ranks
        lowered = lowered * kept / (1 - dropouts.ranks)
    return lowered
