"""What FLUX learns: latents x and noise e on a straight line, noisy = (1-s)·x + s·e, and its direction e - x.

Rectified flow, Liu et al. 2022; the samplings of s and the weights of the loss are those of Esser et al. 2024
(Stable Diffusion 3) and of sd-scripts. Timesteps are 1000·s, floats from 0 to 1000.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from backend.training.loss import LossRules, loss_rules, picture_loss
from backend.training.noise import NoiseRules, perturbed
from backend.training.objective import Shown
from backend.training.training_arguments import TrainingArguments

_LENGTH = 1000
_SHIFTS = ((256, 0.5), (4096, 1.15))
"""Two numbers of packed latents and FLUX's shift there (mu); between and beyond it is linear."""


@dataclass(frozen=True, slots=True)
class FlowRules:
    """The arguments of sd-scripts' FLUX trainer about noise levels and predictions."""

    sampling: str
    sigmoid_scale: float
    shift: float
    scheme: str
    logit_mean: float
    logit_std: float
    mode_scale: float
    prediction: str


def flow_rules(args: TrainingArguments) -> FlowRules:
    """The flow rules of a run."""
    return FlowRules(
        args.timestep_sampling,
        args.sigmoid_scale,
        args.discrete_flow_shift,
        args.weighting_scheme,
        args.logit_mean,
        args.logit_std,
        args.mode_scale,
        args.model_prediction_type,
    )


def flow(args: TrainingArguments) -> Flow:
    """The objective of a run."""
    noise = NoiseRules(
        ip_gamma=args.ip_noise_gamma, ip_gamma_random_strength=args.ip_noise_gamma_random_strength
    )
    return Flow(flow_rules(args), noise, loss_rules(args))


@dataclass(frozen=True, slots=True)
class Flow:
    """The objective of rectified flow, as `objective.Objective` wants it."""

    rules: FlowRules
    noise: NoiseRules
    loss: LossRules

    def draw(self, latents: Tensor, chance: torch.Generator) -> Tensor:
        """Timesteps (b,) for latents (b, c, h, w)."""
        height, width = latents.shape[-2:]
        tokens = (height // 2) * (width // 2)
        return _LENGTH * sample_sigmas(len(latents), tokens, self.rules, chance).to(latents.device)

    def at(self, fraction: float, latents: Tensor) -> Tensor:
        """The timesteps (b,) at a fraction of all noise."""
        return torch.full((len(latents),), _LENGTH * fraction, device=latents.device)

    def losses(
        self, model: nn.Module, shown: Shown, noise: Tensor, timesteps: Tensor, chance: torch.Generator
    ) -> Tensor:
        """The loss (b,) of pictures with noise (b, c, h, w) at timesteps (b,)."""
        sigmas = (timesteps / _LENGTH).view(-1, 1, 1, 1)
        mixed = perturbed(noise, self.noise, chance)
        noisy = (1 - sigmas) * shown.latents + sigmas * mixed
        said = model(noisy, timesteps, shown.text, shown.sizes).float()
        losses = picture_loss(
            read_prediction(said, noisy, sigmas, self.rules.prediction) - (noise - shown.latents),
            self.loss,
            self._huber_c(timesteps) if self.loss.is_huber else None,
            shown.masks,
        )
        return losses * loss_weights(sigmas.flatten(), self.rules)

    def _huber_c(self, timesteps: Tensor) -> Tensor:
        c, scale = self.loss.huber_c, self.loss.huber_scale
        if self.loss.huber_schedule == "exponential":
            return torch.exp(math.log(c) / _LENGTH * timesteps) * scale
        return torch.full_like(timesteps, c * scale)


def sample_sigmas(count: int, tokens: int, rules: FlowRules, chance: torch.Generator) -> Tensor:
    """Noise levels (count,) from 0 to 1 for pictures of so many packed latents."""
    if rules.sampling == "uniform":
        return torch.rand(count, generator=chance)
    if rules.sampling == "sigma":
        return _from_schedule(_density(count, rules, chance), rules.shift)
    sigmas = torch.sigmoid(rules.sigmoid_scale * torch.randn(count, generator=chance))
    if rules.sampling == "shift":
        return shifted(sigmas, rules.shift)
    if rules.sampling == "flux_shift":
        return shifted(sigmas, math.exp(flux_mu(tokens)))
    return sigmas


def shifted(sigmas: Tensor, shift: float) -> Tensor:
    """Noise levels moved towards more noise by a shift above 1: a·s / (1 + (a-1)·s)."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def flux_mu(tokens: int) -> float:
    """The logarithm of FLUX's shift for pictures of so many packed latents."""
    (few, low), (many, high) = _SHIFTS
    return low + (high - low) * (tokens - few) / (many - few)


def _density(count: int, rules: FlowRules, chance: torch.Generator) -> Tensor:
    """Places (count,) in the schedule from its noisy end, 0 to 1, more of them where the scheme says."""
    if rules.scheme == "logit_normal":
        return torch.sigmoid(rules.logit_mean + rules.logit_std * torch.randn(count, generator=chance))
    u = torch.rand(count, generator=chance)
    if rules.scheme == "mode":
        return 1 - u - rules.mode_scale * (torch.cos(math.pi * u / 2).square() - 1 + u)
    return u


def _from_schedule(places: Tensor, shift: float) -> Tensor:
    """The levels at places in the shifted schedule of a thousand, which begins with all noise."""
    index = (places * _LENGTH).long().clamp(0, _LENGTH - 1)
    return shifted(1 - index / _LENGTH, shift)


def read_prediction(said: Tensor, noisy: Tensor, sigmas: Tensor, kind: str) -> Tensor:
    """What the model's answer means: itself (raw), or added to what it was given, whole or by noise level."""
    if kind == "raw":
        return said
    return noisy + said if kind == "additive" else noisy - sigmas * said


def loss_weights(sigmas: Tensor, rules: FlowRules) -> Tensor:
    """What pictures at noise levels (b,) weigh in the loss; only the sigma-scaled prediction has weights."""
    if rules.prediction == "sigma_scaled" and rules.scheme == "sigma_sqrt":
        return sigmas**-2
    if rules.prediction == "sigma_scaled" and rules.scheme == "cosmap":
        return 2 / (math.pi * (1 - 2 * sigmas + 2 * sigmas.square()))
    return torch.ones_like(sigmas)
