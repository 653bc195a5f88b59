"""The base model of a run: loaded from its folder, frozen, on the device, and called as one module."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from backend.training.model_folder import ModelFacts, read_json
from backend.training.text import encode_tokens


@dataclass(slots=True)
class BaseModel:
    """The parts of a Stable Diffusion 1.x model; `scheduler_config` as its folder has it."""

    tokenizer: Any
    text_encoder: nn.Module
    unet: nn.Module
    vae: nn.Module
    scheduler_config: dict[str, Any]

    @property
    def text_positions(self) -> int:
        """How many tokens the text encoder takes at once."""
        config: Any = self.text_encoder.config
        return int(config.max_position_embeddings)


def load(facts: ModelFacts, *, vae: Path | None, dtype: torch.dtype) -> BaseModel:
    """The frozen parts on the CPU; the VAE may come from a folder of its own."""
    folder = facts.folder
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "variant": facts.variant}
    model = BaseModel(
        CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=dtype, **options),
        UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype, **options),
        AutoencoderKL.from_pretrained(
            vae or folder / "vae",
            torch_dtype=torch.float32,
            **{**options, "variant": None if vae else facts.variant},
        ),
        read_json(folder / "scheduler" / "scheduler_config.json"),
    )
    for part in (model.text_encoder, model.unet, model.vae):
        part.requires_grad_(False)
    model.vae.eval()
    return model


class Denoiser(nn.Module):
    """Text encoder and U-Net as one module, so that several GPUs synchronise them together.

    Takes noisy latents (b, c, h, w), timesteps (b,) and either token ids (b, chunks, length) or the text encoder's
    output (b, length, width); gives the prediction (b, c, h, w).
    """

    def __init__(self, unet: nn.Module, text_encoder: nn.Module, clip_skip: int | None) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder
        self._clip_skip = clip_skip

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """Predict noise or velocity."""
        hidden = text if text.is_floating_point() else encode_tokens(self.text_encoder, text, self._clip_skip)
        prediction: Tensor = self.unet(noisy, timesteps, hidden, return_dict=False)[0]
        return prediction
