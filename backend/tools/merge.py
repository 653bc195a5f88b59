"""Several LoRAs as one that changes a model as all of them together do, each with its ratio.

Exact by putting the factors side by side: [r₁s₁·up₁ r₂s₂·up₂] · [down₁; down₂] is the sum of the products, at the sum
of the ranks. With a rank asked for, the sum is then brought down to it as near as it can be. (Adding the factors
themselves, as is often done, gives another change: the product of sums is not the sum of products.)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import torch

from backend.errors import InvalidArgument
from backend.tools.lora import Lora, Module, ranks_as_text
from backend.tools.resize import Resized, Wanted, resize_module

_SHARED = ("ss_base_model_version", "ss_v2", "ss_sd_model_name")


def merge(
    loras: Sequence[tuple[Lora, float]],
    wanted: Wanted | None,
    on_module: Callable[[int, int, str, Resized], None],
) -> tuple[dict[str, Module], dict[str, str]]:
    """The merged modules and the metadata of the file. `on_module(done, total, name, resized)`.

    Raises:
        InvalidArgument: they are not made for models of one kind.
    """
    if wanted is not None:
        wanted.check()
    names = list(dict.fromkeys(name for lora, _ in loras for name in lora.modules))
    modules: dict[str, Module] = {}
    for number, name in enumerate(names, start=1):
        parts = [(lora, lora.modules[name], ratio) for lora, ratio in loras if name in lora.modules]
        merged = Resized(_side_by_side(name, parts), 1.0)
        if wanted is not None:
            merged = resize_module(merged.module, wanted)
        modules[name] = merged.module
        on_module(number, len(names), name, merged)
    return modules, _metadata([lora for lora, _ in loras], [ratio for _, ratio in loras], modules)


def _side_by_side(name: str, parts: Sequence[tuple[Lora, Module, float]]) -> Module:
    first = parts[0][1]
    for lora, module, _ in parts[1:]:
        if (module.up.shape[0], module.down.shape[1:]) != (first.up.shape[0], first.down.shape[1:]):
            raise InvalidArgument(
                "loras",
                f"{parts[0][0].name} and {lora.name} are for models of different shapes ({name}); nothing was written",
            )
    # The share of a factor goes to both sides, so that neither outgrows half precision.
    weights = [abs(module.scale * ratio) ** 0.5 for _, module, ratio in parts]
    signs = [-1.0 if module.scale * ratio < 0 else 1.0 for _, module, ratio in parts]
    up = torch.cat([m.up * w * s for (_, m, _), w, s in zip(parts, weights, signs, strict=True)], dim=1)
    down = torch.cat([m.down * w for (_, m, _), w in zip(parts, weights, strict=True)], dim=0)
    return Module(up, down, float(down.shape[0]))


def _metadata(loras: Sequence[Lora], ratios: Sequence[float], modules: dict[str, Module]) -> dict[str, str]:
    """What all agree on stays; what was trained on is not passed off as this file's own training."""
    metadata: dict[str, str] = {}
    for key in _SHARED:
        said = {lora.metadata[key] for lora in loras if key in lora.metadata}
        if len(said) > 1 and key != "ss_sd_model_name":
            raise InvalidArgument(
                "loras",
                f"they are for different base models ({' and '.join(sorted(said))}); nothing was written",
            )
        if len(said) == 1:
            metadata[key] = said.pop()
    dim, alpha = ranks_as_text(modules)
    recipe = ", ".join(f"{lora.name} × {ratio:g}" for lora, ratio in zip(loras, ratios, strict=True))
    conv = next((m for m in modules.values() if m.is_conv), None)
    args = {} if conv is None else {"conv_dim": str(conv.rank), "conv_alpha": f"{conv.alpha:g}"}
    return metadata | {
        "ss_network_module": "networks.lora",
        "ss_network_dim": dim,
        "ss_network_alpha": alpha,
        "ss_network_args": json.dumps(args),
        "ss_training_comment": f"merged: {recipe}",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": _first(loras, "modelspec.architecture", "stable-diffusion-v1/lora"),
        "modelspec.merged_from": recipe,
    }


def _first(loras: Sequence[Lora], key: str, default: str) -> str:
    return next((lora.metadata[key] for lora in loras if key in lora.metadata), default)
