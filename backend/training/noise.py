"""The forward diffusion: noise schedules, the noise itself, timesteps, noisy latents.

Latents are (batch, channels, height, width); timesteps are (batch,) whole numbers. With x the latents, e the noise
and a the cumulative product of alphas at t: noisy = sqrt(a)·x + sqrt(1-a)·e (Ho et al. 2020, eq. 4), and the
velocity is v = sqrt(a)·e - sqrt(1-a)·x (Salimans and Ho 2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor
from torch.nn import functional

from backend.training.training_arguments import TrainingArguments

_SCHEDULE_KEYS = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")


@dataclass(frozen=True, slots=True)
class NoiseRules:
    """The noise arguments of sd-scripts that this module honours."""

    min_timestep: int = 0
    max_timestep: int | None = None
    offset: float | None = None
    offset_random_strength: bool = False
    adaptive_scale: float | None = None
    multires_iterations: int | None = None
    multires_discount: float = 0.3
    ip_gamma: float | None = None
    ip_gamma_random_strength: bool = False


def noise_rules(args: TrainingArguments) -> NoiseRules:
    """The noise rules of a run."""
    return NoiseRules(
        args.min_timestep,
        args.max_timestep,
        args.noise_offset,
        args.noise_offset_random_strength,
        args.adaptive_noise_scale,
        args.multires_noise_iterations,
        args.multires_noise_discount,
        args.ip_noise_gamma,
        args.ip_noise_gamma_random_strength,
    )


def alphas_cumprod(scheduler_config: Mapping[str, Any], *, zero_terminal_snr: bool) -> Tensor:
    """The cumulative alphas (timesteps,) of a model's schedule; with zero terminal SNR the last one is 0."""
    values = {key: scheduler_config[key] for key in _SCHEDULE_KEYS if scheduler_config.get(key) is not None}
    rescaled = zero_terminal_snr or bool(scheduler_config.get("rescale_betas_zero_snr"))
    alphas: Tensor = DDPMScheduler(**values, rescale_betas_zero_snr=rescaled).alphas_cumprod
    return alphas


def sample_timesteps(count: int, length: int, rules: NoiseRules, chance: torch.Generator) -> Tensor:
    """Timesteps (count,), uniform from `min_timestep` up to, not including, `max_timestep`."""
    return torch.randint(rules.min_timestep, rules.max_timestep or length, (count,), generator=chance)


def sample_noise(latents: Tensor, rules: NoiseRules, chance: torch.Generator) -> Tensor:
    """Gaussian noise like `latents`, with the offset or the pyramid that the rules ask for."""
    noise = _normal(latents.shape, latents, chance)
    if rules.multires_iterations:
        noise = _pyramid(noise, rules.multires_iterations, rules.multires_discount, chance)
    if rules.offset:
        strength: Tensor | float = rules.offset
        if rules.offset_random_strength:
            strength *= float(torch.rand((), generator=chance))
        if rules.adaptive_scale:
            mean = latents.mean(dim=(2, 3), keepdim=True).abs()
            strength = (strength + rules.adaptive_scale * mean).clamp(min=0)
        noise = noise + strength * _normal((*latents.shape[:2], 1, 1), latents, chance)
    return noise


def _normal(shape: tuple[int, ...] | torch.Size, like: Tensor, chance: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=chance).to(like.device, like.dtype)


def _pyramid(noise: Tensor, iterations: int, discount: float, chance: torch.Generator) -> Tensor:
    """Coarser and coarser noise added with falling weight, then unit variance again (multi-resolution noise)."""
    height, width = noise.shape[-2:]
    for level in range(iterations):
        shrink = (2.0 + 2.0 * float(torch.rand((), generator=chance))) ** level
        size = (max(1, int(height / shrink)), max(1, int(width / shrink)))
        coarse = _normal((*noise.shape[:2], *size), noise, chance)
        noise = noise + functional.interpolate(coarse, (height, width), mode="bilinear") * discount**level
        if min(size) == 1:
            break
    return noise / noise.std()


def add_noise(
    latents: Tensor,
    noise: Tensor,
    alphas: Tensor,
    timesteps: Tensor,
    rules: NoiseRules,
    chance: torch.Generator,
) -> Tensor:
    """The noisy latents at these timesteps; input perturbation (`ip_noise_gamma`) disturbs them a little more."""
    signal, sigma = _scales(alphas, timesteps)
    return signal * latents + sigma * perturbed(noise, rules, chance)


def perturbed(noise: Tensor, rules: NoiseRules, chance: torch.Generator) -> Tensor:
    """The noise that is added, a little other than the one to predict where `ip_noise_gamma` is given."""
    if not rules.ip_gamma:
        return noise
    gamma = rules.ip_gamma
    if rules.ip_gamma_random_strength:
        gamma *= float(torch.rand((), generator=chance))
    return noise + gamma * _normal(noise.shape, noise, chance)


def velocity(latents: Tensor, noise: Tensor, alphas: Tensor, timesteps: Tensor) -> Tensor:
    """What a v-prediction model has to say."""
    signal, sigma = _scales(alphas, timesteps)
    return signal * noise - sigma * latents


def _scales(alphas: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    chosen = alphas[timesteps].view(-1, 1, 1, 1)
    return chosen.sqrt(), (1 - chosen).sqrt()
