"""The same LoRA at another rank: each module's change, as near as that rank allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from backend.errors import InvalidArgument
from backend.tools.decompose import Method, choose, decompose
from backend.tools.lora import Lora, Module, ranks_as_text


@dataclass(frozen=True, slots=True)
class Wanted:
    """`rank` is the rank, or with a dynamic method the most; `conv_rank` that of 3×3 convolutions, None: the same."""

    rank: int
    conv_rank: int | None = None
    method: Method = "fixed"
    parameter: float = 0.0

    def check(self) -> None:
        """Raises InvalidArgument where no rank could be chosen by it."""
        for name, rank in (("rank", self.rank), ("conv_rank", self.conv_rank or 1)):
            if rank < 1:
                raise InvalidArgument(name, f"is {rank}; a rank is 1 or more")
        if self.method == "sv_ratio" and self.parameter < 2:
            raise InvalidArgument("parameter", f"is {self.parameter:g}; sv_ratio takes 2 or more")
        if self.method in ("sv_fro", "sv_cumulative") and not 0 < self.parameter <= 1:
            raise InvalidArgument("parameter", f"is {self.parameter:g}; {self.method} takes a share, 0 to 1")

    def text(self) -> str:
        """In words, for the metadata."""
        most = f"{self.rank}" + (f", convolutions {self.conv_rank}" if self.conv_rank else "")
        return most if self.method == "fixed" else f"at most {most}, {self.method} {self.parameter:g}"


@dataclass(frozen=True, slots=True)
class Resized:
    """A module's new factors, and the share of its norm that they keep."""

    module: Module
    kept: float


def resize_module(module: Module, wanted: Wanted) -> Resized:
    """A module at the wanted rank; its scale stays."""
    found = decompose(module.up.flatten(1), module.down.flatten(1))
    most = wanted.conv_rank or wanted.rank if module.is_conv else wanted.rank
    # A larger rank is asked for to be merged with others: it is filled with nothing.
    rank = most if wanted.method == "fixed" else choose(found.values, wanted.method, wanted.parameter, most)
    held = min(rank, len(found.values))
    up, down = found.factors(held)
    new_up = up.new_zeros(up.shape[0], rank)
    new_down = down.new_zeros(rank, down.shape[1])
    new_up[:, :held], new_down[:held] = up, down
    return Resized(
        Module(
            new_up.reshape(up.shape[0], rank, *module.up.shape[2:]),
            new_down.reshape(rank, *module.down.shape[1:]),
            module.scale * rank,
        ),
        found.kept(held),
    )


def resize(
    lora: Lora, wanted: Wanted, on_module: Callable[[int, int, str, Resized], None]
) -> tuple[dict[str, Module], dict[str, str]]:
    """All modules at the wanted rank, and the metadata of the new file. `on_module(done, total, name, resized)`.

    Raises:
        InvalidArgument: see `Wanted.check`.
    """
    wanted.check()
    modules: dict[str, Module] = {}
    for number, (name, module) in enumerate(lora.modules.items(), start=1):
        resized = resize_module(module, wanted)
        modules[name] = resized.module
        on_module(number, len(lora.modules), name, resized)
    dim, alpha = ranks_as_text(modules)
    before = lora.metadata.get("ss_network_dim", "?")
    comment = f"resized from rank {before} to {wanted.text()}"
    kept = lora.metadata.get("ss_training_comment", "None")
    return modules, {
        **_without_hashes(lora.metadata),
        "ss_network_dim": dim,
        "ss_network_alpha": alpha,
        "ss_training_comment": comment if kept in ("", "None") else f"{comment}; {kept}",
    }


def _without_hashes(metadata: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if not key.startswith("sshs_")}
