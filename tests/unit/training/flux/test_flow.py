from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from backend.training.flux.flow import Flow, FlowRules, flux_mu, loss_weights, sample_sigmas
from backend.training.loss import LossRules
from backend.training.noise import NoiseRules
from backend.training.objective import Shown
from backend.training.text import Text

RULES = FlowRules("sigmoid", 1.0, 3.0, "none", 0.0, 1.0, 1.29, "raw")
MANY = 40_000


def sigmas(rules: FlowRules, tokens: int = 1024) -> Tensor:
    return sample_sigmas(MANY, tokens, rules, torch.Generator().manual_seed(1))


def test_levels_are_those_of_the_formulas() -> None:
    # The logit of a sigmoid of a normal is normal; a shift a adds log(a), and FLUX's shift is exp(mu).
    for rules, mean, spread in (
        (RULES, 0.0, 1.0),
        (replace(RULES, sigmoid_scale=2.0), 0.0, 2.0),
        (replace(RULES, sampling="shift"), math.log(3), 1.0),
        (replace(RULES, sampling="flux_shift"), 0.5 + 0.65 * (1024 - 256) / 3840, 1.0),
    ):
        logits = torch.logit(sigmas(rules).double())
        assert float(logits.mean()) == pytest.approx(mean, abs=0.03)
        assert float(logits.std()) == pytest.approx(spread, abs=0.03)
    assert (flux_mu(256), flux_mu(4096)) == (0.5, pytest.approx(1.15))
    flat = sigmas(replace(RULES, sampling="uniform"))
    assert float(flat.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(flat.std()) == pytest.approx(math.sqrt(1 / 12), abs=0.01)


def test_sigma_takes_its_levels_from_the_shifted_schedule_of_a_thousand() -> None:
    rules = replace(RULES, sampling="sigma")
    places = torch.arange(1, 1001) / 1000
    schedule = 3 * places / (1 + 2 * places)
    found = sigmas(rules)
    assert float((found[:, None] - schedule).abs().amin(dim=1).max()) < 1e-6
    # Uniform in the schedule: half of them are over the level at its middle.
    assert float((found > schedule[499]).float().mean()) == pytest.approx(0.5, abs=0.01)
    centred = sigmas(replace(rules, scheme="logit_normal", logit_mean=1.0, logit_std=0.1, shift=1.0))
    assert float(centred.median()) == pytest.approx(1 - 1 / (1 + math.exp(-1)), abs=0.01)
    # Mode sampling with scale 0 is 1-u, uniform again (SD3, eq. 20).
    assert float(sigmas(replace(rules, scheme="mode", mode_scale=0.0, shift=1.0)).mean()) == pytest.approx(
        0.5, abs=0.01
    )


class Knows(nn.Module):
    """A model that says the way from latents to noise."""

    def __init__(self, way: Tensor, scale: Tensor | None = None) -> None:
        super().__init__()
        self.way, self.met, self.scale = way, Tensor(), scale

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Text, sizes: Tensor) -> Tensor:
        self.met = noisy
        return self.way


def test_the_loss_is_the_distance_to_noise_minus_latents_at_every_prediction_type() -> None:
    chance = torch.Generator().manual_seed(2)
    latents, noise = (torch.randn(2, 16, 4, 4, generator=chance) for _ in range(2))
    shown = Shown(latents, Text(torch.zeros(2, 1, 1)), torch.zeros(2, 6), None)
    at, levels = torch.tensor([250.0, 800.0]), torch.tensor([0.25, 0.8]).view(-1, 1, 1, 1)
    noisy = (1 - levels) * latents + levels * noise
    way = noise - latents
    answers = {"raw": way, "additive": way - noisy, "sigma_scaled": (noisy - way) / levels}
    for kind, answer in answers.items():
        flow = Flow(replace(RULES, prediction=kind), NoiseRules(), LossRules())
        model = Knows(answer)
        assert float(flow.losses(model, shown, noise, at, chance).max()) < 1e-10, kind
        torch.testing.assert_close(model.met, noisy)
        off = flow.losses(Knows(answer + 1), shown, noise, at, chance)
        scale = levels.flatten().square() if kind == "sigma_scaled" else torch.ones(2)
        torch.testing.assert_close(off, scale)
    # A mask that lets half of the picture count halves the loss.
    masks = torch.zeros(2, 1, 4, 4)
    masks[..., :2] = 1
    masked = Flow(RULES, NoiseRules(), LossRules()).losses(
        Knows(way + 1), replace(shown, masks=masks), noise, at, chance
    )
    torch.testing.assert_close(masked, torch.full((2,), 0.5))


def test_weights_are_sd3_s_and_only_the_sigma_scaled_prediction_has_them() -> None:
    levels = torch.tensor([0.25, 0.5])
    scaled = replace(RULES, prediction="sigma_scaled")
    assert loss_weights(levels, replace(scaled, scheme="sigma_sqrt")).tolist() == [16, 4]
    cosmap = loss_weights(levels, replace(scaled, scheme="cosmap"))
    torch.testing.assert_close(cosmap, torch.tensor([2 / (math.pi * 0.625), 4 / math.pi]))
    assert loss_weights(levels, replace(RULES, scheme="cosmap")).tolist() == [1, 1]
