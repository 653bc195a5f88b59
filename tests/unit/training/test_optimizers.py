"""Each optimizer of our own walks the way of its authors' reference implementation (figures taken from those)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from backend.errors import InvalidArgument
from backend.training import optimizers
from backend.training.schedule_free import AdamWScheduleFree

_WALKS = [
    (
        "Prodigy",
        {"growth_rate": 1.8, "d0": 1e-3, "weight_decay": 0.01},
        0.42156231861299764,
        [1.1615312, 0.6737769, -0.2355143, 1.1238066, 0.0005767, 0.4538997, 0.9446893, 3.5184200],
    ),
    (
        "Prodigy",
        {
            "d0": 1e-3,
            "use_bias_correction": True,
            "safeguard_warmup": True,
            "decouple": False,
            "weight_decay": 0.1,
        },
        0.001,
        [-0.9880037, -0.5880052, -0.1880082, 0.2119796, 0.5880473, 0.9880106, 0.0119942, 0.0119971],
    ),
    (
        "DAdaptAdam",
        {"d0": 1e-3, "growth_rate": 1.8},
        0.6426841007923201,
        [0.2566369, 0.5398592, 0.6993239, 0.4936359, 0.4367403, 0.3343561, 1.0965142, 1.3370745],
    ),
    (
        "DAdaptAdam",
        {"d0": 1e-3, "growth_rate": 1.8, "decouple": True, "weight_decay": 0.1, "use_bias_correction": True},
        0.3260673514350625,
        [-0.7931996, -0.3985525, -0.0059472, 0.3760952, 0.4727593, 0.8036407, 0.1955392, 0.1992107],
    ),
    (
        "AdamWScheduleFree",
        {"weight_decay": 0.1, "warmup_steps": 4, "r": 0.5},
        None,
        [-0.6383356, -0.2585789, 0.1134752, 0.4451579, 0.4964247, 0.6817077, 0.3196950, 0.3334094],
    ),
]


def _walk(name: str, keywords: dict[str, Any], rate: float) -> tuple[Optimizer, list[nn.Parameter]]:
    """Twelve steps down a bowl, with two groups of parameters."""
    one, two = nn.Parameter(torch.linspace(-1, 1, 6)), nn.Parameter(torch.zeros(2))
    optimizer = optimizers.create(
        name, keywords, [{"params": [one], "lr": rate}, {"params": [two], "lr": rate}]
    )
    for _ in range(12):
        loss = (one - 0.5).square().sum() + (two - torch.tensor([1.0, 2.0])).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return optimizer, [one, two]


@pytest.mark.parametrize(("name", "keywords", "estimate", "end"), _WALKS)
def test_it_walks_as_the_reference(
    name: str, keywords: dict[str, Any], estimate: float | None, end: list[float]
) -> None:
    optimizer, parameters = _walk(name, keywords, 1.0 if estimate else 0.05)
    if estimate is not None:
        assert optimizer.param_groups[0]["d"] == pytest.approx(estimate, rel=1e-4)
    assert torch.cat([p.detach() for p in parameters]).tolist() == pytest.approx(end, abs=2e-4)


def test_the_average_is_put_in_place_and_taken_out_again() -> None:
    optimizer, parameters = _walk("AdamWScheduleFree", {}, 0.05)
    trained = [p.detach().clone() for p in parameters]
    with optimizers.averaged(optimizer):
        averaged = [p.detach().clone() for p in parameters]
    assert isinstance(optimizer, AdamWScheduleFree)
    for before, within, after in zip(trained, averaged, parameters, strict=True):
        assert not torch.allclose(before, within)
        assert torch.allclose(before, after, atol=1e-6)


def test_others_have_nothing_to_average() -> None:
    optimizer, parameters = _walk("AdamW", {}, 0.05)
    before = parameters[0].detach().clone()
    with optimizers.averaged(optimizer):
        assert torch.equal(parameters[0], before)


def test_adafactor_leaves_learning_rates_to_the_arguments() -> None:
    with pytest.raises(InvalidArgument, match="relative_step=False"):
        optimizers.create("AdaFactor", {}, [{"params": [nn.Parameter(torch.zeros(1))], "lr": 0.1}])
