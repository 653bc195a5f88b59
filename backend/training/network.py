"""The LoRA itself: which modules get one, its weights under kohya's names, its dropouts and norms.

peft puts the adapters into the models. A file names each adapted module `lora_unet_…` or `lora_te_…` with underscores
for dots, and keeps `lora_down.weight`, `lora_up.weight` and `alpha` of it; the scale is alpha / rank.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from backend.errors import InvalidArgument
from backend.training.adapter import NO_DROPOUTS, Dropouts, adapted

_ADAPTER = "lora"
_UNET, _TEXT = "lora_unet_", "lora_te_text_model_"


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """Rank, alpha and dropouts; with `conv_dim` the larger convolutions get a LoRA too, of their own rank and alpha."""

    dim: int
    alpha: float
    dropouts: Dropouts = NO_DROPOUTS
    conv_dim: int | None = None
    conv_alpha: float = 1.0


class LoraNetwork:
    """The adapters in a U-Net and a text encoder (either may be None: then it has no part in the LoRA)."""

    def __init__(self, unet: nn.Module | None, text_encoder: nn.Module | None, shape: NetworkShape) -> None:
        self.shape = shape
        self._layers: dict[str, nn.Module] = {}
        if text_encoder is not None:
            self._adapt(text_encoder, _text_targets(text_encoder), _TEXT)
        if unet is not None:
            self._adapt(unet, _unet_targets(unet, with_convolutions=shape.conv_dim is not None), _UNET)

    def _adapt(self, model: nn.Module, targets: list[str], prefix: str) -> None:
        pattern = "|".join(re.escape(target) for target in targets)
        config = LoraConfig(r=self.shape.dim, lora_alpha=self.shape.alpha, target_modules=f"(?:{pattern})")
        if self.shape.conv_dim is not None:
            large = [re.escape(name) for name in targets if _is_large(model.get_submodule(name))]
            config.rank_pattern = dict.fromkeys(large, self.shape.conv_dim)
            config.alpha_pattern = dict.fromkeys(large, self.shape.conv_alpha)
        inject_adapter_in_model(config, model, adapter_name=_ADAPTER)
        for name, module in model.named_modules():
            if isinstance(module, LoraLayer):
                down, up = _down(module).float(), _up(module).float()
                module.forward = adapted(
                    module.get_base_layer(), down, up, _scale(module), self.shape.dropouts
                )
                self._layers[prefix + _plain(name, prefix).replace(".", "_")] = module

    def __len__(self) -> int:
        """How many modules are adapted."""
        return len(self._layers)

    def parameters(self, part: str) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The trainable down and up weights of one part, `unet` or `text_encoder`."""
        prefix = _UNET if part == "unet" else _TEXT
        layers = [layer for name, layer in self._layers.items() if name.startswith(prefix)]
        down, up = ([cast(nn.Parameter, half(layer).weight) for layer in layers] for half in (_down, _up))
        return down, up

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the file's tensors by their names."""
        shapes: dict[str, tuple[int, ...]] = {}
        for name, layer in self._layers.items():
            shapes[f"{name}.alpha"] = ()
            shapes[f"{name}.lora_down.weight"] = tuple(_down(layer).weight.shape)
            shapes[f"{name}.lora_up.weight"] = tuple(_up(layer).weight.shape)
        return shapes

    def state_dict(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """The tensors of the file, on the CPU and apart from the running ones."""
        tensors: dict[str, Tensor] = {}
        for name, layer in self._layers.items():
            tensors[f"{name}.alpha"] = torch.tensor(_alpha(layer), dtype=dtype)
            tensors[f"{name}.lora_down.weight"] = _down(layer).weight.detach().to("cpu", dtype, copy=True)
            tensors[f"{name}.lora_up.weight"] = _up(layer).weight.detach().to("cpu", dtype, copy=True)
        return tensors

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], field: str) -> None:
        """Take the weights of a file of the same shape.

        Raises:
            InvalidArgument: a module of the file does not exist here, is missing there, or has another rank.
        """
        modules = {key.split(".", 1)[0] for key in tensors}
        if modules != set(self._layers):
            odd = sorted(modules ^ set(self._layers))[0]
            raise InvalidArgument(
                field, f"holds another set of modules than this run trains, for example {odd}"
            )
        for name, shape in self.shapes().items():
            given = tensors.get(name)
            if given is None or tuple(given.shape) != shape:
                there = "missing" if given is None else _size(given.shape)
                raise InvalidArgument(
                    field, f"{name} is {there} there and {_size(shape)} here; use the same rank"
                )
        for name, layer in self._layers.items():
            _down(layer).weight.copy_(tensors[f"{name}.lora_down.weight"])
            _up(layer).weight.copy_(tensors[f"{name}.lora_up.weight"])

    @torch.no_grad()
    def limit_norms(self, limit: float) -> tuple[int, float]:
        """Scale weights down so that no module's change has a norm over `limit`; how many were, and the mean norm."""
        norms, scaled = [], 0
        for layer in self._layers.values():
            down, up = _down(layer).weight, _up(layer).weight
            norm = float((up.flatten(1) @ down.flatten(1)).norm()) * _scale(layer)
            if norm > limit:
                ratio = (limit / norm) ** 0.5
                down.mul_(ratio)
                up.mul_(ratio)
                norm, scaled = limit, scaled + 1
            norms.append(norm)
        return scaled, sum(norms) / len(norms)


def shape_of_file(tensors: Mapping[str, Tensor]) -> NetworkShape:
    """Ranks and alphas of a LoRA file, from its first layer and its first larger convolution.

    Raises:
        InvalidArgument: the file holds no LoRA of kohya's kind.
    """
    found: dict[bool, tuple[int, float]] = {}
    for key, down in tensors.items():
        if key.endswith(".lora_down.weight"):
            alpha = tensors.get(key.replace(".lora_down.weight", ".alpha"))
            rank = int(down.shape[0])
            found.setdefault(
                down.dim() == 4 and down.shape[-1] > 1, (rank, rank if alpha is None else float(alpha))
            )
    if False not in found:
        raise InvalidArgument("network_weights", "holds no LoRA in kohya's format")
    conv_dim, conv_alpha = found.get(True, (None, 1.0))
    return NetworkShape(*found[False], conv_dim=conv_dim, conv_alpha=conv_alpha)


def _unet_targets(unet: nn.Module, *, with_convolutions: bool) -> list[str]:
    """Every Linear and 1×1 convolution inside the U-Net's transformers; or those and the larger ones around too."""
    blocks = (
        "Transformer2DModel",
        *(("ResnetBlock2D", "Downsample2D", "Upsample2D") if with_convolutions else ()),
    )
    return [
        f"{outer}.{inner}"
        for outer, block in unet.named_modules()
        if type(block).__name__ in blocks
        for inner, module in block.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]


def _text_targets(text_encoder: nn.Module) -> list[str]:
    """Every Linear inside CLIP's attention and MLP."""
    return [
        f"{outer}.{inner}"
        for outer, block in text_encoder.named_modules()
        if type(block).__name__ in ("CLIPAttention", "CLIPSdpaAttention", "CLIPMLP")
        for inner, module in block.named_modules()
        if isinstance(module, nn.Linear)
    ]


def _plain(name: str, prefix: str) -> str:
    """The module name as files have it: transformers 5 dropped the `text_model` level that they keep."""
    return name.removeprefix("text_model.") if prefix == _TEXT else name


def _is_large(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)


def _scale(layer: nn.Module) -> float:
    scaling = cast(dict[str, float], layer.scaling)
    return float(scaling[_ADAPTER])


def _alpha(layer: nn.Module) -> float:
    return _scale(layer) * _down(layer).weight.shape[0]


def _down(layer: nn.Module) -> nn.Linear | nn.Conv2d:
    module = layer.lora_A[_ADAPTER]  # type: ignore[index]
    assert isinstance(module, nn.Linear | nn.Conv2d)
    return module


def _up(layer: nn.Module) -> nn.Linear | nn.Conv2d:
    module = layer.lora_B[_ADAPTER]  # type: ignore[index]
    assert isinstance(module, nn.Linear | nn.Conv2d)
    return module


def _size(shape: Sequence[int]) -> str:
    return "×".join(str(side) for side in shape) or "a number"
