"""What is learned: noise is added to latents, the model says which, and the difference is the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from backend.training.loss import LossRules, loss_per_picture
from backend.training.noise import NoiseRules, add_noise, sample_timesteps, velocity
from backend.training.text import Learning, Text, Tokens


@dataclass(slots=True)
class Shown:
    """Pictures as the model meets them: latents (b, c, h, w), their text, sizes (b, 6), masks (b, 1, h, w) if any."""

    latents: Tensor
    text: Tokens | Text | Learning
    sizes: Tensor
    masks: Tensor | None


class Objective(Protocol):
    """How a family of models meets noise: at which timesteps, and what its answer is worth."""

    @property
    def noise(self) -> NoiseRules:
        """The noise that it meets."""

    def draw(self, latents: Tensor, chance: torch.Generator) -> Tensor:
        """Timesteps (b,) to train on for latents (b, c, h, w), on their device."""

    def at(self, fraction: float, latents: Tensor) -> Tensor:
        """The timesteps (b,) at a fraction of all."""

    def losses(
        self, model: nn.Module, shown: Shown, noise: Tensor, timesteps: Tensor, chance: torch.Generator
    ) -> Tensor:
        """The loss (b,) of pictures with noise (b, c, h, w) at timesteps (b,)."""


@dataclass(frozen=True, slots=True)
class Diffusion:
    """The objective of Stable Diffusion and what its models have to say; `alphas` (timesteps,) on the device."""

    alphas: Tensor
    predicts_v: bool
    noise: NoiseRules
    loss: LossRules

    def draw(self, latents: Tensor, chance: torch.Generator) -> Tensor:
        """Timesteps (b,) for latents (b, c, h, w)."""
        return sample_timesteps(len(latents), len(self.alphas), self.noise, chance).to(latents.device)

    def at(self, fraction: float, latents: Tensor) -> Tensor:
        """The timesteps (b,) at a fraction of all."""
        return torch.full((len(latents),), int(fraction * len(self.alphas)), device=latents.device)

    def losses(
        self, model: nn.Module, shown: Shown, noise: Tensor, timesteps: Tensor, chance: torch.Generator
    ) -> Tensor:
        """The loss (b,) of pictures with noise (b, c, h, w) at timesteps (b,)."""
        noisy = add_noise(shown.latents, noise, self.alphas, timesteps, self.noise, chance)
        prediction = model(noisy, timesteps, shown.text, shown.sizes)
        target = velocity(shown.latents, noise, self.alphas, timesteps) if self.predicts_v else noise
        return loss_per_picture(
            prediction,
            target,
            self.alphas,
            timesteps,
            self.loss,
            predicts_v=self.predicts_v,
            masks=shown.masks,
        )
