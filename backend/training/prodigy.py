"""Optimizers that find their own step size: Prodigy and D-Adaptation.

Both keep an estimate d of the distance to the solution and take Adam's steps scaled by it; the learning rate is a
factor on top, usually 1. Prodigy: Mishchenko and Defazio 2023; D-Adaptation: Defazio and Mishchenko 2023; both in their
form for Adam. All parameter groups share one estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class _OwnStepSize(Optimizer):
    """The estimate and its parts lie in the first parameter group, so that they are saved with it."""

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any], d0: float) -> None:
        if not d0 > 0:
            raise ValueError(f"d0 is {d0}; it must be above 0")
        super().__init__(params, {**defaults, "d": d0, "d0": d0, "numerator": 0.0, "taken": 0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = closure() if closure is not None else None
        pairs = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        if pairs:
            self._step(pairs)
            self.param_groups[0]["taken"] += 1
        return loss

    def _step(self, pairs: list[tuple[Tensor, dict[str, Any]]]) -> None:
        raise NotImplementedError

    def _rate(self, group: dict[str, Any]) -> float:
        rate: float = group["lr"]
        if group["use_bias_correction"]:
            taken = self.param_groups[0]["taken"] + 1
            beta1, beta2 = group["betas"]
            rate *= math.sqrt(1 - beta2**taken) / (1 - beta1**taken)
        return rate

    def _state(self, parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            for name in ("exp_avg", "exp_avg_sq", "s"):
                state[name] = torch.zeros_like(parameter)
            state["start"] = parameter.detach().clone()
        return state


class Prodigy(_OwnStepSize):
    """Wants a learning rate of 1."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        beta3: float | None = None,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decouple: bool = True,
        use_bias_correction: bool = False,
        safeguard_warmup: bool = False,
        d0: float = 1e-6,
        d_coef: float = 1.0,
        growth_rate: float = math.inf,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "beta3": math.sqrt(betas[1]) if beta3 is None else beta3,
            "eps": eps,
            "weight_decay": weight_decay,
            "decouple": decouple,
            "use_bias_correction": use_bias_correction,
            "safeguard_warmup": safeguard_warmup,
            "d_coef": d_coef,
            "growth_rate": growth_rate,
            "d_max": d0,
        }
        super().__init__(params, defaults, d0)

    def _step(self, pairs: list[tuple[Tensor, dict[str, Any]]]) -> None:
        shared = self.param_groups[0]
        d, d0 = shared["d"], shared["d0"]
        numerator, denominator = shared["numerator"] * shared["beta3"], 0.0
        for parameter, group in pairs:
            rate = self._rate(group)
            products = self._accumulate(parameter, group, d, d0, rate)
            numerator += d / d0 * d * rate * products[0]
            denominator += products[1]
        if denominator == 0:
            return
        estimate = shared["d_coef"] * numerator / denominator
        if d == d0:
            d = max(d, estimate)
        shared["d_max"] = max(shared["d_max"], estimate)
        shared["numerator"] = numerator
        for parameter, group in pairs:
            self._move(parameter, group, shared["d"], self._rate(group))
        shared["d"] = min(shared["d_max"], d * shared["growth_rate"])

    def _accumulate(
        self, parameter: Tensor, group: dict[str, Any], d: float, d0: float, rate: float
    ) -> tuple[float, float]:
        """Update the averages; the product of gradient and way so far, and the size of the weighted gradient sum."""
        assert parameter.grad is not None
        state, gradient, (beta1, beta2) = self._state(parameter), parameter.grad, group["betas"]
        if group["weight_decay"] and not group["decouple"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        product = float((gradient * (state["start"] - parameter)).sum())
        state["exp_avg"].mul_(beta1).add_(gradient, alpha=d * (1 - beta1))
        state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=d * d * (1 - beta2))
        weight = d if group["safeguard_warmup"] else d * rate
        state["s"].mul_(group["beta3"]).add_(gradient, alpha=d / d0 * weight)
        return product, float(state["s"].abs().sum())

    def _move(self, parameter: Tensor, group: dict[str, Any], d: float, rate: float) -> None:
        state = self._state(parameter)
        if group["weight_decay"] and group["decouple"]:
            parameter.mul_(1 - group["weight_decay"] * d * rate)
        parameter.addcdiv_(
            state["exp_avg"], state["exp_avg_sq"].sqrt().add_(d * group["eps"]), value=-d * rate
        )


class DAdaptAdam(_OwnStepSize):
    """Wants a learning rate of 1."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decouple: bool = False,
        use_bias_correction: bool = False,
        d0: float = 1e-6,
        growth_rate: float = math.inf,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decouple": decouple,
            "use_bias_correction": use_bias_correction,
            "growth_rate": growth_rate,
        }
        super().__init__(params, defaults, d0)

    def _step(self, pairs: list[tuple[Tensor, dict[str, Any]]]) -> None:
        shared = self.param_groups[0]
        d, root = shared["d"], math.sqrt(shared["betas"][1])
        product, size = 0.0, 0.0
        for parameter, group in pairs:
            one, two = self._accumulate(parameter, group, d * self._rate(group), root)
            product += one
            size += two
        if size == 0:
            return
        shared["numerator"] = root * shared["numerator"] + (1 - root) * product
        estimate = shared["numerator"] / ((1 - root) * size)
        for parameter, group in pairs:
            self._move(parameter, group, d * self._rate(group))
        shared["d"] = max(d, min(estimate, d * shared["growth_rate"]))

    def _accumulate(
        self, parameter: Tensor, group: dict[str, Any], rate: float, root: float
    ) -> tuple[float, float]:
        assert parameter.grad is not None
        state, gradient, (beta1, beta2) = self._state(parameter), parameter.grad, group["betas"]
        if group["weight_decay"] and not group["decouple"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        denominator = state["exp_avg_sq"].sqrt().add_(group["eps"])
        product = rate * float((gradient * state["s"] / denominator).sum())
        state["exp_avg"].mul_(beta1).add_(gradient, alpha=rate * (1 - beta1))
        state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        state["s"].mul_(root).add_(gradient, alpha=rate * (1 - root))
        return product, float(state["s"].abs().sum())

    def _move(self, parameter: Tensor, group: dict[str, Any], rate: float) -> None:
        state = self._state(parameter)
        if group["weight_decay"] and group["decouple"]:
            parameter.mul_(1 - group["weight_decay"] * rate)
        parameter.addcdiv_(state["exp_avg"], state["exp_avg_sq"].sqrt().add_(group["eps"]), value=-1)
