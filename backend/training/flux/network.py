"""FLUX's LoRA modules: one adapter for what the original fuses, spread over the parts that diffusers has it in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.training.adapter import Adapter, Dropouts, dropped
from backend.training.flux.names import Module, file_name, modules
from backend.training.flux.ranks import Ranks


def adapt(
    transformer: nn.Module, ranks: Ranks, alpha: float, dropouts: Dropouts, dtype: torch.dtype
) -> dict[str, Adapter]:
    """Adapters in every module that has a rank, by their names in a file."""
    adapters: dict[str, Adapter] = {}
    home = nn.ModuleDict()
    for module in targets(transformer):
        rank = ranks.of(module)
        if rank:
            name = file_name(module)
            parts = linears(transformer, module)
            adapters[name] = _adapter(parts, rank, alpha, dropouts, dtype)
            home[name] = nn.ModuleList([adapters[name].down, adapters[name].up])
    # Below the transformer, so that devices, modes and gradients of several GPUs reach them.
    transformer.add_module("lora", home)
    return adapters


def targets(transformer: nn.Module) -> Iterator[Module]:
    """The modules of a transformer."""
    config = transformer.config
    yield from modules(
        int(config.num_layers),  # type: ignore[union-attr, arg-type]
        int(config.num_single_layers),  # type: ignore[union-attr, arg-type]
        guided=bool(config.guidance_embeds),  # type: ignore[union-attr]
    )


def linears(transformer: nn.Module, module: Module) -> list[nn.Linear]:
    """The parts of a module."""
    found = [transformer.get_submodule(path) for path in module.paths]
    return [part for part in found if isinstance(part, nn.Linear)]


def _adapter(
    parts: Sequence[nn.Linear], rank: int, alpha: float, dropouts: Dropouts, dtype: torch.dtype
) -> Adapter:
    device = next(parts[0].parameters()).device
    down = nn.Linear(parts[0].in_features, rank, bias=False, device=device, dtype=dtype)
    up = nn.Linear(rank, sum(part.out_features for part in parts), bias=False, device=device, dtype=dtype)
    nn.init.zeros_(up.weight)
    shared = _Lowered(down, dropouts, len(parts))
    first = 0
    for part in parts:
        rows = slice(first, first + part.out_features)
        part.forward = _with_lora(part.forward, shared, up, rows, alpha / rank)  # type: ignore[method-assign, assignment]
        first = rows.stop
    return Adapter(down, up, alpha)


class _Lowered:
    """What the down projection makes of an input, computed once for all parts that read the same one."""

    def __init__(self, down: nn.Module, dropouts: Dropouts, parts: int) -> None:
        self._down, self._dropouts, self._parts = down, dropouts, parts
        self._known: tuple[Tensor, Tensor] | None = None
        self._left = 0

    def __call__(self, x: Tensor) -> Tensor:
        if self._known is None or self._known[0] is not x:
            lowered: Tensor = self._down(x)
            if self._dropouts and self._down.training:
                lowered = dropped(lowered, self._dropouts)
            self._known, self._left = (x, lowered), self._parts
        result = self._known[1]
        self._left -= 1
        if self._left == 0:
            self._known = None
        return result


def _with_lora(
    base: Callable[[Tensor], Tensor], lowered: _Lowered, up: nn.Linear, rows: slice, scale: float
) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        return torch.add(base(x), functional.linear(lowered(x), up.weight[rows]), alpha=scale)

    return forward
