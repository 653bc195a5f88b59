"""FLUX's modules by their original names, and where diffusers keeps each. No torch.

The original fuses what reads the same input: query, key and value of a stream, in single blocks with the first layer of
the MLP. diffusers has them apart. A fused weight is the parts' weights one below the other, in the order given here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

DOUBLE, SINGLE = "double_blocks", "single_blocks"

_DOUBLE = {
    "img_mod.lin": ("norm1.linear",),
    "txt_mod.lin": ("norm1_context.linear",),
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "img_attn.proj": ("attn.to_out.0",),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "txt_attn.proj": ("attn.to_add_out",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
}
_SINGLE = {
    "modulation.lin": ("norm.linear",),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
}
_INPUT = {
    "img_in": ("x_embedder",),
    "time_in.in_layer": ("time_text_embed.timestep_embedder.linear_1",),
    "time_in.out_layer": ("time_text_embed.timestep_embedder.linear_2",),
    "vector_in.in_layer": ("time_text_embed.text_embedder.linear_1",),
    "vector_in.out_layer": ("time_text_embed.text_embedder.linear_2",),
    "guidance_in.in_layer": ("time_text_embed.guidance_embedder.linear_1",),
    "guidance_in.out_layer": ("time_text_embed.guidance_embedder.linear_2",),
    "txt_in": ("context_embedder",),
}
_NORMS = {
    f"{DOUBLE}.{{}}.img_attn.norm.query_norm": "transformer_blocks.{}.attn.norm_q",
    f"{DOUBLE}.{{}}.img_attn.norm.key_norm": "transformer_blocks.{}.attn.norm_k",
    f"{DOUBLE}.{{}}.txt_attn.norm.query_norm": "transformer_blocks.{}.attn.norm_added_q",
    f"{DOUBLE}.{{}}.txt_attn.norm.key_norm": "transformer_blocks.{}.attn.norm_added_k",
    f"{SINGLE}.{{}}.norm.query_norm": "single_transformer_blocks.{}.attn.norm_q",
    f"{SINGLE}.{{}}.norm.key_norm": "single_transformer_blocks.{}.attn.norm_k",
}
INPUT_LAYERS = ("img_in", "time_in", "vector_in", "guidance_in", "txt_in")
"""The layers before the blocks, in the order of `in_dims`."""


@dataclass(frozen=True, slots=True)
class Module:
    """A Linear of the original: its name there, the block it is in, and the paths of its parts in diffusers.

    `kind` is its name within a block, or that of the input layer; `block` is (kind of block, number), None outside.
    """

    name: str
    kind: str
    block: tuple[str, int] | None
    paths: tuple[str, ...]


def file_name(module: Module) -> str:
    """What a module is called in a LoRA file."""
    return "lora_unet_" + module.name.replace(".", "_")


def modules(doubles: int, singles: int, *, guided: bool) -> Iterator[Module]:
    """Every Linear but those of the last layer, blocks first; `guided` models have a guidance embedding."""
    sides = ((DOUBLE, doubles, "transformer_blocks", _DOUBLE),)
    for side, count, theirs, inner in (*sides, (SINGLE, singles, "single_transformer_blocks", _SINGLE)):
        for index in range(count):
            for kind, paths in inner.items():
                yield Module(
                    f"{side}.{index}.{kind}",
                    kind,
                    (side, index),
                    tuple(f"{theirs}.{index}.{path}" for path in paths),
                )
    for name, paths in _INPUT.items():
        kind = name.partition(".")[0]
        if guided or kind != "guidance_in":
            yield Module(name, kind, None, paths)


def norms(doubles: int, singles: int) -> Iterator[tuple[str, str]]:
    """The normalisations of queries and keys: original name, and path in diffusers."""
    for original, path in _NORMS.items():
        for index in range(doubles if original.startswith(DOUBLE) else singles):
            yield original.format(index), path.format(index)
