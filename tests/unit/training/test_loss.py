from __future__ import annotations

import pytest
import torch
from diffusers.training_utils import compute_snr
from torch import Tensor
from torch.nn import functional

from backend.training.loss import LossRules, loss_per_picture
from backend.training.noise import alphas_cumprod

ALPHAS = alphas_cumprod(
    {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}, zero_terminal_snr=False
)
TIMESTEPS = torch.tensor([10, 400, 990])
_CHANCE = torch.Generator().manual_seed(3)
PREDICTION, TARGET = torch.randn((2, 3, 4, 8, 8), generator=_CHANCE)


def loss(
    rules: LossRules, *, predicts_v: bool = False, alphas: Tensor = ALPHAS, timesteps: Tensor = TIMESTEPS
) -> Tensor:
    return loss_per_picture(PREDICTION, TARGET, alphas, timesteps, rules, predicts_v=predicts_v)


def mean_of(elementwise: Tensor) -> Tensor:
    return elementwise.mean(dim=(1, 2, 3))


def test_plain_losses() -> None:
    assert torch.allclose(
        loss(LossRules()), mean_of(functional.mse_loss(PREDICTION, TARGET, reduction="none"))
    )
    assert torch.allclose(loss(LossRules("l1")), mean_of((PREDICTION - TARGET).abs()))


@pytest.mark.parametrize("predicts_v", [False, True])
def test_min_snr_weighs_by_the_snr_of_diffusers(predicts_v: bool) -> None:
    class Scheduler:
        alphas_cumprod = ALPHAS

    snr = compute_snr(Scheduler(), TIMESTEPS)
    weights = snr.clamp(max=5) / (snr + 1 if predicts_v else snr)
    assert torch.allclose(
        loss(LossRules(min_snr_gamma=5), predicts_v=predicts_v), loss(LossRules()) * weights, rtol=1e-4
    )


def test_min_snr_leaves_noisy_steps_alone_and_tames_clean_ones() -> None:
    ratio = loss(LossRules(min_snr_gamma=5)) / loss(LossRules())
    assert float(ratio[0]) < 0.05
    assert float(ratio[2]) == pytest.approx(1)


def test_every_weight_is_finite_at_zero_terminal_snr() -> None:
    alphas = ALPHAS.clone()
    alphas[-1] = 0
    last = torch.tensor([999, 999, 999])
    for rules in (
        LossRules(min_snr_gamma=5),
        LossRules(debiased=True),
        LossRules("huber"),
        LossRules(scale_v_like_noise=True),
    ):
        for predicts_v in (False, True):
            assert loss(rules, predicts_v=predicts_v, alphas=alphas, timesteps=last).isfinite().all()


def test_the_weights_of_velocity_and_debiasing() -> None:
    snr = ALPHAS[TIMESTEPS] / (1 - ALPHAS[TIMESTEPS])
    plain = loss(LossRules())
    assert torch.allclose(loss(LossRules(scale_v_like_noise=True), predicts_v=True), plain * snr / (snr + 1))
    assert torch.allclose(loss(LossRules(v_like=0.5)), plain * (1 + 0.5 * (snr + 1) / snr))
    assert torch.allclose(loss(LossRules(debiased=True)), plain / snr.clamp(max=1000).sqrt())
    assert torch.allclose(loss(LossRules(debiased=True), predicts_v=True), plain / (snr.clamp(max=1000) + 1))


@pytest.mark.parametrize("schedule", ["constant", "exponential", "snr"])
def test_huber_is_quadratic_inside_and_linear_outside(schedule: str) -> None:
    rules = LossRules("smooth_l1", schedule, huber_c=0.1)
    near = torch.full((3, 1, 1, 1), 1e-3)
    far = torch.full((3, 1, 1, 1), 1e3)
    zero = torch.zeros(3, 1, 1, 1)
    small = loss_per_picture(near, zero, ALPHAS, TIMESTEPS, rules, predicts_v=False)
    half = loss_per_picture(near / 2, zero, ALPHAS, TIMESTEPS, rules, predicts_v=False)
    assert torch.allclose(small / half, torch.full((3,), 4.0), rtol=1e-2)
    large = loss_per_picture(far, zero, ALPHAS, TIMESTEPS, rules, predicts_v=False)
    assert torch.allclose(large, torch.full((3,), 2e3), rtol=1e-2)


def test_the_huber_width_falls_with_the_noise() -> None:
    far = torch.full((3, 1, 1, 1), 1e3)
    for schedule in ("exponential", "snr"):
        rules = LossRules("huber", schedule, huber_c=0.1)
        widths = (
            loss_per_picture(far, torch.zeros(3, 1, 1, 1), ALPHAS, TIMESTEPS, rules, predicts_v=False) / 2e3
        )
        assert float(widths[0]) > float(widths[1]) > float(widths[2]) >= 0.099
