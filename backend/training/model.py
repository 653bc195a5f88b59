"""The base model of a run: loaded, frozen, and called as one module."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from backend.training import checkpoint
from backend.training.model_folder import ModelFacts, read_json
from backend.training.text import Learning, Text, TextEncoders, Tokens


@dataclass(slots=True)
class BaseModel:
    """The parts of a model; of SDXL and FLUX there are two tokenizers and text encoders.

    `unet` is what denoises: FLUX's is a transformer. Only the first `learning_encoders` text encoders can be trained.
    """

    tokenizers: tuple[Any, ...]
    text_encoders: tuple[nn.Module, ...]
    unet: nn.Module
    vae: nn.Module
    scheduler_config: dict[str, Any]
    learning_encoders: int = 2

    @property
    def trainable_encoders(self) -> tuple[nn.Module, ...]:
        """The text encoders that can be trained."""
        return self.text_encoders[: self.learning_encoders]

    @property
    def text_positions(self) -> int:
        """How many tokens every text encoder takes at once."""
        configs: list[Any] = [encoder.config for encoder in self.text_encoders]
        return min(int(config.max_position_embeddings) for config in configs)


def load(facts: ModelFacts, *, vae: Path | None, dtype: torch.dtype) -> BaseModel:
    """The frozen parts on the CPU; the VAE may come from a folder or a file of its own, and has full precision."""
    model = _from_folder(facts, vae, dtype) if facts.layout is None else _from_file(facts, vae, dtype)
    for part in (*model.text_encoders, model.unet, model.vae):
        part.requires_grad_(False)
    model.vae.eval()
    return model


def _from_file(facts: ModelFacts, vae: Path | None, dtype: torch.dtype) -> BaseModel:
    assert facts.layout is not None
    parts = checkpoint.load(facts.path, facts.layout, dtype, with_vae=vae is None)
    return BaseModel(
        parts.tokenizers,
        parts.text_encoders,
        parts.unet,
        parts.vae if parts.vae is not None else _vae_of(vae, facts),
        facts.layout.scheduler,
    )


def _from_folder(facts: ModelFacts, vae: Path | None, dtype: torch.dtype) -> BaseModel:
    folder = facts.path
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "variant": facts.variant}
    tokenizers = [CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)]
    encoders = [CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=dtype, **options)]
    if facts.family == "sdxl":
        tokenizers.append(CLIPTokenizer.from_pretrained(folder / "tokenizer_2", local_files_only=True))
        second = CLIPTextModelWithProjection.from_pretrained(
            folder / "text_encoder_2", dtype=dtype, **options
        )
        encoders.append(second)
    return BaseModel(
        tuple(tokenizers),
        tuple(encoders),
        UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype, **options),
        _vae_of(vae, facts)
        if vae
        else AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32, **options),
        read_json(folder / "scheduler" / "scheduler_config.json"),
    )


def _vae_of(path: Path | None, facts: ModelFacts) -> nn.Module:
    """The VAE of `--vae`."""
    assert path is not None
    if path.is_file():
        return checkpoint.load_vae(path, facts.stable_family)
    vae: nn.Module = AutoencoderKL.from_pretrained(
        path, torch_dtype=torch.float32, local_files_only=True, use_safetensors=True
    )
    return vae


class Denoiser(nn.Module):
    """Text encoders and U-Net as one module, so that several GPUs synchronise them together.

    Takes noisy latents (b, c, h, w), timesteps (b,), tokens (or text, where there are no encoders in it) and, for SDXL,
    sizes (b, 6):
    height and width of the picture, top and left of the cut, height and width trained at. Gives the prediction
    (b, c, h, w).
    """

    def __init__(self, unet: nn.Module, text: TextEncoders | None) -> None:
        super().__init__()
        self.unet = unet
        self.text = text

    def forward(
        self, noisy: Tensor, timesteps: Tensor, text: Tokens | Text | Learning, sizes: Tensor
    ) -> Tensor:
        """Predict noise or velocity."""
        encoded = text
        if isinstance(text, Tokens):
            assert self.text is not None
            encoded = self.text(text)
        assert isinstance(encoded, Text)
        added = None
        if encoded.pooled is not None:
            added = {"text_embeds": encoded.pooled, "time_ids": sizes.to(encoded.pooled.dtype)}
        prediction: Tensor = self.unet(
            noisy, timesteps, encoded.states, added_cond_kwargs=added, return_dict=False
        )[0]
        return prediction
