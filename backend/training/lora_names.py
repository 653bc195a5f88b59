"""Which modules of a model a LoRA adapts, and what sd-scripts' files call them.

A file names each adapted module with underscores for dots: `lora_unet_…` and `lora_te_…`, or `lora_te1_…` and
`lora_te2_…` where a model has two text encoders. Stable Diffusion 1.x and 2.x keep diffusers' module names in the
U-Net; SDXL has those of the original code (`input_blocks_4_1_…`).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from backend.training.flux import network as flux
from backend.training.flux.names import file_name

UNET = "lora_unet_"
_TRANSFORMERS = ("Transformer2DModel",)
_CONVOLUTIONS = ("ResnetBlock2D", "Downsample2D", "Upsample2D")
_CLIP = ("CLIPAttention", "CLIPSdpaAttention", "CLIPMLP")
_INSIDE_A_RESNET = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def text_prefix(index: int, count: int) -> str:
    """What the names of the text encoder `index` (from 0) of `count` begin with."""
    return "lora_te_text_model_" if count == 1 else f"lora_te{index + 1}_text_model_"


def unet_targets(unet: nn.Module, *, with_convolutions: bool) -> dict[str, str]:
    """The names in a file, by module path, of every Linear and 1×1 convolution inside the U-Net's transformers.

    With convolutions those of the resnets and of the layers between the resolutions are there too.
    """
    paths = _inside(unet, _TRANSFORMERS + (_CONVOLUTIONS if with_convolutions else ()), nn.Linear | nn.Conv2d)
    original = is_sdxl(unet)
    return {path: _joined(UNET, _original(unet, path) if original else path) for path in paths}


def text_targets(encoder: nn.Module, prefix: str) -> dict[str, str]:
    """The names in a file, by module path, of every Linear inside CLIP's attention and MLP.

    transformers 5 dropped the `text_model` level of one of its two classes; files keep it.
    """
    return {
        path: _joined(prefix, path.removeprefix("text_model.")) for path in _inside(encoder, _CLIP, nn.Linear)
    }


def is_sdxl(unet: nn.Module) -> bool:
    """Whether a U-Net takes pooled text and sizes, as SDXL's does."""
    return getattr(unet.config, "addition_embed_type", None) == "text_time"


def is_flux(unet: nn.Module) -> bool:
    """Whether it is FLUX's transformer."""
    return type(unet).__name__ == "FluxTransformer2DModel"


def adapted_modules(unet: nn.Module, encoders: Sequence[nn.Module]) -> dict[str, list[nn.Module]]:
    """Every module that a LoRA file may change, by its name there; FLUX's may be in parts, one below the other."""
    found: dict[str, list[nn.Module]] = {}
    if is_flux(unet):
        for module in flux.targets(unet):
            found[file_name(module)] = list(flux.linears(unet, module))
    else:
        for path, name in unet_targets(unet, with_convolutions=True).items():
            found[name] = [unet.get_submodule(path)]
    for index, encoder in enumerate(encoders):
        targets = text_targets(encoder, text_prefix(index, len(encoders)))
        found |= {name: [encoder.get_submodule(path)] for path, name in targets.items()}
    return found


def _inside(model: nn.Module, blocks: tuple[str, ...], kinds: type | object) -> list[str]:
    return [
        f"{outer}.{inner}"
        for outer, block in model.named_modules()
        if type(block).__name__ in blocks
        for inner, module in block.named_modules()
        if isinstance(module, kinds)  # type: ignore[arg-type]
    ]


def _joined(prefix: str, path: str) -> str:
    return prefix + path.replace(".", "_")


def _original(unet: nn.Module, path: str) -> str:
    """The path of a module in the original code's U-Net: levels of resnets, counted through, that end in a sampler."""
    side, *parts = path.split(".")
    if side == "mid_block":
        kind, index, *inner = parts
        return _block(
            "middle_block.1" if kind == "attentions" else f"middle_block.{2 * int(index)}", kind, inner
        )
    level, kind, index, *inner = parts
    per_level = int(unet.config.layers_per_block) + 1  # type: ignore[union-attr, arg-type]
    first = int(level) * per_level
    if kind == "downsamplers":
        return f"input_blocks.{first + per_level}.0.op"
    if kind == "upsamplers":
        attends = hasattr(unet.get_submodule(f"up_blocks.{level}"), "attentions")
        return f"output_blocks.{first + per_level - 1}.{2 if attends else 1}.conv"
    number = first + int(index) + (side == "down_blocks")
    place = f"{'input' if side == 'down_blocks' else 'output'}_blocks.{number}.{int(kind == 'attentions')}"
    return _block(place, kind, inner)


def _block(place: str, kind: str, inner: list[str]) -> str:
    return f"{place}.{_INSIDE_A_RESNET[inner[0]]}" if kind == "resnets" else ".".join((place, *inner))
