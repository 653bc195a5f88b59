"""Models in single files, and FLUX: the same pictures as from a folder, and as by diffusers' own pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
)
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

from backend import samples
from backend.errors import InvalidArgument
from backend.inference.ticket import Ticket
from backend.training.single_file import Family
from tests.support.models import small_file, small_folder
from tests.unit.inference.conftest import Studio

SIDE = 32


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_single_file_draws_what_its_folder_draws(studio: Studio, family: Family) -> None:
    models = studio.data_dir / "models"
    models.mkdir()
    vae = small_folder(models / "folder", family) / "vae" / "config.json"
    if family == "sdxl":  # its latents have a scale of their own, which a single file does not say
        vae.write_text(json.dumps(json.loads(vae.read_text()) | {"scaling_factor": 0.13025}))
    small_file(models / "file.safetensors", family)
    keys = {"width": SIDE, "height": SIDE, "seed": 5, "scheduler": "ddim"}
    from_folder, from_file = (studio.draw(model=name, **keys) for name in ("folder", "file"))
    assert from_file.shape == (1, SIDE, SIDE, 3) and from_file.float().std() > 1
    assert int((from_folder.int() - from_file.int()).abs().max()) <= 1


def test_a_single_file_that_is_no_model_is_refused(studio: Studio) -> None:
    models = studio.data_dir / "models"
    models.mkdir()
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(2, 2)}, models / "lora.safetensors")
    with pytest.raises(InvalidArgument, match="no whole Stable Diffusion") as refused:
        studio.draw(model="lora")
    assert refused.value.field == "model"


@pytest.fixture
def flux(studio: Studio) -> Any:
    """A FLUX pipeline of 70 000 random weights, saved as the model `flux`."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(samples.MODEL / "tokenizer", local_files_only=True)
    letters = [(f"▁{letter}" if n else letter, -1.0) for n, letter in enumerate("abcdefghijklmnopqrstuvwxyz")]
    pipeline: Any = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKL(
            latent_channels=4,
            block_out_channels=(8,),
            norm_num_groups=4,
            shift_factor=0.1,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=CLIPTextModel.from_pretrained(samples.MODEL / "text_encoder", local_files_only=True),
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(
            T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4)
        ),
        tokenizer_2=T5TokenizerFast(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *letters]),
        transformer=FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=64,
            axes_dims_rope=(4, 4, 8),
        ),
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(studio.data_dir / "models" / "flux")
    return pipeline


def kohya_lora() -> dict[str, Tensor]:
    """On the fused projection of a double block, and on the last one of a single block, which also holds its MLP."""
    torch.manual_seed(1)
    parts: dict[str, Tensor] = {}
    shapes = {"double_blocks_0_img_attn_qkv": (96, 32), "single_blocks_0_linear2": (32, 32 + 128)}
    for name, (out, wide) in shapes.items():
        parts[f"lora_unet_{name}.lora_down.weight"] = torch.randn(4, wide)
        parts[f"lora_unet_{name}.lora_up.weight"] = torch.randn(out, 4)
        parts[f"lora_unet_{name}.alpha"] = torch.tensor(2.0)
    return parts


def diffusers_lora() -> dict[str, Tensor]:
    torch.manual_seed(2)
    name = "transformer.transformer_blocks.0.attn.to_v"
    return {f"{name}.lora_A.weight": torch.randn(4, 32), f"{name}.lora_B.weight": 5 * torch.randn(32, 4)}


def plainly(pipeline: Any) -> Tensor:
    drawn = pipeline(
        "a red circle",
        num_inference_steps=3,
        guidance_scale=3.0,
        width=SIDE,
        height=SIDE,
        generator=torch.Generator().manual_seed(5),
        output_type="np",
    ).images
    return (torch.from_numpy(drawn) * 255).round()


def drawn(studio: Studio, **keys: Any) -> Tensor:
    ticket: Ticket = studio.begin(model="flux", width=SIDE, height=SIDE, seed=5, **keys)
    with ticket.changed:
        assert ticket.changed.wait_for(lambda: ticket.over, 60)
    if ticket.error is not None:
        raise ticket.error
    assert isinstance(ticket.drawn, list) and ticket.step == ticket.steps == 3
    (image,) = ticket.drawn
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(1, SIDE, SIDE, 3).float()


def test_flux_draws_what_diffusers_draws_with_and_without_a_lora(studio: Studio, flux: Any) -> None:
    def apart(one: Tensor, other: Tensor) -> float:
        return float((one - other).abs().max())

    plain = drawn(studio)
    assert apart(plain, plainly(flux)) <= 1
    files: dict[str, Mapping[str, Tensor]] = {"kohya": kohya_lora(), "theirs": diffusers_lora()}
    for name, tensors in files.items():
        studio.lora(name, tensors)
        with_it = drawn(studio, loras=[{"name": name, "weight": 0.8}])
        other = DiffusionPipeline.from_pretrained(studio.data_dir / "models" / "flux", local_files_only=True)
        other.set_progress_bar_config(disable=True)
        other.load_lora_weights(dict(tensors), adapter_name="it")
        other.set_adapters(["it"], [0.8])
        assert apart(with_it, plainly(other)) <= 1, name
        assert apart(with_it, plain) > 4, name
    assert apart(drawn(studio), plain) == 0
    with pytest.raises(InvalidArgument, match="use default"):
        drawn(studio, scheduler="euler")
