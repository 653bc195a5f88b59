"""Which modules of FLUX get a LoRA, and of which rank: the `network_args` of sd-scripts' `networks.lora_flux`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backend.errors import InvalidArgument
from backend.training.flux.names import DOUBLE, INPUT_LAYERS, SINGLE, Module, file_name

_FIELD = "network_args"
_RANKS = {
    "img_attn_dim": (DOUBLE, "img_attn."),
    "txt_attn_dim": (DOUBLE, "txt_attn."),
    "img_mlp_dim": (DOUBLE, "img_mlp."),
    "txt_mlp_dim": (DOUBLE, "txt_mlp."),
    "img_mod_dim": (DOUBLE, "img_mod."),
    "txt_mod_dim": (DOUBLE, "txt_mod."),
    "single_dim": (SINGLE, "linear"),
    "single_mod_dim": (SINGLE, "modulation."),
}
"""Arguments with a rank of its own for modules of a kind: the blocks they are in, and how their names begin there."""
NUMBERS = frozenset(_RANKS)
TEXTS = frozenset({"in_dims", "train_blocks", "train_double_block_indices", "train_single_block_indices"})
_BLOCKS = {"all": (DOUBLE, SINGLE), "double": (DOUBLE,), "single": (SINGLE,)}


@dataclass(frozen=True, slots=True)
class Ranks:
    """The rank of each module. Blocks that are not named in `chosen` are all trained; 0 leaves a module out.

    With `exact`, ranks by the names of a file, nothing else counts.
    """

    default: int
    by_kind: Mapping[str, int] = field(default_factory=dict)
    inputs: Mapping[str, int] = field(default_factory=dict)
    sides: tuple[str, ...] = (DOUBLE, SINGLE)
    chosen: Mapping[str, frozenset[int]] = field(default_factory=dict)
    exact: Mapping[str, int] | None = None

    def of(self, module: Module) -> int:
        """The rank of a module's LoRA, 0 for none."""
        if self.exact is not None:
            return self.exact.get(file_name(module), 0)
        if module.block is None:
            return self.inputs.get(module.kind, 0)
        side, index = module.block
        if side not in self.sides or index not in self.chosen.get(side, (index,)):
            return 0
        for name, (where, begin) in _RANKS.items():
            if where == side and module.kind.startswith(begin):
                return self.by_kind.get(name, self.default)
        return self.default


def of_file(shapes: Mapping[str, Sequence[int]]) -> Ranks:
    """The ranks that the modules of a LoRA file have, by the shapes of its tensors."""
    down = ".lora_down.weight"
    found = {name.removesuffix(down): shape[0] for name, shape in shapes.items() if name.endswith(down)}
    return Ranks(0, exact=found)


def read(
    dim: int, numbers: Mapping[str, float], texts: Mapping[str, str], *, doubles: int, singles: int
) -> Ranks:
    """The ranks that the arguments ask for, of a model with so many blocks.

    Raises:
        InvalidArgument: an argument is of another form, or names a block that the model does not have.
    """
    sides = _BLOCKS.get(texts.get("train_blocks", "all"))
    if sides is None:
        raise InvalidArgument(
            _FIELD, f"train_blocks is {texts['train_blocks']!r}; it can be all, double, single"
        )
    chosen = {}
    for side, name, count in (
        (DOUBLE, "train_double_block_indices", doubles),
        (SINGLE, "train_single_block_indices", singles),
    ):
        if name in texts:
            chosen[side] = _indices(name, texts[name], count)
    return Ranks(
        dim,
        {name: int(numbers[name]) for name in _RANKS if name in numbers},
        _inputs(texts.get("in_dims", "")),
        sides,
        chosen,
    )


def _inputs(text: str) -> dict[str, int]:
    parts = [part for part in text.strip("[] ").split(",") if part.strip()]
    if not parts:
        return {}
    if len(parts) != len(INPUT_LAYERS) or not all(part.strip().isdigit() for part in parts):
        raise InvalidArgument(_FIELD, f"in_dims is {text!r}; it wants five ranks, as 4,4,4,4,4, 0 for none")
    return dict(zip(INPUT_LAYERS, map(int, parts), strict=True))


def _indices(name: str, text: str, count: int) -> frozenset[int]:
    """The numbers of `all`, `none`, or `0-3,7`."""
    if text == "all":
        return frozenset(range(count))
    if text in ("none", ""):
        return frozenset()
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        ends = (first, last if dash else first)
        if not all(end.isdigit() and int(end) < count for end in ends) or int(ends[0]) > int(ends[1]):
            raise InvalidArgument(
                _FIELD, f"{name} has {part!r}; it wants block numbers from 0 to {count - 1}, as 0-3,7"
            )
        found |= set(range(int(ends[0]), int(ends[1]) + 1))
    return frozenset(found)
