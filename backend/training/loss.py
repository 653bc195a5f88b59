"""What a prediction is worth: the loss per picture, and how timesteps weigh in it.

SNR at a timestep is a/(1-a) with a the cumulative alpha. Min-SNR: Hang et al. 2023. Debiased estimation: Yu et al.
2023.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from backend.training.training_arguments import TrainingArguments


@dataclass(frozen=True, slots=True)
class LossRules:
    """The loss arguments of sd-scripts that this module honours."""

    kind: str = "l2"
    huber_schedule: str = "snr"
    huber_c: float = 0.1
    huber_scale: float = 1.0
    min_snr_gamma: float | None = None
    debiased: bool = False
    scale_v_like_noise: bool = False
    v_like: float | None = None

    @property
    def is_huber(self) -> bool:
        """Whether the loss has a width, from which on it is linear."""
        return self.kind in ("huber", "smooth_l1")


def loss_rules(args: TrainingArguments) -> LossRules:
    """The loss rules of a run."""
    return LossRules(
        args.loss_type,
        args.huber_schedule,
        args.huber_c,
        args.huber_scale,
        args.min_snr_gamma,
        args.debiased_estimation_loss,
        args.scale_v_pred_loss_like_noise_pred,
        args.v_pred_like_loss,
    )


def loss_per_picture(
    prediction: Tensor,
    target: Tensor,
    alphas: Tensor,
    timesteps: Tensor,
    rules: LossRules,
    *,
    predicts_v: bool,
    masks: Tensor | None = None,
) -> Tensor:
    """The loss (batch,) of predictions and targets (batch, channels, height, width), weighted by timestep.

    With masks (batch, 1, height, width) each place counts as much as its mask says.
    """
    difference = prediction.float() - target.float()
    c = _huber_c(alphas, timesteps, rules) if rules.is_huber else None
    weights = _weights(alphas, timesteps, rules, predicts_v=predicts_v)
    return picture_loss(difference, rules, c, masks) * weights


def picture_loss(difference: Tensor, rules: LossRules, c: Tensor | None, masks: Tensor | None) -> Tensor:
    """The loss (batch,) of differences and masks as above; a Huber loss is quadratic up to its width `c` (batch,)."""
    if rules.kind == "l2":
        loss = difference.square()
    elif rules.kind == "l1":
        loss = difference.abs()
    else:
        assert c is not None
        c = c.view(-1, 1, 1, 1)
        # 2·(sqrt(d²+c²) - c), without the cancellation for small d.
        squares = difference.square()
        loss = 2 * squares / ((squares + c.square()).sqrt() + c)
        loss = loss * c if rules.kind == "huber" else loss
    if masks is not None:
        loss = loss * masks
    return loss.mean(dim=(1, 2, 3))


def _huber_c(alphas: Tensor, timesteps: Tensor, rules: LossRules) -> Tensor:
    """The width (batch,) of the quadratic part of the pseudo-Huber loss, which may fall with the noise."""
    if rules.huber_schedule == "constant":
        c = torch.full_like(alphas[timesteps], rules.huber_c)
    elif rules.huber_schedule == "exponential":
        c = torch.exp(math.log(rules.huber_c) / len(alphas) * timesteps.to(alphas.dtype))
    else:
        chosen = alphas[timesteps]
        sigma = ((1 - chosen) / chosen.clamp(min=1e-8)).sqrt()
        c = (1 - rules.huber_c) / (1 + sigma).square() + rules.huber_c
    return c * rules.huber_scale


def _weights(alphas: Tensor, timesteps: Tensor, rules: LossRules, *, predicts_v: bool) -> Tensor:
    chosen = alphas[timesteps]
    snr = chosen / (1 - chosen)
    safe = snr.clamp(min=1e-8)
    weights = torch.ones_like(snr)
    if rules.min_snr_gamma:
        weights = snr.clamp(max=rules.min_snr_gamma) / (snr + 1 if predicts_v else safe)
    if rules.scale_v_like_noise:
        weights = weights * snr / (snr + 1)
    if rules.v_like:
        weights = weights * (1 + rules.v_like * (snr + 1) / safe)
    if rules.debiased:
        bounded = safe.clamp(max=1000)
        weights = weights * (1 / (bounded + 1) if predicts_v else bounded.rsqrt())
    return weights
