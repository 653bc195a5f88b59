"""A kohya LoRA file as modules of factors, and writing one with metadata and hashes that other programs recompute.

A module's change of its weight is (alpha / rank) · up · down; for a convolution, `down` has the kernel and `up` is 1×1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from backend.errors import InvalidInput
from backend.training import lora_file

UP, DOWN, ALPHA = "lora_up.weight", "lora_down.weight", "alpha"
_OTHER_KINDS = {
    "hada_": "a LoHa",
    "lokr_": "a LoKr",
    "lora_mid.": "a LoRA with Tucker cores",
    "dora_scale": "a DoRA",
    "oft_": "an OFT",
}


@dataclass(frozen=True, slots=True)
class Module:
    """The factors of one module, float32.

    `up` is (out, rank, 1…), `down` (rank, in, kernel…); without an alpha in the file it is the rank.
    """

    up: Tensor
    down: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])

    @property
    def scale(self) -> float:
        """What the product is multiplied with: alpha / rank."""
        return self.alpha / self.rank

    @property
    def is_conv(self) -> bool:
        """Whether it changes a convolution with a kernel larger than one pixel."""
        return self.down.dim() == 4 and self.down.shape[-1] > 1

    def delta(self) -> Tensor:
        """The change of the weight, (out, in · kernel)."""
        return self.scale * self.up.flatten(1) @ self.down.flatten(1)


@dataclass(frozen=True, slots=True)
class Lora:
    """A file's modules by name, what it says about itself, and the type that most of its numbers have."""

    name: str
    modules: Mapping[str, Module]
    metadata: Mapping[str, str]
    dtype: torch.dtype


def read(path: Path) -> Lora:
    """A LoRA file as kohya, sd-scripts and the built-in trainer write it.

    Raises:
        InvalidInput: it cannot be read, is of another kind, or is not whole.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InvalidInput(
            f"{path.name} is no whole safetensors file ({error}). Nothing was written."
        ) from None
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        module, _, kind = key.partition(".")
        if kind not in (UP, DOWN, ALPHA):
            raise InvalidInput(
                f"{path.name} is {_kind_of(key)}; this takes LoRAs and LoCons. Nothing was written."
            )
        found.setdefault(module, {})[kind] = tensor
    if not found:
        raise InvalidInput(f"{path.name} is empty. Nothing was written.")
    modules = {name: _module(path.name, name, parts) for name, parts in found.items()}
    dtype = next(tensor.dtype for key, tensor in tensors.items() if key.endswith(UP))
    return Lora(path.stem, modules, metadata, dtype)


def write(path: Path, modules: Mapping[str, Module], metadata: Mapping[str, str], dtype: torch.dtype) -> str:
    """Write a file with its hashes; the model hash.

    Raises:
        OSError: it cannot be written; nothing is left half.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors[f"{name}.{DOWN}"] = module.down.to(dtype).contiguous()
        tensors[f"{name}.{UP}"] = module.up.to(dtype).contiguous()
        tensors[f"{name}.{ALPHA}"] = torch.tensor(module.alpha, dtype=dtype)
    return lora_file.write(path, tensors, metadata)


def ranks_as_text(modules: Mapping[str, Module]) -> tuple[str, str]:
    """`ss_network_dim` and `ss_network_alpha` of these modules: a number, or `Dynamic` where they differ."""
    ranks = {module.rank for module in modules.values() if not module.is_conv} or {
        module.rank for module in modules.values()
    }
    alphas = {module.alpha for module in modules.values() if not module.is_conv} or {
        module.alpha for module in modules.values()
    }
    return (
        str(ranks.pop()) if len(ranks) == 1 else "Dynamic",
        f"{alphas.pop():g}" if len(alphas) == 1 else "Dynamic",
    )


def _module(file: str, name: str, parts: Mapping[str, Tensor]) -> Module:
    if UP not in parts or DOWN not in parts:
        raise InvalidInput(f"{file} is not whole: of {name[:100]} it has only {', '.join(parts)}.")
    up, down = parts[UP].float(), parts[DOWN].float()
    if up.dim() < 2 or down.dim() < 2 or up.shape[1] != down.shape[0] or up[0, 0].numel() != 1:
        raise InvalidInput(f"{file} is broken: the factors of {name[:100]} do not fit together.")
    return Module(up, down, float(parts[ALPHA]) if ALPHA in parts else float(down.shape[0]))


def _kind_of(key: str) -> str:
    return next(
        (kind for mark, kind in _OTHER_KINDS.items() if mark in key), f"no LoRA (it holds {key[:100]!r})"
    )
