from __future__ import annotations

import json

import pytest
import torch
from diffusers import DDPMScheduler

from backend.training.noise import (
    NoiseRules,
    add_noise,
    alphas_cumprod,
    sample_noise,
    sample_timesteps,
    velocity,
)
from backend.training.seeds import derive, generator
from tests.unit.training.shipped import MODEL

CONFIG = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
LATENTS = torch.randn((3, 4, 8, 8), generator=torch.Generator().manual_seed(1))


def test_noisy_latents_and_velocity_are_those_of_diffusers() -> None:
    scheduler = DDPMScheduler(**CONFIG)
    alphas = alphas_cumprod({**CONFIG, "skip_prk_steps": True}, zero_terminal_snr=False)
    noise, timesteps = torch.randn_like(LATENTS), torch.tensor([0, 500, 999])
    noisy = add_noise(LATENTS, noise, alphas, timesteps, NoiseRules(), generator(1))
    assert torch.allclose(noisy, scheduler.add_noise(LATENTS, noise, timesteps), atol=1e-6)
    expected = scheduler.get_velocity(LATENTS, noise, timesteps)
    assert torch.allclose(velocity(LATENTS, noise, alphas, timesteps), expected, atol=1e-6)


def test_zero_terminal_snr_comes_from_the_model_or_the_argument() -> None:
    of_model = json.loads((MODEL / "scheduler" / "scheduler_config.json").read_text())
    assert float(alphas_cumprod(of_model, zero_terminal_snr=False)[-1]) == pytest.approx(0, abs=1e-8)
    assert float(alphas_cumprod(CONFIG, zero_terminal_snr=False)[-1]) > 1e-3
    assert float(alphas_cumprod(CONFIG, zero_terminal_snr=True)[-1]) == pytest.approx(0, abs=1e-8)


def test_plain_noise_is_normal_and_comes_from_the_generator() -> None:
    noise = sample_noise(LATENTS.repeat(50, 1, 1, 1), NoiseRules(), generator(1))
    assert float(noise.std()) == pytest.approx(1, abs=0.02)
    assert torch.equal(
        sample_noise(LATENTS, NoiseRules(), generator(2)), sample_noise(LATENTS, NoiseRules(), generator(2))
    )


def test_an_offset_moves_whole_channels() -> None:
    plain = sample_noise(LATENTS, NoiseRules(), generator(1))
    moved = sample_noise(LATENTS, NoiseRules(offset=0.5), generator(1)) - plain
    assert torch.allclose(moved, moved.mean(dim=(2, 3), keepdim=True).expand_as(moved), atol=1e-5)
    assert float(moved.abs().max()) > 0.1
    adaptive = sample_noise(LATENTS, NoiseRules(offset=0.5, adaptive_scale=1.0), generator(1)) - plain
    expected = moved * (0.5 + LATENTS.mean(dim=(2, 3), keepdim=True).abs()) / 0.5
    assert torch.allclose(adaptive, expected, atol=1e-5)


def test_pyramid_noise_has_unit_variance_and_more_low_frequencies() -> None:
    latents = torch.zeros(64, 4, 16, 16)
    plain = sample_noise(latents, NoiseRules(), generator(1))
    pyramid = sample_noise(latents, NoiseRules(multires_iterations=6, multires_discount=0.5), generator(1))
    assert float(pyramid.std()) == pytest.approx(1, abs=1e-3)
    assert float(pyramid.mean(dim=(2, 3)).std()) > 2 * float(plain.mean(dim=(2, 3)).std())


def test_input_perturbation_disturbs_only_the_input() -> None:
    alphas, timesteps = alphas_cumprod(CONFIG, zero_terminal_snr=False), torch.tensor([500, 500, 500])
    noise = torch.zeros_like(LATENTS)
    still = add_noise(LATENTS, noise, alphas, timesteps, NoiseRules(), generator(1))
    stirred = add_noise(LATENTS, noise, alphas, timesteps, NoiseRules(ip_gamma=0.1), generator(1))
    assert 0.05 < float((stirred - still).std()) < 0.15


def test_timesteps_stay_in_their_range() -> None:
    found = sample_timesteps(5000, 1000, NoiseRules(min_timestep=200, max_timestep=210), generator(1))
    assert set(found.tolist()) == set(range(200, 210))
    everywhere = sample_timesteps(20000, 1000, NoiseRules(), generator(1))
    assert (int(everywhere.min()), int(everywhere.max())) == (0, 999)


def test_seeds_are_stable_and_independent() -> None:
    assert derive(1, "noise", 7) == derive(1, "noise", 7)
    assert (
        len({derive(1, "noise", step) for step in range(100)} | {derive(2, "noise", 7), derive(1, "step", 7)})
        == 102
    )
    assert derive(1, "x") < 2**63
