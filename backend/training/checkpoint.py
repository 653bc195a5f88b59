"""Models out of single-file checkpoints, by diffusers' own conversions and the configurations of `single_file`."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from backend.errors import InvalidArgument
from backend.training import clip_vocabulary
from backend.training.model_folder import shapes_of
from backend.training.single_file import Family, Layout, vae_config


@dataclass(slots=True)
class Parts:
    """What a checkpoint holds, and the tokenizers that go with it."""

    tokenizers: tuple[Any, ...]
    text_encoders: tuple[nn.Module, ...]
    unet: nn.Module
    vae: nn.Module | None


def load(path: Path, layout: Layout, dtype: torch.dtype, *, with_vae: bool) -> Parts:
    """The parts on the CPU, all of `dtype` but the VAE, which has full precision.

    Raises:
        InvalidArgument: a tensor that the layout wants is missing.
    """
    tensors: dict[str, Tensor] = load_file(path)
    try:
        with tempfile.TemporaryDirectory() as folder:
            _write_configs(Path(folder), layout)
            encoders = tuple(
                _text_encoder(tensors, Path(folder), f"text_encoder_{index}", config, dtype)
                for index, config in enumerate(layout.text_encoders)
            )
            unet = UNet2DConditionModel.from_single_file(
                tensors, torch_dtype=dtype, **_options(folder, "unet")
            )
            vae = _vae(tensors, folder) if with_vae else None
    except (KeyError, ValueError, RuntimeError) as error:
        raise InvalidArgument(
            "pretrained_model_name_or_path", f"{path} lacks weights of a {layout.family} model: {error}"
        ) from None
    return Parts(_tokenizers(layout), encoders, unet, vae)


def load_vae(path: Path, family: Family) -> nn.Module:
    """A VAE out of a file of its own, or out of a whole checkpoint.

    Raises:
        InvalidArgument: there is none in it.
    """
    prefix = "first_stage_model."
    shapes = shapes_of(path, "vae")
    if not any(name.startswith(prefix) for name in shapes):
        shapes = {prefix + name: shape for name, shape in shapes.items()}
    try:
        config = vae_config(shapes, family)
    except KeyError:
        raise InvalidArgument("vae", f"{path} holds no VAE; give a VAE folder or file") from None
    tensors = {name if name.startswith(prefix) else prefix + name: t for name, t in load_file(path).items()}
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder) / "vae", config)
        return _vae(tensors, folder)


def _vae(tensors: dict[str, Tensor], folder: str) -> nn.Module:
    vae: nn.Module = AutoencoderKL.from_single_file(
        tensors, torch_dtype=torch.float32, **_options(folder, "vae")
    )
    return vae


def _options(folder: str, part: str) -> dict[str, Any]:
    return {"config": folder, "subfolder": part, "local_files_only": True}


def _text_encoder(
    tensors: dict[str, Tensor], folder: Path, part: str, config: dict[str, Any], dtype: torch.dtype
) -> nn.Module:
    projected = config["architectures"] == ["CLIPTextModelWithProjection"]
    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    encoder: nn.Module = create_diffusers_clip_model_from_ldm(
        kind, tensors, subfolder=part, config=str(folder), torch_dtype=dtype, local_files_only=True
    )
    missing = [name for name, weight in encoder.named_parameters() if weight.is_meta]
    if missing:
        raise KeyError(f"{part} {missing[0]}")
    return encoder.eval()


def _tokenizers(layout: Layout) -> tuple[Any, ...]:
    first = clip_vocabulary.tokenizer(*(("!",) if layout.family == "sd2" else ()))
    return (first, clip_vocabulary.tokenizer("!")) if layout.family == "sdxl" else (first,)


def _write_configs(folder: Path, layout: Layout) -> None:
    _write(folder / "unet", layout.unet)
    _write(folder / "vae", layout.vae)
    for index, config in enumerate(layout.text_encoders):
        _write(folder / f"text_encoder_{index}", config)


def _write(folder: Path, config: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
