"""Which module of a model a key of a LoRA file means. Pure.

Three ways of naming are in use. kohya's: `lora_unet_` and the module's path with underscores for dots, `lora_te_`
(`lora_te1_`, `lora_te2_`) for text encoders. The same with the names of the original U-Net (`input_blocks_4_1_…`), in
files for SDXL. And diffusers' own: `unet.` and the path as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PARTS = {
    "lora_te_": "text encoder",
    "lora_te1_": "text encoder 1",
    "lora_te2_": "text encoder 2",
    "lora_te3_": "T5",
    "lora_unet_": "U-Net",
}
"""How the names in a kohya file begin, and what they are of."""

SUFFIXES = (
    *("lora_down.weight", "lora_up.weight", "lora_mid.weight"),
    *("lora_A.weight", "lora_B.weight", "lora.down.weight", "lora.up.weight"),
    *("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
    *("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
    *("diff", "alpha", "scale", "dora_scale", "lora_magnitude_vector", "lora_magnitude_vector.weight"),
    *("diff_b", "bias", "w_norm", "b_norm"),
)
_SAME = {
    **{"lora_A.weight": "lora_down.weight", "lora.down.weight": "lora_down.weight"},
    **{"lora_B.weight": "lora_up.weight", "lora.up.weight": "lora_up.weight"},
    "lora_magnitude_vector.weight": "lora_magnitude_vector",
}
_BY_LENGTH = sorted(SUFFIXES, key=len, reverse=True)

_TEXT_PARTS = {"text_encoder": ("lora_te_", "lora_te1_"), "text_encoder_2": ("lora_te2_",)}
_IMAGE_PARTS = ("unet", "transformer")


@dataclass(frozen=True, slots=True)
class UnetShape:
    """How the blocks of a U-Net are counted in its original names."""

    layers_per_block: int


def split(key: str) -> tuple[str, str]:
    """Module name and kind of a key, the kind as kohya names it; ('…', '') when it is of no kind that is known."""
    for suffix in _BY_LENGTH:
        if key.endswith(f".{suffix}"):
            return key[: -len(suffix) - 1], _SAME.get(suffix, suffix)
    return key, ""


def table(modules: Mapping[str, Iterable[str]], unet: UnetShape | None) -> dict[str, tuple[str, str]]:
    """Every name that a file may have for a module: name -> (part of the pipeline, path in it).

    `modules` has the paths of the weights of each part (`unet`, `text_encoder`, …).
    """
    names: dict[str, tuple[str, str]] = {}
    for part, found in modules.items():
        for path in found:
            target = (part, path)
            plain = path.removeprefix("text_model.")
            names[f"{part}.{path}"] = target
            if part in _IMAGE_PARTS:
                names["lora_unet_" + path.replace(".", "_")] = target
                names["lora_transformer_" + path.replace(".", "_")] = target
            for prefix in _TEXT_PARTS.get(part, ()):
                names[f"{part}.text_model.{plain}"] = target
                names[f"{prefix}text_model_" + plain.replace(".", "_")] = target
                names[prefix + plain.replace(".", "_")] = target
    if unet is not None:
        flat = {path.replace(".", "_"): path for path in modules.get("unet", ())}
        for original, diffusers_name in _original_names(flat, unet).items():
            names.setdefault("lora_unet_" + original, ("unet", flat[diffusers_name]))
    return names


_RESNET = {
    "conv1": "in_layers_2",
    "conv2": "out_layers_3",
    "time_emb_proj": "emb_layers_1",
    "conv_shortcut": "skip_connection",
}
_OUTER = {
    "conv_in": "input_blocks_0_0",
    "conv_out": "out_2",
    "time_embedding_linear_1": "time_embed_0",
    "time_embedding_linear_2": "time_embed_2",
    "add_embedding_linear_1": "label_emb_0_0",
    "add_embedding_linear_2": "label_emb_0_2",
}
_BLOCK = re.compile(r"(down|up)_blocks_(\d+)_(resnets|attentions|downsamplers|upsamplers)_(\d+)_(.+)")
_MIDDLE = re.compile(r"mid_block_(resnets|attentions)_(\d+)_(.+)")


def _original_names(flat: Iterable[str], unet: UnetShape) -> dict[str, str]:
    """Original name -> diffusers' name, both with underscores.

    In the original, `input_blocks` counts the first convolution, then each layer of each block and the downsampler
    behind it; `output_blocks` each layer, whose upsampler is its last element.
    """
    names: dict[str, str] = {}
    all_names = set(flat)
    for name in all_names:
        if name in _OUTER:
            names[_OUTER[name]] = name
        elif found := _MIDDLE.fullmatch(name):
            kind, index, rest = found.groups()
            place = 1 if kind == "attentions" else 2 * int(index)
            names[f"middle_block_{place}_{_inner(kind, rest)}"] = name
        elif found := _BLOCK.fullmatch(name):
            names[_in_block(found, unet, all_names)] = name
    return names


def _in_block(found: re.Match[str], unet: UnetShape, all_names: set[str]) -> str:
    direction, block, kind, index, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    layers = unet.layers_per_block
    if direction == "down":
        if kind == "downsamplers":
            return f"input_blocks_{(block + 1) * (layers + 1)}_0_op"
        place = 1 + block * (layers + 1) + index
        return f"input_blocks_{place}_{int(kind == 'attentions')}_{_inner(kind, rest)}"
    if kind == "upsamplers":
        attends = any(name.startswith(f"up_blocks_{block}_attentions_") for name in all_names)
        return f"output_blocks_{block * (layers + 1) + layers}_{1 + attends}_conv"
    place = block * (layers + 1) + index
    return f"output_blocks_{place}_{int(kind == 'attentions')}_{_inner(kind, rest)}"


def _inner(kind: str, rest: str) -> str:
    return _RESNET.get(rest, rest) if kind == "resnets" else rest
