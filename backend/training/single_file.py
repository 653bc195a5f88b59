"""A checkpoint in one safetensors file, in the layout of the original code: what it is, read from its keys. No torch.

Such a file holds weights only. Widths, depths and attention follow from the shapes; what shapes do not tell (heads,
activations, the scale of latents) is the same for every model of a family, and stands here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Family: TypeAlias = Literal["sd1", "sd2", "sdxl"]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
"""The shape of every tensor of a file by its name."""

_UNET = "model.diffusion_model."
_VAE = "first_stage_model."
_TEXT = {
    "sd1": ("cond_stage_model.transformer.text_model.",),
    "sd2": ("cond_stage_model.model.",),
    "sdxl": ("conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."),
}
_HEAD = 64
_SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


@dataclass(frozen=True, slots=True)
class Layout:
    """A checkpoint's family and the configurations of its parts, as diffusers has them."""

    family: Family
    unet: dict[str, Any]
    vae: dict[str, Any]
    text_encoders: tuple[dict[str, Any], ...]
    scheduler: dict[str, Any]


def layout(shapes: Shapes) -> Layout | None:
    """What a file of these tensors is, or None when it is no whole model of a family that is known."""
    family = _family(shapes)
    if family is None:
        return None
    try:
        encoders = tuple(
            _open_clip(shapes, prefix, family) if prefix.endswith(".model.") else clip_config(shapes, prefix)
            for prefix in _TEXT[family]
        )
        unet = _unet(shapes, family, encoders)
        return Layout(family, unet, vae_config(shapes, family), encoders, _scheduler(shapes, family))
    except KeyError:
        return None


def _family(shapes: Shapes) -> Family | None:
    if f"{_UNET}input_blocks.0.0.weight" not in shapes:
        return None
    families: tuple[Family, ...] = ("sdxl", "sd2", "sd1")
    for family in families:
        if all(any(name.startswith(prefix) for name in shapes) for prefix in _TEXT[family]):
            return family
    return None


def _unet(shapes: Shapes, family: Family, encoders: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    ends = sorted(_numbers(shapes, rf"{re.escape(_UNET)}input_blocks\.(\d+)\.0\.op\.weight"))
    per_level = ends[0]
    firsts = [level * per_level + 1 for level in range(len(ends) + 1)]
    widths = [shapes[f"{_UNET}input_blocks.{first}.0.in_layers.2.weight"][0] for first in firsts]
    depths = [_depth(shapes, f"{_UNET}input_blocks.{first}.1.") for first in firsts]
    middle = f"{_UNET}middle_block.1."
    down = ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths]
    config: dict[str, Any] = {
        "_class_name": "UNet2DConditionModel",
        "in_channels": shapes[f"{_UNET}input_blocks.0.0.weight"][1],
        "out_channels": shapes[f"{_UNET}out.2.weight"][0],
        "sample_size": 128 if family == "sdxl" else 64,
        "block_out_channels": widths,
        "layers_per_block": per_level - 1,
        "down_block_types": down,
        "up_block_types": [name.replace("Down", "Up") for name in reversed(down)],
        "cross_attention_dim": shapes[f"{middle}transformer_blocks.0.attn2.to_k.weight"][1],
        "attention_head_dim": 8 if family == "sd1" else [max(1, width // _HEAD) for width in widths],
        "use_linear_projection": len(shapes[f"{middle}proj_in.weight"]) == 2,
        "upcast_attention": family == "sd2",
        "transformer_layers_per_block": [max(depth, 1) for depth in depths],
    }
    if family == "sdxl":
        width = shapes[f"{_UNET}label_emb.0.0.weight"][1]
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": (width - encoders[-1]["projection_dim"]) // 6,
            "projection_class_embeddings_input_dim": width,
        }
    return config


def _depth(shapes: Shapes, prefix: str) -> int:
    return len(_numbers(shapes, rf"{re.escape(prefix)}transformer_blocks\.(\d+)\.norm1\.weight"))


def vae_config(shapes: Shapes, family: Family, prefix: str = _VAE) -> dict[str, Any]:
    """The configuration of the VAE in a file.

    Raises:
        KeyError: there is none.
    """
    levels = _numbers(shapes, rf"{re.escape(prefix)}encoder\.down\.(\d+)\.block\.0\.conv1\.weight")
    if not levels:
        raise KeyError(prefix)
    widths = [shapes[f"{prefix}encoder.down.{level}.block.0.conv1.weight"][0] for level in sorted(levels)]
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": shapes[f"{prefix}decoder.conv_in.weight"][1],
        "block_out_channels": widths,
        "layers_per_block": len(
            _numbers(shapes, rf"{re.escape(prefix)}encoder\.down\.0\.block\.(\d+)\.conv1\.weight")
        ),
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "sample_size": 1024 if family == "sdxl" else 512,
        "scaling_factor": 0.13025 if family == "sdxl" else 0.18215,
        "force_upcast": family == "sdxl",
    }


def clip_config(shapes: Shapes, prefix: str) -> dict[str, Any]:
    """The configuration of a text encoder that is stored as transformers names it.

    Raises:
        KeyError: there is none.
    """
    vocabulary, width = shapes[f"{prefix}embeddings.token_embedding.weight"]
    layers = _numbers(shapes, rf"{re.escape(prefix)}encoder\.layers\.(\d+)\.mlp\.fc1\.weight")
    inner = shapes[f"{prefix}encoder.layers.0.mlp.fc1.weight"][0]
    positions = shapes[f"{prefix}embeddings.position_embedding.weight"][0]
    return {
        **_encoder(vocabulary, width, inner, positions, len(layers)),
        "architectures": ["CLIPTextModel"],
        "hidden_act": "quick_gelu",
        "projection_dim": width,
    }


def _open_clip(shapes: Shapes, prefix: str, family: Family) -> dict[str, Any]:
    """The configuration of one that is stored as open_clip names it; of Stable Diffusion 2 the last layer is unused."""
    vocabulary, width = shapes[f"{prefix}token_embedding.weight"]
    layers = len(_numbers(shapes, rf"{re.escape(prefix)}transformer\.resblocks\.(\d+)\.mlp\.c_fc\.weight"))
    inner = shapes[f"{prefix}transformer.resblocks.0.mlp.c_fc.weight"][0]
    positions = shapes[f"{prefix}positional_embedding"][0]
    projected = shapes[f"{prefix}text_projection"][1] if f"{prefix}text_projection" in shapes else width
    return {
        **_encoder(vocabulary, width, inner, positions, layers - (family == "sd2")),
        "architectures": ["CLIPTextModelWithProjection" if family == "sdxl" else "CLIPTextModel"],
        "hidden_act": "gelu",
        "projection_dim": projected,
    }


def _encoder(vocabulary: int, width: int, inner: int, positions: int, layers: int) -> dict[str, Any]:
    return {
        "model_type": "clip_text_model",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // _HEAD),
        "max_position_embeddings": positions,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


def _scheduler(shapes: Shapes, family: Family) -> dict[str, Any]:
    """SDXL files mark v-prediction and zero-terminal SNR by two empty tensors; of others the keys do not tell."""
    marked = family == "sdxl" and "v_pred" in shapes
    return {
        **_SCHEDULER,
        "prediction_type": "v_prediction" if marked else "epsilon",
        "rescale_betas_zero_snr": marked and "ztsnr" in shapes,
    }


def _numbers(shapes: Shapes, pattern: str) -> set[int]:
    wanted = re.compile(pattern)
    return {int(match[1]) for name in shapes if (match := wanted.fullmatch(name))}
