from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from backend.errors import InvalidArgument
from backend.training import optimizers, position, state
from backend.training.position import Position

POSITION = Position(7, 2, 11, 6, "digest", (0.5, 0.25), {"scale": 2.0})


def _optimizer(name: str) -> tuple[nn.Parameter, torch.optim.Optimizer]:
    weight = nn.Parameter(torch.arange(6.0).reshape(2, 3))
    keywords: dict[str, Any] = {"weight_decay": 0.01}
    if name == "AdaFactor":
        keywords |= {"relative_step": False, "scale_parameter": False}
    return weight, optimizers.create(name, keywords, [{"params": [weight], "lr": 0.1}])


def _step(weight: nn.Parameter, optimizer: torch.optim.Optimizer, number: int) -> None:
    weight.grad = torch.sin(weight.detach() * number)
    optimizer.step()


@pytest.mark.parametrize(
    "name", ["AdamW", "Lion", "SGDNesterov", "Prodigy", "DAdaptAdam", "AdaFactor", "AdamWScheduleFree"]
)
def test_an_optimizer_goes_on_from_its_file_as_if_it_had_never_stopped(name: str, tmp_path: Path) -> None:
    # Given one that goes on, and one that is written after three steps
    weight, optimizer = _optimizer(name)
    for number in range(3):
        _step(weight, optimizer, number)
    state.write(tmp_path / "s", POSITION, {"w": weight.detach().clone()}, optimizer)
    # When another takes it up
    other_weight, other = _optimizer(name)
    with torch.no_grad():
        other_weight.copy_(state.read_network(tmp_path / "s")["w"])
    state.restore_optimizer(tmp_path / "s", other)
    # Then both walk the same way
    for number in range(3, 6):
        _step(weight, optimizer, number)
        _step(other_weight, other, number)
    assert torch.equal(weight, other_weight)


def test_the_position_comes_back_as_it_was(tmp_path: Path) -> None:
    weight, optimizer = _optimizer("AdamW")
    state.write(tmp_path / "s", POSITION, {"w": weight.detach()}, optimizer)
    assert position.read(tmp_path / "s") == POSITION
    assert sorted(entry.name for entry in (tmp_path / "s").iterdir()) == [
        "model.safetensors",
        "optimizer.json",
        "optimizer.safetensors",
        "train_state.json",
    ]


def test_another_optimizers_state_is_refused(tmp_path: Path) -> None:
    weight, optimizer = _optimizer("AdamW")
    state.write(tmp_path / "s", POSITION, {"w": weight.detach()}, optimizer)
    two = [
        {"params": [nn.Parameter(torch.zeros(1))], "lr": 0.1},
        {"params": [nn.Parameter(torch.zeros(1))], "lr": 0.1},
    ]
    with pytest.raises(InvalidArgument, match="does not fit this run"):
        state.restore_optimizer(tmp_path / "s", optimizers.create("AdamW", {}, two))


def test_lion_moves_by_the_sign_of_its_momentum() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -1.0]))
    optimizer = optimizers.create("Lion", {"betas": (0.9, 0.99)}, [{"params": [weight], "lr": 0.1}])
    weight.grad = torch.tensor([3.0, -0.001])
    optimizer.step()
    assert torch.allclose(weight.detach(), torch.tensor([0.9, -0.9]))


@pytest.mark.parametrize(("name", "keywords"), [("Lion", {"betas": (2, 2)}), ("AdamW", {"betas": 3})])
def test_what_an_optimizer_refuses_is_said(name: str, keywords: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="refuses them"):
        optimizers.create(name, keywords, [{"params": [nn.Parameter(torch.zeros(1))], "lr": 0.1}])
