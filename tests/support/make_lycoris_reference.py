"""Makes `tests/unit/inference/lycoris.safetensors`: modules of lycoris-lora with random values, and what it merges.

    pip install lycoris-lora==4.1.3 && python -m tests.support.make_lycoris_reference

For each case: the tensors of a file (`<case>/lora_up.weight` …), the weight before (`<case>/base`) and after
(`<case>/merged`). lycoris-lora is not needed to run the tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

TO = Path(__file__).parents[1] / "unit" / "inference" / "lycoris.safetensors"
RANK, ALPHA = 2, 1.0


def main() -> None:
    """Write the file."""
    from lycoris.modules.locon import LoConModule
    from lycoris.modules.loha import LohaModule
    from lycoris.modules.lokr import LokrModule

    torch.manual_seed(20)
    found: dict[str, Tensor] = {}
    layers = {
        "linear": lambda: nn.Linear(8, 12, bias=False),
        "conv": lambda: nn.Conv2d(8, 12, 2, bias=False),
        "conv1": lambda: nn.Conv2d(8, 12, 1, bias=False),
    }
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "locon": (LoConModule, {}),
        "loha": (LohaModule, {}),
        "lokr": (LokrModule, {"factor": 4}),
        "lokr whole": (LokrModule, {"factor": 4, "full_matrix": True}),
        "lokr both in parts": (LokrModule, {"factor": 4, "decompose_both": True}),
    }
    options: dict[str, dict[str, Any]] = {
        "": {},
        ", core": {"use_tucker": True},
        ", DoRA": {"weight_decompose": True},
        ", DoRA by inputs": {"weight_decompose": True, "wd_on_out": False},
    }
    for layer, make in layers.items():
        for kind, (module, own) in kinds.items():
            for option, more in options.items():
                if (layer == "conv1" and kind != "locon") or ("core" in option and layer != "conv"):
                    continue
                found |= _case(f"{kind}, {layer}{option}", module, make(), {**own, **more})
    save_file({key: value.contiguous() for key, value in found.items()}, TO)
    print(f"{TO}: {len(found)} tensors, {TO.stat().st_size} bytes")


@torch.no_grad()
def _case(name: str, kind: Any, layer: nn.Module, options: dict[str, Any]) -> dict[str, Tensor]:
    module = kind(name, layer, lora_dim=RANK, alpha=ALPHA, **options)
    for key, value in module.named_parameters():
        if key == "dora_scale":
            value.mul_(1 + 0.3 * torch.rand_like(value))
        elif "org_module" not in key and value.dim():
            value.copy_(torch.randn_like(value))
    merged = _merged(module, layer.weight)
    if isinstance(layer, nn.Linear):
        drawn = module(torch.eye(layer.in_features)).T
        assert torch.allclose(drawn, merged, atol=1e-5), f"{name} trains with other weights than it merges"
    file = {
        f"{name}/{key}": torch.as_tensor(value).detach().clone()
        for key, value in module.custom_state_dict().items()
    }
    return {**file, f"{name}/base": layer.weight.detach().clone(), f"{name}/merged": merged.detach().clone()}


def _merged(module: Any, base: Tensor) -> Tensor:
    """What it trains with; LoHa's `get_merged_weight` multiplies by alpha / rank twice in 4.1.3, its forward once."""
    if not hasattr(module, "hada_w1_a"):
        return module.get_merged_weight(multiplier=1, shape=base.shape)[0]
    merged = base + module.get_weight(base.shape)
    return module.apply_weight_decompose(merged) if module.wd else merged


if __name__ == "__main__":
    main()
