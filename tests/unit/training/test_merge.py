from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from backend.errors import InvalidArgument
from backend.training.merge import merge
from backend.training.model import BaseModel
from backend.training.network import LoraNetwork, NetworkShape
from backend.training.single_file import Family
from tests.support.models import small_text_encoders, small_unet, small_vae


def base(family: Family) -> BaseModel:
    return BaseModel((), small_text_encoders(family), small_unet(family), small_vae(), {})


def predicted(unet: nn.Module) -> torch.Tensor:
    added: dict[str, Any] = {"text_embeds": torch.ones(1, 64), "time_ids": torch.ones(1, 6)}
    with torch.no_grad():
        out: torch.Tensor = unet.eval()(
            torch.ones(1, 4, 8, 8), 5, torch.ones(1, 3, 96), added_cond_kwargs=added
        ).sample
    return out


def test_a_merged_lora_computes_what_its_adapters_do() -> None:
    # Given a LoRA of SDXL with convolutions, in the names of its files
    adapted = base("sdxl")
    network = LoraNetwork(
        adapted.unet, adapted.text_encoders, NetworkShape(4, 2.0, conv_dim=2, conv_alpha=1.0)
    )
    halves = [network.unet_parameters(), *(network.text_parameters(index) for index in range(2))]
    for weight in [weight for down, up in halves for weight in (*down, *up)]:
        nn.init.normal_(weight, std=0.05)
    file = network.state_dict(torch.float32)
    # When it is merged into a fresh model, half of it twice
    merged = base("sdxl")
    plain = predicted(merged.unet)
    merge(file, merged, 0.5)
    merge(file, merged, 0.5)
    # Then that predicts what the adapted one does
    assert torch.allclose(predicted(merged.unet), predicted(adapted.unet), atol=1e-4)
    assert not torch.allclose(predicted(merged.unet), plain, atol=1e-2)


def test_a_lora_of_another_model_is_refused() -> None:
    foreign = base("sd1")
    file = LoraNetwork(foreign.unet, foreign.text_encoders, NetworkShape(4, 2.0)).state_dict(torch.float32)
    with pytest.raises(InvalidArgument, match="is no LoRA module of this model"):
        merge(file, base("sdxl"), 1.0)
