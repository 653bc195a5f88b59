"""The change of a weight that a LoRA file stands for: LoRA, LoCon, LoHa, LoKr and full differences.

    LoRA, LoCon   (alpha / rank) up · down; for a convolution with a core (`lora_mid`): up · core · down
    LoHa          (alpha / rank) (w1_a · w1_b) ∘ (w2_a · w2_b)                 FedPara, arXiv:2108.06098
    LoKr          w1 ⊗ w2, each whole or a product; alpha / rank unless both are whole    arXiv:2309.14859
    diff          the difference itself
    DoRA          m (W + change) / |W + change| - W, for any of them: the norms of W's rows (or columns) are the file's
                  own, m                                                          arXiv:2402.09353

The factors are kept, not the product: they are small, and multiplying them out takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from backend.errors import InvalidArgument
from backend.inference import lora_names

_UNKNOWN = {
    **{"w_norm": "trained norms", "b_norm": "trained norms", "diff_b": "trained biases", "bias": "biases"},
}


class WrongShape(ValueError):
    """What a file has for a module is whole, and for another weight than the model's."""


@dataclass(frozen=True, slots=True)
class Factors:
    """What a file has for one module, by kind (`lora_up.weight`, `hada_w1_a`, …), float32."""

    parts: Mapping[str, Tensor]

    def delta(self, base: Tensor) -> Tensor:
        """The change of a weight whose original values are `base`, float32.

        Raises:
            WrongShape: the factors make another shape.
            ValueError, RuntimeError, IndexError, ZeroDivisionError: they do not fit each other.
        """
        change = self._change(base.shape)
        return _decomposed(change, base, self.parts) if _MAGNITUDES & self.parts.keys() else change

    def _change(self, shape: torch.Size) -> Tensor:
        parts = self.parts
        if "diff" in parts:
            change = parts["diff"]
        elif "lora_up.weight" in parts:
            change = self._scale(parts["lora_down.weight"].shape[0]) * _lora(parts)
        elif "hada_w1_a" in parts:
            change = self._scale(parts["hada_w1_b"].shape[0]) * _loha(parts)
        else:
            change = self._kronecker_scale() * _lokr(parts)
        if change.numel() != shape.numel() or (change.dim() > 1 and change.shape[0] != shape[0]):
            raise WrongShape(
                f"it changes a weight of {_shown(change.shape)}, the model's has {_shown(shape)}"
            )
        return change.reshape(shape)

    def _scale(self, rank: int) -> float:
        alpha = self.parts.get("alpha")
        return 1.0 if alpha is None else float(alpha) / rank

    def _kronecker_scale(self) -> float:
        for name in ("lokr_w1_b", "lokr_w2_b"):
            if name in self.parts:
                return self._scale(self.parts[name].shape[0])
        return 1.0

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(part.numel() * part.element_size() for part in self.parts.values())


_MAGNITUDES = {"dora_scale", "lora_magnitude_vector"}

_COMPLETE = (
    {"diff"},
    {"lora_up.weight", "lora_down.weight"},
    {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"},
)


def _changes(parts: Mapping[str, Tensor]) -> int:
    """How many whole changes of its weight there are: one, in a file that is in order."""
    kinds = set(parts)
    first = "lokr_w1" in kinds or {"lokr_w1_a", "lokr_w1_b"} <= kinds
    second = "lokr_w2" in kinds or {"lokr_w2_a", "lokr_w2_b"} <= kinds
    return (first and second) + sum(needed <= kinds for needed in _COMPLETE)


def _lora(parts: Mapping[str, Tensor]) -> Tensor:
    up, down, core = parts["lora_up.weight"], parts["lora_down.weight"], parts.get("lora_mid.weight")
    if core is not None:
        return torch.einsum("op,pqkl,qi->oikl", up.flatten(1), core, down.flatten(1))
    return (up.flatten(1) @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])


def _loha(parts: Mapping[str, Tensor]) -> Tensor:
    halves = []
    for number in ("1", "2"):
        a, b, core = parts[f"hada_w{number}_a"], parts[f"hada_w{number}_b"], parts.get(f"hada_t{number}")
        halves.append(a @ b if core is None else _tucker(core, a, b))
    return halves[0] * halves[1]


def _lokr(parts: Mapping[str, Tensor]) -> Tensor:
    first = parts["lokr_w1"] if "lokr_w1" in parts else parts["lokr_w1_a"] @ parts["lokr_w1_b"]
    if "lokr_w2" in parts:
        second = parts["lokr_w2"]
    elif "lokr_t2" in parts:
        second = _tucker(parts["lokr_t2"], parts["lokr_w2_a"], parts["lokr_w2_b"])
    else:
        second = parts["lokr_w2_a"] @ parts["lokr_w2_b"]
    first = first.reshape(*first.shape, *(1 for _ in range(second.dim() - first.dim())))
    return torch.kron(first, second.contiguous())


def _tucker(core: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """core (r, r, k, k), a (r, out), b (r, in) -> (out, in, k, k)."""
    return torch.einsum("pqkl,po,qi->oikl", core, a, b)


def _decomposed(change: Tensor, base: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
    """What DoRA changes. Its norms are of each output (peft's always are) or, (1, in, …) in a file, of each input."""
    weight = base.float()
    changed = weight + change
    magnitude = parts["dora_scale"] if "dora_scale" in parts else parts["lora_magnitude_vector"].flatten()
    along = 1 if magnitude.dim() > 1 and magnitude.shape[0] == 1 and magnitude.numel() > 1 else 0
    if magnitude.numel() != changed.shape[along]:
        raise WrongShape(
            f"it has {magnitude.numel()} norms for {changed.shape[along]} {('rows', 'columns')[along]}"
        )
    others = [axis for axis in range(changed.dim()) if axis != along]
    norm: Tensor = torch.linalg.vector_norm(changed, dim=others, keepdim=True)
    norm = norm.clamp_min(torch.finfo(norm.dtype).tiny)
    return changed * (magnitude.reshape(norm.shape) / norm) - weight


@dataclass(frozen=True, slots=True)
class LoraFile:
    """A file's factors by the names that it has for the modules; `base` is the model that it says it was trained on."""

    label: str
    modules: Mapping[str, Factors]
    base: str = ""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(factors.size for factors in self.modules.values())


def read(path: Path, field: str, device: torch.device, *, base: str = "") -> LoraFile:
    """A LoRA from its file.

    Raises:
        InvalidArgument: it cannot be read, is of a kind that is not known, is not whole, or is not finite.
    """
    try:
        tensors = load_file(path, device="cpu")
    except Exception:  # the library raises whatever its parser met
        raise InvalidArgument(field, f"{path.name} is no whole safetensors file; copy it again") from None
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        module, kind = lora_names.split(key)
        if not kind or kind in _UNKNOWN:
            what = _UNKNOWN.get(kind, f"the key {key[:100]!r}")
            raise InvalidArgument(
                field, f"{path.name} is no LoRA of a kind that can be applied: it holds {what}"
            )
        value = tensor.to(device, torch.float32)
        if not bool(torch.isfinite(value).all()):
            raise InvalidArgument(field, f"{path.name} holds values that are not finite, in {key[:100]}")
        found.setdefault(module, {})[kind] = value
    for module, parts in found.items():
        count = _changes(parts)
        if count != 1:
            what = "is not whole: of {} it has only {}" if not count else "is ambiguous: of {} it has {}"
            said = what.format(module[:100], ", ".join(sorted(parts)))
            raise InvalidArgument(field, f"{path.name} {said}")
    if not found:
        raise InvalidArgument(field, f"{path.name} is empty")
    return LoraFile(path.stem, {module: Factors(parts) for module, parts in found.items()}, base)


def _shown(shape: torch.Size) -> str:
    return "×".join(str(side) for side in shape)
