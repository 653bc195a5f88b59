"""A FLUX model on disk, a FluxPipeline's folder or the four files of the original: is it whole, what is it? No torch.

Of the files, sizes and depths follow from the shapes; what shapes do not tell is the same for every FLUX.1, and stands
here. `clip_l`, `t5xxl` and `ae` may also take the place of a folder's parts.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.errors import InvalidArgument
from backend.training import model_folder, single_file
from backend.training.flux.names import DOUBLE, SINGLE
from backend.training.model_folder import ModelFacts, read_json
from backend.training.single_file import Shapes

_MODEL = "pretrained_model_name_or_path"
PREFIX = "model.diffusion_model."
"""How names begin in files that hold more than the transformer, or once did."""
_PACKING = 2
_NATIVE = 1024
_TRAIN_TIMESTEPS = 1000
_VAE_SCALES = {"scaling_factor": 0.3611, "shift_factor": 0.1159}
_DEV = {"shift": 3.0, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15}
_FOLDERS = {
    "transformer": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}
_OWN_PLACE = {"text_encoder": "clip_l", "text_encoder_2": "t5xxl", "vae": "ae"}
_TOKENIZER = "tokenizer_2"


@dataclass(frozen=True, slots=True)
class Part:
    """Where a part lies: a folder in diffusers' layout, or a file whose `config` follows from its shapes."""

    path: Path
    config: dict[str, Any] | None = None
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class FluxLayout:
    """The parts of a FLUX model. `guided` ones (dev) are told a guidance; `tokenizer` None is the CLIP that we have.

    `parameters` are those of the transformer.
    """

    transformer: Part
    clip: Part
    t5: Part
    vae: Part
    tokenizer: Path | None
    t5_tokenizer: Path
    scheduler: dict[str, Any]
    guided: bool
    doubles: int
    singles: int
    parameters: int

    @property
    def kind(self) -> str:
        """What sd-scripts calls it in a file: schnell is the one without a guidance embedding."""
        return "dev" if self.guided else "schnell"


@dataclass(frozen=True, slots=True)
class Given:
    """The files that the arguments name beside the model."""

    clip_l: Path | None = None
    t5xxl: Path | None = None
    ae: Path | None = None


def inspect(path: Path, given: Given) -> ModelFacts:
    """The facts of a FLUX model.

    Raises:
        InvalidArgument: it is missing, lacks a part, is of another family, or a file in it is cut short.
    """
    if not path.exists():
        raise InvalidArgument(_MODEL, f"the model {path} does not exist; put the model under models/")
    found = _of_folder(path, given) if path.is_dir() else _of_files(path, given)
    vae = found.vae.config or read_json(found.vae.path / "config.json")
    factor = model_folder.vae_factor(vae)
    if int(vae.get("latent_channels", 4)) * _PACKING**2 != _channels(found):
        raise InvalidArgument(
            "ae",
            f"{found.vae.path} makes other latents than this FLUX model takes; give the autoencoder of FLUX.1",
        )
    return ModelFacts(path, "flux", factor, _NATIVE, "flow", _TRAIN_TIMESTEPS, packing=_PACKING, flux=found)


def _channels(found: FluxLayout) -> int:
    config = found.transformer.config or read_json(found.transformer.path / "config.json")
    return int(config.get("in_channels", 64))


def _of_folder(path: Path, given: Given) -> FluxLayout:
    index = path / "model_index.json"
    if not index.is_file():
        raise InvalidArgument(_MODEL, f"{path} has no model_index.json; it is no complete model")
    pipeline = str(read_json(index).get("_class_name"))
    if pipeline != "FluxPipeline":
        raise InvalidArgument(
            _MODEL,
            f"{path} holds a {pipeline}, and networks.lora_flux is for FLUX.1; choose networks.lora for it",
        )
    config = model_folder.part_config(path, "transformer", "config.json")
    files = {"text_encoder": given.clip_l, "text_encoder_2": given.t5xxl, "vae": given.ae}
    parts = {}
    for part, stem in _FOLDERS.items():
        own = files.get(part)
        if own is not None:
            parts[part] = _named(_OWN_PLACE[part], own)
            continue
        model_folder.part_config(path, part, "config.json")
        parts[part] = Part(path / part, None, model_folder.check_weights(path, part, stem))
    model_folder.check_tokenizer(path, "tokenizer")
    return FluxLayout(
        parts["transformer"],
        parts["text_encoder"],
        parts["text_encoder_2"],
        parts["vae"],
        path / "tokenizer",
        _t5_tokenizer(path / "text_encoder_2"),
        model_folder.part_config(path, "scheduler", "scheduler_config.json"),
        bool(config.get("guidance_embeds")),
        int(config.get("num_layers", 19)),
        int(config.get("num_single_layers", 38)),
        sum(_parameters(model_folder.shapes_of(file, _MODEL)) for file in _weights(parts["transformer"])),
    )


def _of_files(path: Path, given: Given) -> FluxLayout:
    if path.suffix not in (".safetensors", ".sft"):
        raise InvalidArgument(
            _MODEL,
            f"{path} is no safetensors file; take the .safetensors of the model, or its diffusers folder",
        )
    shapes = model_folder.shapes_of(path, _MODEL)
    config = _transformer(shapes)
    if config is None:
        raise InvalidArgument(
            _MODEL,
            f"{path} holds no FLUX.1 transformer in the original layout (flux1-dev.safetensors has one); "
            "give that file with clip_l, t5xxl and ae, or the folder in diffusers' layout",
        )
    parts = {}
    for name in ("clip_l", "t5xxl", "ae"):
        file = getattr(given, name)
        if file is None:
            raise InvalidArgument(
                name, "is required where the model is a single file, which has the transformer only"
            )
        parts[name] = _named(name, file)
    guided = bool(config["guidance_embeds"])
    return FluxLayout(
        Part(path, config),
        parts["clip_l"],
        parts["t5xxl"],
        parts["ae"],
        None,
        _t5_tokenizer(parts["t5xxl"].path),
        _DEV if guided else {"shift": 1.0},
        guided,
        int(config["num_layers"]),
        int(config["num_single_layers"]),
        _parameters(shapes),
    )


def _weights(part: Part) -> list[Path]:
    """The files of a folder's weights, one or shards."""
    half = part.variant == "fp16"
    return [path for path in part.path.glob("*.safetensors") if (".fp16." in path.name) == half]


def _parameters(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def _named(name: str, path: Path) -> Part:
    """A part that an argument names: a folder with config.json, or a file."""
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InvalidArgument(name, f"{path} is a folder without config.json; give the file")
        return Part(path)
    shapes = model_folder.shapes_of(path, name)
    reader = {"clip_l": _clip, "t5xxl": _t5, "ae": _vae}[name]
    try:
        return Part(path, reader(shapes))
    except KeyError as missing:
        what = {"clip_l": "CLIP-L text encoder", "t5xxl": "T5 encoder", "ae": "autoencoder of FLUX.1"}[name]
        raise InvalidArgument(name, f"{path} holds no {what}: {missing.args[0]} is missing") from None


def _t5_tokenizer(encoder: Path) -> Path:
    """The folder of T5's vocabulary, which its weights do not have: beside them."""
    for folder in (encoder.parent / _TOKENIZER, encoder.parent):
        if (folder / "tokenizer.json").is_file():
            return folder
    raise InvalidArgument(
        "t5xxl",
        f"T5's vocabulary is not in {encoder.name}: put the folder {_TOKENIZER} of FLUX.1's repository, "
        f"with its tokenizer.json, into {encoder.parent}",
    )


def _transformer(shapes: Shapes) -> dict[str, Any] | None:
    """The configuration of diffusers' transformer for the original's weights."""
    shapes = {name.removeprefix(PREFIX): shape for name, shape in shapes.items()}
    try:
        width, channels = shapes["img_in.weight"]
        head = shapes[f"{DOUBLE}.0.img_attn.norm.query_norm.scale"][0]
        return {
            "_class_name": "FluxTransformer2DModel",
            "patch_size": 1,
            "in_channels": channels,
            "num_layers": _count(shapes, rf"{DOUBLE}\.(\d+)\.img_mod\.lin\.weight"),
            "num_single_layers": _count(shapes, rf"{SINGLE}\.(\d+)\.linear1\.weight"),
            "attention_head_dim": head,
            "num_attention_heads": width // head,
            "joint_attention_dim": shapes["txt_in.weight"][1],
            "pooled_projection_dim": shapes["vector_in.in_layer.weight"][1],
            "guidance_embeds": "guidance_in.in_layer.weight" in shapes,
            # 16, 56 and 56 of FLUX.1's 128.
            "axes_dims_rope": [head // 8, 7 * head // 16, 7 * head // 16],
        }
    except KeyError:
        return None


def _clip(shapes: Shapes) -> dict[str, Any]:
    prefix = "text_model."
    if f"{prefix}embeddings.token_embedding.weight" not in shapes:
        raise KeyError(f"{prefix}embeddings.token_embedding.weight")
    return single_file.clip_config(shapes, prefix)


def _t5(shapes: Shapes) -> dict[str, Any]:
    block = "encoder.block.0.layer"
    vocabulary, width = shapes["shared.weight"]
    heads = shapes[f"{block}.0.SelfAttention.relative_attention_bias.weight"][1]
    return {
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": shapes[f"{block}.0.SelfAttention.q.weight"][0] // heads,
        "d_ff": shapes[f"{block}.1.DenseReluDense.wi_0.weight"][0],
        "num_heads": heads,
        "num_layers": _count(shapes, r"encoder\.block\.(\d+)\.layer\.0\.SelfAttention\.q\.weight"),
        "relative_attention_num_buckets": shapes[f"{block}.0.SelfAttention.relative_attention_bias.weight"][
            0
        ],
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
    }


def _vae(shapes: Shapes) -> dict[str, Any]:
    return {
        **single_file.vae_config(shapes, "sdxl", prefix=""),
        **_VAE_SCALES,
        "force_upcast": True,
        "use_quant_conv": "quant_conv.weight" in shapes,
        "use_post_quant_conv": "post_quant_conv.weight" in shapes,
    }


def _count(shapes: Shapes, pattern: str) -> int:
    wanted = re.compile(pattern)
    return len({match[1] for name in shapes if (match := wanted.fullmatch(name))})
