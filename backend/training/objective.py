"""What is learned: noise is added to latents, the model says which, and the difference is the loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from backend.training.loss import LossRules, loss_per_picture
from backend.training.noise import NoiseRules, add_noise, velocity
from backend.training.text import Text, Tokens


@dataclass(slots=True)
class Diffusion:
    """The forward process and what the model has to say about it; `alphas` (timesteps,) on the device."""

    alphas: Tensor
    predicts_v: bool
    noise: NoiseRules
    loss: LossRules


@dataclass(slots=True)
class Shown:
    """Pictures as the model meets them: latents (b, c, h, w), their text, sizes (b, 6), masks (b, 1, h, w) if any."""

    latents: Tensor
    text: Tokens | Text
    sizes: Tensor
    masks: Tensor | None


def losses(
    model: nn.Module,
    shown: Shown,
    noise: Tensor,
    timesteps: Tensor,
    rules: Diffusion,
    chance: torch.Generator,
) -> Tensor:
    """The loss (b,) of pictures with noise (b, c, h, w) at timesteps (b,)."""
    noisy = add_noise(shown.latents, noise, rules.alphas, timesteps, rules.noise, chance)
    prediction = model(noisy, timesteps, shown.text, shown.sizes)
    target = velocity(shown.latents, noise, rules.alphas, timesteps) if rules.predicts_v else noise
    return loss_per_picture(
        prediction,
        target,
        rules.alphas,
        timesteps,
        rules.loss,
        predicts_v=rules.predicts_v,
        masks=shown.masks,
    )
