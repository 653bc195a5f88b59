"""A base model on disk, a folder in diffusers' layout or a single file: is it whole, and what is it? No torch."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from backend.errors import InvalidArgument
from backend.training.single_file import Family, Layout, Shapes, layout

if TYPE_CHECKING:
    from backend.training.flux.layout import FluxLayout
    from backend.training.training_arguments import TrainingArguments

_FIELD = "pretrained_model_name_or_path"
_WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
_FAMILIES = {"StableDiffusionPipeline": "", "StableDiffusionXLPipeline": "_2"}
"""The pipelines whose models can be trained, and how the names of a second text encoder's folders end."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a run must know of the base model before it is loaded.

    `vae_factor` is pixels per latent along a side; `native_size` the side, in pixels, that the U-Net was made for;
    `layout` is there when `path` is a single file, `variant` when a folder has weights of half precision only.
    `packing` is how many latents along a side the model takes as one; of FLUX, `flux` says where its parts are.
    """

    path: Path
    family: Family | Literal["flux"]
    vae_factor: int
    native_size: int
    prediction_type: str
    train_timesteps: int
    variant: str | None = None
    layout: Layout | None = None
    packing: int = 1
    flux: FluxLayout | None = None

    def predicts_v(self, args: TrainingArguments) -> bool:
        """Whether the model says velocity, of itself or because the arguments say so."""
        return args.v_parameterization or self.prediction_type == "v_prediction"

    @property
    def stable_family(self) -> Family:
        """The family of a Stable Diffusion model."""
        assert self.family != "flux"
        return self.family

    @property
    def side_step(self) -> int:
        """What the sides of a picture, in pixels, must be divisible by."""
        return self.vae_factor * self.packing


def inspect(path: Path) -> ModelFacts:
    """The facts of a model.

    Raises:
        InvalidArgument: it is missing, lacks a part, is of another family, or a file in it is cut short.
    """
    if path.is_file():
        return _inspect_file(path)
    if not path.is_dir():
        raise InvalidArgument(_FIELD, f"the model {path} does not exist; put the model under models/")
    second = _second(path)
    unet = part_config(path, "unet", "config.json")
    vae = part_config(path, "vae", "config.json")
    weights = dict(_WEIGHTS)
    for ending in {"", second}:
        part_config(path, f"text_encoder{ending}", "config.json")
        weights[f"text_encoder{ending}"] = "model"
        check_tokenizer(path, f"tokenizer{ending}")
    scheduler = part_config(path, "scheduler", "scheduler_config.json")
    variants = {part: check_weights(path, part, stem) for part, stem in weights.items()}
    family: Family = "sdxl" if second else "sd2" if unet.get("use_linear_projection") else "sd1"
    return _facts(path, family, unet, vae, scheduler, "fp16" if "fp16" in variants.values() else None)


def _facts(
    path: Path,
    family: Family,
    unet: dict[str, Any],
    vae: dict[str, Any],
    scheduler: dict[str, Any],
    variant: str | None = None,
    layout: Layout | None = None,
) -> ModelFacts:
    factor = vae_factor(vae)
    return ModelFacts(
        path,
        family,
        factor,
        int(unet.get("sample_size") or 64) * factor,
        str(scheduler.get("prediction_type", "epsilon")),
        int(scheduler.get("num_train_timesteps", 1000)),
        variant,
        layout,
    )


def vae_factor(config: dict[str, Any]) -> int:
    """Pixels per latent along a side, of a VAE of this configuration."""
    return int(2 ** (len(config.get("block_out_channels", (0, 0, 0, 0))) - 1))


def _inspect_file(path: Path) -> ModelFacts:
    if path.suffix != ".safetensors":
        raise InvalidArgument(
            _FIELD,
            f"{path} is no safetensors file; a .ckpt is a pickle, which can run code: convert it to safetensors",
        )
    found = layout(shapes_of(path, _FIELD))
    if found is None:
        raise InvalidArgument(
            _FIELD,
            f"{path} is no whole Stable Diffusion 1.x, 2.x or SDXL checkpoint (U-Net, VAE and text encoder in one "
            "file); give such a file, or a folder in diffusers' layout",
        )
    return _facts(path, found.family, found.unet, found.vae, found.scheduler, layout=found)


def _second(folder: Path) -> str:
    """How the names of the second text encoder's folders end, or nothing where there is one encoder."""
    if not (folder / "model_index.json").is_file():
        parts = ", ".join(
            part for part in (*_WEIGHTS, "tokenizer", "scheduler") if not (folder / part).is_dir()
        )
        raise InvalidArgument(
            _FIELD,
            f"{folder} has no model_index.json{' and lacks ' + parts if parts else ''}; it is no complete model",
        )
    pipeline = str(read_json(folder / "model_index.json").get("_class_name"))
    if pipeline == "FluxPipeline":
        raise InvalidArgument(
            _FIELD,
            f"{folder} holds FLUX.1, whose network_module is networks.lora_flux (the form's type Flux1)",
        )
    if pipeline not in _FAMILIES:
        raise InvalidArgument(
            _FIELD,
            f"{folder} holds a {pipeline}; the built-in trainer takes Stable Diffusion 1.x, 2.x, SDXL and FLUX.1",
        )
    return _FAMILIES[pipeline]


def part_config(folder: Path, part: str, name: str) -> dict[str, Any]:
    """The configuration `name` of a part; raises as `inspect` does."""
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


def check_weights(folder: Path, part: str, stem: str) -> str | None:
    """The variant of a part's weights that are there, plain ones preferred; raises as `inspect` does."""
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
    """Prove that a safetensors file is as long as its header says; raises as `shapes_of` does."""
    shapes_of(path, field)


def shapes_of(path: Path, field: str) -> Shapes:
    """The shapes of a safetensors file's tensors, after proving that it is as long as its header says.

    Raises:
        InvalidArgument: it is missing, no safetensors file, or cut short.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            size = path.stat().st_size
            header = json.loads(file.read(length)) if length < size else {}
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if header and size == 8 + length + end:
            return {name: tuple(entry["shape"]) for name, entry in header.items()}
    except FileNotFoundError:
        raise InvalidArgument(field, f"the file {path} does not exist") from None
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError):
        pass
    raise InvalidArgument(field, f"the file {path} is not a whole safetensors file; copy it again")


def check_tokenizer(folder: Path, part: str) -> None:
    """Prove that CLIP's tokenizer is there; raises as `inspect` does."""
    tokenizer = folder / part
    old = (tokenizer / "vocab.json").is_file() and (tokenizer / "merges.txt").is_file()
    if not old and not (tokenizer / "tokenizer.json").is_file():
        raise InvalidArgument(
            _FIELD, f"the model folder {folder} lacks {part}/tokenizer.json; copy the model again"
        )
