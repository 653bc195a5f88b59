"""FLUX with random weights: a small whole one in both layouts, and a true-size transformer of no memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
)
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel, T5TokenizerFast

from backend.training import clip_vocabulary
from backend.training.flux import names
from tests.support.models import original_vae, small_text_encoders

HEAD, HEADS, TEXT = 32, 2, 32
_CLIP = 32


def true_transformer(*, guided: bool = True) -> nn.Module:
    """The transformer of FLUX.1 dev (guided) or schnell on the meta device."""
    with torch.device("meta"):
        return FluxTransformer2DModel(guidance_embeds=guided)


def small_transformer(doubles: int = 2, singles: int = 2) -> nn.Module:
    """A transformer of width 64 that takes latents of 16 channels."""
    torch.manual_seed(1)
    return FluxTransformer2DModel(
        in_channels=64,
        num_layers=doubles,
        num_single_layers=singles,
        attention_head_dim=HEAD,
        num_attention_heads=HEADS,
        joint_attention_dim=TEXT,
        pooled_projection_dim=_CLIP,
        guidance_embeds=True,
        axes_dims_rope=(HEAD // 8, 7 * HEAD // 16, 7 * HEAD // 16),
    )


def small_vae() -> nn.Module:
    """A VAE that halves the sides of a picture, with the scale and shift of FLUX's."""
    torch.manual_seed(2)
    return AutoencoderKL(
        block_out_channels=(32, 32),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=16,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def small_t5() -> nn.Module:
    """A T5 encoder of one layer that reads letters."""
    torch.manual_seed(4)
    return T5EncoderModel(
        T5Config(
            vocab_size=64,
            d_model=TEXT,
            d_kv=8,
            d_ff=64,
            num_layers=1,
            num_heads=4,
            feed_forward_proj="gated-gelu",
        )
    ).eval()


def t5_tokenizer() -> Any:
    """A tokenizer of single letters, the first of a word with its blank."""
    letters = [f"▁{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    letters += [letter[1] for letter in letters]
    return T5TokenizerFast(
        vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((letter, -1.0) for letter in letters)],
        extra_ids=0,
    )


def small_pipeline() -> Any:
    """The parts as diffusers' pipeline."""
    pipeline: Any = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
        vae=small_vae(),
        text_encoder=small_text_encoders("sd1")[0],
        tokenizer=clip_vocabulary.tokenizer(),
        text_encoder_2=small_t5(),
        tokenizer_2=t5_tokenizer(),
        transformer=small_transformer(),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def small_flux_folder(folder: Path) -> Path:
    """A small FLUX in diffusers' layout."""
    small_pipeline().save_pretrained(folder)
    return folder


def small_flux_files(folder: Path) -> dict[str, Path]:
    """The same as four files of the original, by argument, with T5's vocabulary beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    clip = small_text_encoders("sd1")[0].state_dict()
    parts = {
        "pretrained_model_name_or_path": original_transformer(small_transformer()),
        "clip_l": {f"text_model.{name.removeprefix('text_model.')}": t for name, t in clip.items()},
        "t5xxl": {name: t for name, t in small_t5().state_dict().items() if "embed_tokens" not in name},
        "ae": original_vae(small_vae()),
    }
    paths = {}
    for name, tensors in parts.items():
        paths[name] = folder / f"{name}.safetensors"
        save_file({key: tensor.contiguous().clone() for key, tensor in tensors.items()}, paths[name])
    t5_tokenizer().save_pretrained(folder / "tokenizer_2")
    return paths


def original_transformer(transformer: nn.Module) -> dict[str, Tensor]:
    """A transformer's weights under the original's names, parts that are fused there one below the other."""
    state = transformer.state_dict()
    config: Any = transformer.config
    depths = int(config.num_layers), int(config.num_single_layers)
    found = {}
    for module in names.modules(*depths, guided=bool(config.guidance_embeds)):
        for kind in ("weight", "bias"):
            found[f"{module.name}.{kind}"] = torch.cat([state[f"{path}.{kind}"] for path in module.paths])
    for original, path in names.norms(*depths):
        found[f"{original}.scale"] = state[f"{path}.weight"]
    for kind in ("weight", "bias"):
        found[f"final_layer.linear.{kind}"] = state[f"proj_out.{kind}"]
        scale, shift = state[f"norm_out.linear.{kind}"].chunk(2)
        found[f"final_layer.adaLN_modulation.1.{kind}"] = torch.cat([shift, scale])
    return found
