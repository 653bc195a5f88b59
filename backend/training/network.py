"""The LoRA itself: which modules get one, its weights under kohya's names, its dropouts and norms.

peft puts the adapters into the models. A file keeps `lora_down.weight`, `lora_up.weight` and `alpha` of each adapted
module, under the names of `lora_names`; the scale is alpha / rank.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from backend.errors import InvalidArgument
from backend.training.adapter import NO_DROPOUTS, Adapter, Dropouts, adapted
from backend.training.flux import network as flux
from backend.training.flux.ranks import Ranks
from backend.training.lora_names import text_prefix, text_targets, unet_targets

_ADAPTER = "lora"
Halves: TypeAlias = tuple[list[nn.Parameter], list[nn.Parameter]]
"""Down and up weights."""


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """Rank, alpha and dropouts; with `conv_dim` the larger convolutions get a LoRA too, of their own rank and alpha.

    With `ranks` it is one for FLUX, whose modules have ranks of their own.
    """

    dim: int
    alpha: float
    dropouts: Dropouts = NO_DROPOUTS
    conv_dim: int | None = None
    conv_alpha: float = 1.0
    ranks: Ranks | None = None


class LoraNetwork:
    """The adapters in a U-Net or transformer (None: no part in the LoRA) and in the text encoders that have a part.

    The adapters' weights are of `dtype`, whatever that of the models is. `encoders` are the first of `of_encoders`.
    """

    def __init__(
        self,
        unet: nn.Module | None,
        encoders: Sequence[nn.Module],
        shape: NetworkShape,
        dtype: torch.dtype = torch.float32,
        *,
        of_encoders: int = 0,
    ) -> None:
        self.shape = shape
        self._dtype = dtype
        count = max(of_encoders, len(encoders))
        self._parts = [
            self._adapt(encoder, text_targets(encoder, text_prefix(index, count)))
            for index, encoder in enumerate(encoders)
        ]
        self._unet_part = {} if unet is None else self._adapt_unet(unet)
        self._adapters = {
            name: adapter for part in (*self._parts, self._unet_part) for name, adapter in part.items()
        }

    def _adapt_unet(self, unet: nn.Module) -> dict[str, Adapter]:
        shape = self.shape
        if shape.ranks is not None:
            return flux.adapt(unet, shape.ranks, shape.alpha, shape.dropouts, self._dtype)
        return self._adapt(unet, unet_targets(unet, with_convolutions=shape.conv_dim is not None))

    def _adapt(self, model: nn.Module, targets: dict[str, str]) -> dict[str, Adapter]:
        """Adapters into the modules of these paths, by the names that these have."""
        pattern = "|".join(re.escape(target) for target in targets)
        config = LoraConfig(r=self.shape.dim, lora_alpha=self.shape.alpha, target_modules=f"(?:{pattern})")
        if self.shape.conv_dim is not None:
            large = [re.escape(path) for path in targets if _is_large(model.get_submodule(path))]
            config.rank_pattern = dict.fromkeys(large, self.shape.conv_dim)
            config.alpha_pattern = dict.fromkeys(large, self.shape.conv_alpha)
        inject_adapter_in_model(config, model, adapter_name=_ADAPTER)
        adapters = {}
        for path, module in model.named_modules():
            if isinstance(module, LoraLayer):
                adapter = _adapter(module)
                down, up = adapter.down.to(self._dtype), adapter.up.to(self._dtype)
                module.forward = adapted(
                    module.get_base_layer(), down, up, adapter.scale, self.shape.dropouts
                )
                adapters[targets[path]] = adapter
        return adapters

    def __len__(self) -> int:
        """How many modules are adapted."""
        return len(self._adapters)

    @property
    def text_encoders(self) -> int:
        """How many text encoders have a part."""
        return len(self._parts)

    def unet_parameters(self) -> Halves:
        """The trainable down and up weights of the U-Net's part."""
        return _halves(self._unet_part)

    def text_parameters(self, index: int) -> Halves:
        """The same of one text encoder."""
        return _halves(self._parts[index])

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the file's tensors by their names."""
        shapes: dict[str, tuple[int, ...]] = {}
        for name, adapter in self._adapters.items():
            shapes[f"{name}.alpha"] = ()
            shapes[f"{name}.lora_down.weight"] = tuple(adapter.down.weight.shape)
            shapes[f"{name}.lora_up.weight"] = tuple(adapter.up.weight.shape)
        return shapes

    def state_dict(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """The tensors of the file, on the CPU and apart from the running ones."""
        tensors: dict[str, Tensor] = {}
        for name, adapter in self._adapters.items():
            tensors[f"{name}.alpha"] = torch.tensor(adapter.alpha, dtype=dtype)
            tensors[f"{name}.lora_down.weight"] = adapter.down.weight.detach().to("cpu", dtype, copy=True)
            tensors[f"{name}.lora_up.weight"] = adapter.up.weight.detach().to("cpu", dtype, copy=True)
        return tensors

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], field: str) -> None:
        """Take the weights of a file of the same shape.

        Raises:
            InvalidArgument: a module of the file does not exist here, is missing there, or has another rank.
        """
        modules = {key.split(".", 1)[0] for key in tensors}
        if modules != set(self._adapters):
            odd = sorted(modules ^ set(self._adapters))[0]
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
        for name, adapter in self._adapters.items():
            adapter.down.weight.copy_(tensors[f"{name}.lora_down.weight"])
            adapter.up.weight.copy_(tensors[f"{name}.lora_up.weight"])

    @torch.no_grad()
    def limit_norms(self, limit: float) -> tuple[int, float]:
        """Scale weights down so that no module's change has a norm over `limit`; how many were, and the mean norm."""
        norms, scaled = [], 0
        for adapter in self._adapters.values():
            down, up = adapter.down.weight, adapter.up.weight
            norm = float((up.flatten(1) @ down.flatten(1)).norm()) * adapter.scale
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


def _halves(adapters: Mapping[str, Adapter]) -> Halves:
    weights = [(adapter.down.weight, adapter.up.weight) for adapter in adapters.values()]
    return [cast(nn.Parameter, down) for down, _ in weights], [cast(nn.Parameter, up) for _, up in weights]


def _is_large(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)


def _adapter(layer: LoraLayer) -> Adapter:
    down, up = layer.lora_A[_ADAPTER], layer.lora_B[_ADAPTER]
    assert isinstance(down, nn.Linear | nn.Conv2d) and isinstance(up, nn.Linear | nn.Conv2d)
    return Adapter(down, up, float(layer.scaling[_ADAPTER]) * down.weight.shape[0])


def _size(shape: Sequence[int]) -> str:
    return "×".join(str(side) for side in shape) or "a number"
