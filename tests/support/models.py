"""Models with random weights: small whole ones of each family, in both layouts, and true-size ones of no memory.

The small ones follow the rules that a single file is read by: 32 groups, heads as its family has them.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from backend.training import clip_vocabulary
from backend.training.single_file import Family

_WIDTHS = (32, 64)
_TEXT, _SECOND = 32, 64


def true_unet(family: Family) -> nn.Module:
    """The U-Net of Stable Diffusion 1.5, 2.1 or SDXL on the meta device."""
    kinds: dict[Family, dict[str, Any]] = {
        "sd1": {"cross_attention_dim": 768, "attention_head_dim": 8},
        "sd2": {
            "cross_attention_dim": 1024,
            "attention_head_dim": (5, 10, 20, 20),
            "use_linear_projection": True,
        },
        "sdxl": {
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
    }
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return UNet2DConditionModel(sample_size=64, **kinds[family])


def true_text_encoders(family: Family) -> tuple[nn.Module, ...]:
    """The text encoders that go with it, on the meta device."""
    large = _clip(768, 12, 12)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if family == "sd1":
            return (CLIPTextModel(large),)
        if family == "sd2":
            return (CLIPTextModel(_clip(1024, 23, 16)),)
        return CLIPTextModel(large), CLIPTextModelWithProjection(_clip(1280, 32, 20))


def _clip(width: int, layers: int, heads: int, act: str = "quick_gelu", **more: Any) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=width,
        hidden_act=act,
        **more,
    )


def small_unet(family: Family) -> nn.Module:
    """A U-Net of two levels."""
    torch.manual_seed(1)
    more: dict[str, Any] = {"attention_head_dim": 8}
    if family != "sd1":
        more = {"attention_head_dim": [1, 1], "use_linear_projection": True}
    if family == "sdxl":
        more |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 48 + _SECOND,
            "transformer_layers_per_block": [1, 2],
        }
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=_WIDTHS,
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=_TEXT + _SECOND if family == "sdxl" else _TEXT,
        upcast_attention=family == "sd2",
        **more,
    )


def small_vae() -> nn.Module:
    """A VAE that halves the sides of a picture."""
    torch.manual_seed(2)
    return AutoencoderKL(
        block_out_channels=_WIDTHS,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        sample_size=32,
    )


def small_text_encoders(family: Family) -> tuple[nn.Module, ...]:
    """Text encoders of two layers over CLIP's whole vocabulary."""
    torch.manual_seed(3)
    ends: dict[str, Any] = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
    if family == "sd2":
        return (CLIPTextModel(_clip(_TEXT, 2, 1, "gelu", **ends)),)
    first = CLIPTextModel(_clip(_TEXT, 2, 1, **ends))
    if family == "sd1":
        return (first,)
    return first, CLIPTextModelWithProjection(_clip(_SECOND, 3, 1, "gelu", **ends))


def small_folder(folder: Path, family: Family) -> Path:
    """A small model in diffusers' layout."""
    small_unet(family).save_pretrained(folder / "unet")  # type: ignore[operator]
    small_vae().save_pretrained(folder / "vae")  # type: ignore[operator]
    for index, encoder in enumerate(small_text_encoders(family)):
        ending = "_2" if index else ""
        encoder.save_pretrained(folder / f"text_encoder{ending}")  # type: ignore[operator]
        pad = ("!",) if index or family == "sd2" else ()
        clip_vocabulary.tokenizer(*pad).save_pretrained(folder / f"tokenizer{ending}")
    scheduler = {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "clip_sample": False}
    scheduler |= {"beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1, "set_alpha_to_one": False}
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    pipeline = "StableDiffusionXLPipeline" if family == "sdxl" else "StableDiffusionPipeline"
    parts = {"scheduler": ["diffusers", "DDIMScheduler"], "vae": ["diffusers", "AutoencoderKL"]}
    parts |= {"unet": ["diffusers", "UNet2DConditionModel"], "tokenizer": ["transformers", "CLIPTokenizer"]}
    parts |= {"text_encoder": ["transformers", "CLIPTextModel"]}
    if family == "sdxl":
        parts |= {"tokenizer_2": ["transformers", "CLIPTokenizer"]}
        parts |= {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline, **parts}))
    return folder


def small_file(path: Path, family: Family) -> Path:
    """The same model as one file in the original layout."""
    tensors = {f"model.diffusion_model.{name}": t for name, t in _original_unet(small_unet(family)).items()}
    tensors |= {f"first_stage_model.{name}": t for name, t in original_vae(small_vae()).items()}
    encoders = small_text_encoders(family)
    if family == "sd2":
        tensors |= _open_clip(encoders[0], "cond_stage_model.model.", unused_layer=True)
    else:
        place = "cond_stage_model" if family == "sd1" else "conditioner.embedders.0"
        tensors |= {
            f"{place}.transformer.text_model.{name.removeprefix('text_model.')}": t
            for name, t in encoders[0].state_dict().items()
        }
    if family == "sdxl":
        tensors |= _open_clip(encoders[1], "conditioner.embedders.1.model.", unused_layer=False)
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)
    return path


_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def _original_unet(unet: nn.Module) -> dict[str, Tensor]:
    """Two levels of two resnets, attention in the second."""
    places = {
        **{f"down_blocks.0.resnets.{n}": f"input_blocks.{n + 1}.0" for n in range(2)},
        "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
        **{f"down_blocks.1.resnets.{n}": f"input_blocks.{n + 4}.0" for n in range(2)},
        **{f"down_blocks.1.attentions.{n}": f"input_blocks.{n + 4}.1" for n in range(2)},
        "mid_block.resnets.0": "middle_block.0",
        "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
        **{f"up_blocks.0.resnets.{n}": f"output_blocks.{n}.0" for n in range(3)},
        **{f"up_blocks.0.attentions.{n}": f"output_blocks.{n}.1" for n in range(3)},
        "up_blocks.0.upsamplers.0.conv": "output_blocks.2.2.conv",
        **{f"up_blocks.1.resnets.{n}": f"output_blocks.{n + 3}.0" for n in range(3)},
        **_OUTSIDE,
    }
    return {_renamed(name, places, _RESNET): tensor for name, tensor in unet.state_dict().items()}


def original_vae(vae: nn.Module) -> dict[str, Tensor]:
    """A small VAE's weights under the original's names."""
    places = {"encoder.conv_norm_out": "encoder.norm_out", "decoder.conv_norm_out": "decoder.norm_out"}
    for side in ("encoder", "decoder"):
        places |= {f"{side}.mid_block.resnets.{n}": f"{side}.mid.block_{n + 1}" for n in range(2)}
        places[f"{side}.mid_block.attentions.0"] = f"{side}.mid.attn_1"
    for level in range(2):
        places[f"encoder.down_blocks.{level}.resnets.0"] = f"encoder.down.{level}.block.0"
        places[f"encoder.down_blocks.{level}.downsamplers.0.conv"] = f"encoder.down.{level}.downsample.conv"
        places[f"decoder.up_blocks.{level}.upsamplers.0.conv"] = f"decoder.up.{1 - level}.upsample.conv"
        for n in range(2):
            places[f"decoder.up_blocks.{level}.resnets.{n}"] = f"decoder.up.{1 - level}.block.{n}"
    inner = {"conv_shortcut": "nin_shortcut", "group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v"}
    inner |= {"to_out.0": "proj_out"}
    renamed = {_renamed(name, places, inner): tensor for name, tensor in vae.state_dict().items()}
    linear = {name for name, tensor in renamed.items() if ".attn_1." in name and tensor.dim() == 2}
    return {name: t[:, :, None, None] if name in linear else t for name, t in renamed.items()}


def _renamed(name: str, places: dict[str, str], inside: dict[str, str]) -> str:
    for place, other in places.items():
        if name.startswith(f"{place}."):
            rest = name.removeprefix(f"{place}.")
            part = next((key for key in inside if rest.startswith(f"{key}.")), None)
            return f"{other}.{rest.replace(part, inside[part], 1) if part and 'transformer' not in rest else rest}"
    return name


def _open_clip(encoder: nn.Module, prefix: str, *, unused_layer: bool) -> dict[str, Tensor]:
    state = {name.removeprefix("text_model."): tensor for name, tensor in encoder.state_dict().items()}
    tensors = {
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "ln_final.weight": state["final_layer_norm.weight"],
        "ln_final.bias": state["final_layer_norm.bias"],
    }
    if "text_projection.weight" in state:
        tensors["text_projection"] = state["text_projection.weight"].t()
    layers = int(encoder.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
    for layer in range(layers + unused_layer):
        old, new = f"encoder.layers.{min(layer, layers - 1)}", f"transformer.resblocks.{layer}"
        for kind in ("weight", "bias"):
            three = [state[f"{old}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            tensors |= {
                f"{new}.attn.in_proj_{kind}": torch.cat(three),
                f"{new}.attn.out_proj.{kind}": state[f"{old}.self_attn.out_proj.{kind}"],
                f"{new}.ln_1.{kind}": state[f"{old}.layer_norm1.{kind}"],
                f"{new}.ln_2.{kind}": state[f"{old}.layer_norm2.{kind}"],
                f"{new}.mlp.c_fc.{kind}": state[f"{old}.mlp.fc1.{kind}"],
                f"{new}.mlp.c_proj.{kind}": state[f"{old}.mlp.fc2.{kind}"],
            }
    return {prefix + name: tensor for name, tensor in tensors.items()}
