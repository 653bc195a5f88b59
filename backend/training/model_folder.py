"""A Stable Diffusion 1.x folder in diffusers' layout: is it whole, and what do its configurations say? No torch."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.errors import InvalidArgument

_FIELD = "pretrained_model_name_or_path"
_WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a run must know of the base model before it is loaded.

    `vae_factor` is pixels per latent along a side; `native_size` the side, in pixels, that the U-Net was made for.
    """

    folder: Path
    vae_factor: int
    native_size: int
    prediction_type: str
    train_timesteps: int
    variant: str | None


def inspect(folder: Path) -> ModelFacts:
    """The facts of a model folder.

    Raises:
        InvalidArgument: it is missing, lacks a part, is of another family, or a file in it is cut short.
    """
    if folder.is_file():
        raise InvalidArgument(
            _FIELD,
            f"{folder} is a single file; the built-in trainer takes a folder in diffusers' layout "
            "(unet, vae, text_encoder, tokenizer, scheduler)",
        )
    if not folder.is_dir():
        raise InvalidArgument(
            _FIELD, f"the model folder {folder} does not exist; put the model under models/"
        )
    _check_family(folder)
    unet = _config(folder, "unet", "config.json")
    vae = _config(folder, "vae", "config.json")
    _config(folder, "text_encoder", "config.json")
    scheduler = _config(folder, "scheduler", "scheduler_config.json")
    variants = {part: _check_weights(folder, part, stem) for part, stem in _WEIGHTS.items()}
    _check_tokenizer(folder)
    factor = 2 ** (len(vae.get("block_out_channels", (0, 0, 0, 0))) - 1)
    return ModelFacts(
        folder,
        factor,
        int(unet.get("sample_size") or 64) * factor,
        str(scheduler.get("prediction_type", "epsilon")),
        int(scheduler.get("num_train_timesteps", 1000)),
        "fp16" if "fp16" in variants.values() else None,
    )


def _check_family(folder: Path) -> None:
    if not (folder / "model_index.json").is_file():
        parts = ", ".join(
            part for part in (*_WEIGHTS, "tokenizer", "scheduler") if not (folder / part).is_dir()
        )
        raise InvalidArgument(
            _FIELD,
            f"{folder} has no model_index.json{' and lacks ' + parts if parts else ''}; it is no complete model",
        )
    family = read_json(folder / "model_index.json").get("_class_name")
    if family != "StableDiffusionPipeline" or (folder / "text_encoder_2").exists():
        raise InvalidArgument(
            _FIELD, f"{folder} holds a {family}; the built-in trainer takes Stable Diffusion 1.x models"
        )


def _config(folder: Path, part: str, name: str) -> dict[str, Any]:
    if not (folder / part / name).is_file():
        raise InvalidArgument(
            _FIELD, f"the model folder {folder} lacks {part}/{name}; copy the model again, whole"
        )
    return read_json(folder / part / name)


def read_json(path: Path) -> dict[str, Any]:
    """A configuration file of the model; raises as `inspect` does."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidArgument(_FIELD, f"cannot read {path}: {error}") from None
    if not isinstance(values, dict):
        raise InvalidArgument(_FIELD, f"{path} does not hold a JSON object")
    return values


def _check_weights(folder: Path, part: str, stem: str) -> str | None:
    """The variant of the weights that are there; plain ones are preferred."""
    for variant in (None, "fp16"):
        middle = f".{variant}" if variant else ""
        whole = folder / part / f"{stem}{middle}.safetensors"
        index = folder / part / f"{stem}.safetensors.index{middle}.json"
        if whole.is_file():
            check_safetensors(whole, _FIELD)
            return variant
        if index.is_file():
            for name in set(read_json(index).get("weight_map", {}).values()):
                check_safetensors(folder / part / name, _FIELD)
            return variant
    pickled = " (its .bin is a pickle, which can run code; convert it to safetensors)"
    raise InvalidArgument(
        _FIELD,
        f"the model folder {folder} lacks {part}/{stem}.safetensors"
        f"{pickled if list((folder / part).glob('*.bin')) else '; copy the model again, whole'}",
    )


def check_safetensors(path: Path, field: str) -> None:
    """Prove that a safetensors file is as long as its header says.

    Raises:
        InvalidArgument: it is missing, no safetensors file, or cut short.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            size = path.stat().st_size
            header = json.loads(file.read(length)) if length < size else None
        ends = [entry["data_offsets"][1] for name, entry in (header or {}).items() if name != "__metadata__"]
        whole = header is not None and size == 8 + length + max(ends, default=0)
    except FileNotFoundError:
        raise InvalidArgument(field, f"the file {path} does not exist") from None
    except (OSError, ValueError, struct.error, KeyError, TypeError):
        whole = False
    if not whole:
        raise InvalidArgument(field, f"the file {path} is not a whole safetensors file; copy it again")


def _check_tokenizer(folder: Path) -> None:
    tokenizer = folder / "tokenizer"
    old = (tokenizer / "vocab.json").is_file() and (tokenizer / "merges.txt").is_file()
    if not old and not (tokenizer / "tokenizer.json").is_file():
        raise InvalidArgument(
            _FIELD, f"the model folder {folder} lacks tokenizer/tokenizer.json; copy the model again"
        )
