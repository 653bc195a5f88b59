"""FLUX's parts, loaded and frozen, and its transformer called like a U-Net: on latents of a picture's shape."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    PreTrainedModel,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from backend.errors import InvalidArgument
from backend.training import clip_vocabulary
from backend.training.flux import names
from backend.training.flux.layout import PREFIX, FluxLayout, Part
from backend.training.flux.text import ClipPooled
from backend.training.model import BaseModel
from backend.training.text import Learning, Text, Tokens


def load(layout: FluxLayout, dtype: torch.dtype) -> BaseModel:
    """The frozen parts on the CPU, of `dtype` but for the autoencoder, which has full precision.

    Raises:
        InvalidArgument: weights are missing in a file.
    """
    clip = _text_encoder(CLIPTextModel, CLIPTextConfig, layout.clip, "clip_l", dtype)
    t5 = _text_encoder(T5EncoderModel, T5Config, layout.t5, "t5xxl", dtype)
    model = BaseModel(
        (
            _clip_tokenizer(layout),
            T5TokenizerFast.from_pretrained(layout.t5_tokenizer, local_files_only=True),
        ),
        (clip, t5),
        _transformer(layout, dtype),
        _vae(layout.vae),
        layout.scheduler,
        learning_encoders=1,
    )
    for part in (*model.text_encoders, model.unet, model.vae):
        part.requires_grad_(False)
    model.vae.eval()
    return model


def _clip_tokenizer(layout: FluxLayout) -> Any:
    if layout.tokenizer is None:
        return clip_vocabulary.tokenizer()
    return CLIPTokenizer.from_pretrained(layout.tokenizer, local_files_only=True)


def _options(part: Part) -> dict[str, Any]:
    return {"local_files_only": True, "use_safetensors": True, "variant": part.variant}


def _text_encoder(
    kind: type[PreTrainedModel], config: type[Any], part: Part, field: str, dtype: torch.dtype
) -> nn.Module:
    if part.config is None:
        folder_model: nn.Module = kind.from_pretrained(part.path, dtype=dtype, **_options(part))
        return folder_model.eval()
    encoder, info = kind.from_pretrained(
        None,
        config=config(**part.config),
        state_dict=load_file(part.path),
        dtype=dtype,
        output_loading_info=True,
    )
    if info["missing_keys"]:
        raise InvalidArgument(field, f"{part.path} lacks the weights {sorted(info['missing_keys'])[0]}")
    assert isinstance(encoder, nn.Module)
    return encoder.eval()


def _vae(part: Part) -> nn.Module:
    vae: nn.Module
    if part.config is None:
        vae = AutoencoderKL.from_pretrained(part.path, torch_dtype=torch.float32, **_options(part))
        return vae
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(part.config), encoding="utf-8")
        vae = AutoencoderKL.from_single_file(
            load_file(part.path), torch_dtype=torch.float32, config=folder, local_files_only=True
        )
    return vae


def _transformer(layout: FluxLayout, dtype: torch.dtype) -> nn.Module:
    part = layout.transformer
    if part.config is None:
        folder_model: nn.Module = FluxTransformer2DModel.from_pretrained(
            part.path, torch_dtype=dtype, **_options(part)
        )
        return folder_model
    with torch.device("meta"):
        model: nn.Module = FluxTransformer2DModel.from_config(part.config)
    try:
        weights = to_diffusers(load_file(part.path), layout)
        model.load_state_dict({name: weight.to(dtype) for name, weight in weights.items()}, assign=True)
    except (KeyError, RuntimeError) as error:
        raise InvalidArgument(
            "pretrained_model_name_or_path", f"{part.path} lacks weights of a FLUX.1 model: {error}"
        ) from None
    return model


def to_diffusers(tensors: Mapping[str, Tensor], layout: FluxLayout) -> dict[str, Tensor]:
    """The original's weights under diffusers' names: what is fused there comes apart here.

    Raises:
        KeyError: one is missing.
    """
    given = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    found: dict[str, Tensor] = {}
    for module in names.modules(layout.doubles, layout.singles, guided=layout.guided):
        for kind in ("weight", "bias"):
            whole = given[f"{module.name}.{kind}"]
            for path, part in zip(module.paths, _apart(whole, len(module.paths)), strict=True):
                found[f"{path}.{kind}"] = part
    for original, path in names.norms(layout.doubles, layout.singles):
        found[f"{path}.weight"] = given[f"{original}.scale"]
    for kind in ("weight", "bias"):
        found[f"proj_out.{kind}"] = given[f"final_layer.linear.{kind}"]
        shift, scale = given[f"final_layer.adaLN_modulation.1.{kind}"].chunk(2)
        found[f"norm_out.linear.{kind}"] = torch.cat([scale, shift])
    return found


def _apart(whole: Tensor, parts: int) -> tuple[Tensor, ...]:
    """One, three equal ones, or three equal ones and an MLP of four times their size."""
    if parts < 4:
        return whole.chunk(parts)
    width = whole.shape[0] // 7
    return torch.split(whole, [width, width, width, 4 * width])


def pack(latents: Tensor) -> Tensor:
    """Latents (b, c, h, w) as the transformer takes them: (b, h/2·w/2, 4c), two by two."""
    b, c, h, w = latents.shape
    return latents.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, -1, 4 * c)


def unpack(packed: Tensor, height: int, width: int) -> Tensor:
    """The opposite of `pack`, for latents of that height and width."""
    b, _, c = packed.shape
    pieces = packed.view(b, height // 2, width // 2, c // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return pieces.reshape(b, c // 4, height, width)


def positions(height: int, width: int, device: torch.device) -> Tensor:
    """Where each packed latent is (h/2·w/2, 3): nothing, its row, its column."""
    rows, columns = torch.arange(height // 2, device=device), torch.arange(width // 2, device=device)
    grid = torch.cartesian_prod(rows, columns).float()
    return torch.cat([grid.new_zeros(len(grid), 1), grid], dim=1)


def attention(mask: Tensor | None, latents: int) -> dict[str, Any]:
    """The attention's mask (b, 1, 1, length + latents) for one of text (b, length); every latent is seen."""
    if mask is None:
        return {}
    seen = torch.cat([mask.bool(), mask.new_ones(len(mask), latents, dtype=torch.bool)], dim=1)
    return {"attention_mask": seen[:, None, None, :]}


class FluxDenoiser(nn.Module):
    """The transformer, with CLIP where it learns, as one module, so that several GPUs synchronise them together.

    Takes noisy latents (b, c, h, w), timesteps (b,) from 0 to 1000, and text; `sizes` tell it nothing. Gives what the
    transformer says, unpacked to (b, c, h, w).
    """

    def __init__(self, transformer: nn.Module, clip: ClipPooled | None, guidance: float | None) -> None:
        super().__init__()
        self.transformer, self.clip, self._guidance = transformer, clip, guidance

    def forward(
        self, noisy: Tensor, timesteps: Tensor, text: Tokens | Text | Learning, sizes: Tensor
    ) -> Tensor:
        """The transformer's answer to noise minus latents."""
        assert not isinstance(text, Tokens)
        states, pooled, mask = text.frozen if isinstance(text, Learning) else text
        if isinstance(text, Learning):
            assert self.clip is not None
            pooled = self.clip(text.tokens)
        height, width = noisy.shape[-2:]
        packed = pack(noisy)
        guidance = None if self._guidance is None else torch.full_like(timesteps, self._guidance)
        predicted: Tensor = self.transformer(
            hidden_states=packed,
            timestep=timesteps / 1000,
            guidance=guidance,
            pooled_projections=pooled,
            encoder_hidden_states=states,
            txt_ids=states.new_zeros(states.shape[1], 3, dtype=torch.float32),
            img_ids=positions(height, width, noisy.device),
            joint_attention_kwargs=attention(mask, packed.shape[1]),
            return_dict=False,
        )[0]
        return unpack(predicted, height, width)
