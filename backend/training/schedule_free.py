"""AdamW without a schedule (Defazio et al. 2024, "The Road Less Scheduled", algorithm 1 with Adam's scaling).

Gradients are taken at y, between the fast point z and the average x of all z so far. While training the parameters
hold y; what is saved and drawn from is x.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class AdamWScheduleFree(Optimizer):
    """`r` and `weight_lr_power` weigh later steps and higher rates in the average."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.0025,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
    ) -> None:
        if not 0 < betas[0] < 1:
            raise ValueError(f"the first beta is {betas[0]}; it must be between 0 and 1")
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "warmup_steps": warmup_steps,
            "r": r,
            "weight_lr_power": weight_lr_power,
            "taken": 0,
            "weight_sum": 0.0,
            "highest_lr": 0.0,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def to_average(self) -> None:
        """Put the average x where training has y."""
        self._shift(lambda beta1: 1 - 1 / beta1)

    @torch.no_grad()
    def to_training(self) -> None:
        """Undo `to_average`."""
        self._shift(lambda beta1: 1 - beta1)

    def _shift(self, weight: Callable[[float], float]) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if "z" in self.state[parameter]:
                    parameter.lerp_(self.state[parameter]["z"], weight(group["betas"][0]))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            rate, share = self._advance(group)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group, rate, share)
        return loss

    def _advance(self, group: dict[str, Any]) -> tuple[float, float]:
        """The learning rate of this step, and its share in the average."""
        group["taken"] += 1
        taken = group["taken"]
        rate = group["lr"] * min(1.0, taken / max(1, group["warmup_steps"]))
        group["highest_lr"] = max(rate, group["highest_lr"])
        weight = taken ** group["r"] * group["highest_lr"] ** group["weight_lr_power"]
        group["weight_sum"] += weight
        return rate, weight / group["weight_sum"] if group["weight_sum"] else 0.0

    def _update(self, y: Tensor, gradient: Tensor, group: dict[str, Any], rate: float, share: float) -> None:
        state, (beta1, beta2) = self.state[y], group["betas"]
        if not state:
            state["z"] = y.detach().clone()
            state["exp_avg_sq"] = torch.zeros_like(y)
        square, z = state["exp_avg_sq"], state["z"]
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        corrected = math.sqrt(1 - beta2 ** group["taken"])
        direction = gradient / square.sqrt().div_(corrected).add_(group["eps"])
        direction.add_(y, alpha=group["weight_decay"])
        y.lerp_(z, share)
        y.add_(direction, alpha=rate * (beta1 * (1 - share) - 1))
        z.sub_(direction, alpha=rate)
