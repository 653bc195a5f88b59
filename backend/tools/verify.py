"""Whether a LoRA file is whole, finite and what it says it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backend.errors import InvalidInput
from backend.inference.lora_names import PARTS
from backend.tools.lora import Lora, ranks_as_text, read
from backend.training.lora_file import model_hash_of


@dataclass(frozen=True, slots=True)
class Verified:
    """What is in a file. `faults` is empty when it is good; `norms` are those of the changes, smallest first."""

    name: str
    parts: Mapping[str, int]
    rank: str
    alpha: str
    dtype: str
    norms: tuple[tuple[float, str], ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """For people."""
        modules = ", ".join(f"{count} of the {part}" for part, count in self.parts.items())
        lines = [f"{self.name}: rank {self.rank}, alpha {self.alpha}, {self.dtype}; modules: {modules}"]
        if self.norms:
            (low, first), (high, last) = self.norms[0], self.norms[-1]
            middle = self.norms[len(self.norms) // 2][0]
            lines.append(
                f"norms of the changes: {low:.4g} ({first}), half below {middle:.4g}, {high:.4g} ({last})"
            )
        return [*lines, *self.notes, *(f"fault: {fault}" for fault in self.faults)]


def verify(path: Path) -> Verified:
    """Look at a file, all of it.

    Raises:
        InvalidInput: it cannot be read as a LoRA at all.
    """
    lora = read(path)
    norms = sorted((float(module.delta().norm()), name) for name, module in lora.modules.items())
    dim, alpha = ranks_as_text(lora.modules)
    parts = {
        part: count
        for prefix, part in PARTS.items()
        if (count := sum(name.startswith(prefix) for name in lora.modules))
    }
    return Verified(
        path.name,
        parts,
        dim,
        alpha,
        str(lora.dtype).removeprefix("torch."),
        tuple(norms),
        tuple(_faults(path, lora, norms)),
        tuple(_notes(path, lora, norms, dim)),
    )


def _faults(path: Path, lora: Lora, norms: list[tuple[float, str]]) -> list[str]:
    faults = [f"{name} holds NaN or infinite values" for norm, name in norms if not math.isfinite(norm)]
    recorded = lora.metadata.get("sshs_model_hash")
    if recorded is not None and recorded != model_hash_of(path):
        faults.append("its numbers are not those that its hash was made of; copy it again")
    if norms and norms[-1][0] == 0.0:
        faults.append("it changes nothing: every module is zero")
    return faults


def _notes(path: Path, lora: Lora, norms: list[tuple[float, str]], dim: str) -> list[str]:
    notes = []
    notes.append(
        "its hash is right" if "sshs_model_hash" in lora.metadata else "it records no hash of its numbers"
    )
    said = lora.metadata.get("ss_network_dim", dim)
    if said != dim:
        notes.append(f"note: its metadata say rank {said}, its numbers {dim}")
    zero = sum(norm == 0.0 for norm, _ in norms)
    if 0 < zero < len(norms):
        notes.append(f"note: {zero} of {len(norms)} modules change nothing")
    return notes


def good(path: Path) -> Verified:
    """As `verify`; raises InvalidInput when there is a fault."""
    found = verify(path)
    if found.faults:
        raise InvalidInput(f"{path.name}: {'; '.join(found.faults[:3])}.")
    return found
