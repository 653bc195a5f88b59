"""FLUX in little memory: the blocks' weights in 8 bits, or kept in main memory, and brought in when they are used.

The weights are frozen, so a layer needs nothing of them but the values, forwards and again backwards. Numbers of 8 bits
(float8 e4m3, as sd-scripts' fp8_base) are made ones of the type that is computed with; nothing is copied back.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.errors import InvalidArgument

_EIGHT_BITS = torch.float8_e4m3fn
_STAYING = 2


def keep(transformer: nn.Module, *, eight_bits: bool, swapped: int) -> None:
    """Change how the Linears of the blocks hold their weights.

    `swapped` blocks are in main memory: half of the number double ones, and two single ones, which are half as large,
    for each of the rest.

    Raises:
        InvalidArgument: the model has too few blocks.
    """
    doubles, singles = _split(transformer, swapped)
    for name, count in (("transformer_blocks", doubles), ("single_transformer_blocks", singles)):
        blocks = transformer.get_submodule(name)
        assert isinstance(blocks, nn.ModuleList)
        for index, block in enumerate(blocks):
            for module in block.modules():
                if isinstance(module, nn.Linear):
                    _hold(module, eight_bits=eight_bits, away=index < count)


def _split(transformer: nn.Module, swapped: int) -> tuple[int, int]:
    config: Any = transformer.config
    doubles = swapped // 2
    singles = 2 * (swapped - doubles)
    most = max(0, int(config.num_layers) - _STAYING), max(0, int(config.num_single_layers) - _STAYING)
    if doubles > most[0] or singles > most[1]:
        raise InvalidArgument(
            "blocks_to_swap",
            f"{swapped} means {doubles} double and {singles} single blocks; of this model {most[0]} and {most[1]} "
            "can be swapped",
        )
    return doubles, singles


def _hold(linear: nn.Linear, *, eight_bits: bool, away: bool) -> None:
    if not (eight_bits or away):
        return
    weight, used_as = linear.weight.data, linear.weight.dtype
    if eight_bits:
        weight = weight.to(_EIGHT_BITS)
    if away:
        # No parameter any more, so that it stays where it is when the model moves.
        del linear.weight
        held = weight.pin_memory() if torch.cuda.is_available() else weight
        linear.register_parameter("weight", None)

        def bring(device: torch.device) -> Tensor:
            return held.to(device, non_blocking=True).to(used_as)
    else:
        linear.weight.data = weight

        def bring(device: torch.device) -> Tensor:
            return linear.weight.to(used_as)

    def forward(x: Tensor) -> Tensor:
        out: Tensor = _Frozen.apply(x.to(used_as), bring)  # type: ignore[no-untyped-call]
        return out if linear.bias is None else out + linear.bias

    linear.forward = forward  # type: ignore[method-assign, assignment]


class _Frozen(torch.autograd.Function):
    """`x · weightᵀ` that keeps no copy of the weight for the way back, but brings it again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bring: Any) -> Tensor:
        ctx.bring = bring
        return functional.linear(x, bring(x.device))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        return grad @ ctx.bring(grad.device).to(grad.dtype), None
