"""What may be named where sd-scripts imports whatever a parameter says: fixed lists, no import by name."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.errors import InvalidArgument
from backend.training.command_line import did_you_mean


@dataclass(frozen=True, slots=True)
class OptimizerKind:
    """An optimizer of the list: its name, the package it needs beside torch, the keywords `optimizer_args` may give."""

    name: str
    package: str | None
    keywords: frozenset[str]


_ADAM = frozenset({"betas", "eps", "weight_decay", "amsgrad"})
_ADAM_8BIT = frozenset({"betas", "eps", "weight_decay", "amsgrad", "min_8bit_size", "percentile_clipping"})
_LION = frozenset({"betas", "weight_decay"})
_SGD = frozenset({"momentum", "weight_decay", "dampening"})

_KINDS = (
    OptimizerKind("AdamW", None, _ADAM),
    OptimizerKind("AdamW8bit", "bitsandbytes", _ADAM_8BIT),
    OptimizerKind("PagedAdamW", "bitsandbytes", _ADAM_8BIT),
    OptimizerKind("PagedAdamW8bit", "bitsandbytes", _ADAM_8BIT),
    OptimizerKind("PagedAdamW32bit", "bitsandbytes", _ADAM_8BIT),
    OptimizerKind("Lion", None, _LION),
    OptimizerKind("Lion8bit", "bitsandbytes", _LION),
    OptimizerKind("PagedLion8bit", "bitsandbytes", _LION),
    OptimizerKind("SGDNesterov", None, _SGD),
    OptimizerKind("SGDNesterov8bit", "bitsandbytes", _SGD),
)
OPTIMIZERS = {kind.name.lower(): kind for kind in _KINDS}

LR_SCHEDULERS = (
    "constant",
    "constant_with_warmup",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "polynomial",
    "inverse_sqrt",
    "warmup_stable_decay",
)

NETWORK_MODULES = ("networks.lora",)
NETWORK_ARGS = frozenset({"rank_dropout", "module_dropout"})


def optimizer(name: str) -> OptimizerKind:
    """The optimizer of that name, in any capitals.

    Raises:
        InvalidArgument: it is not on the list.
    """
    found = OPTIMIZERS.get(name.lower())
    if found is None:
        raise InvalidArgument(
            "optimizer_type",
            f"{name!r} is not an optimizer of the built-in trainer{did_you_mean(name.lower(), OPTIMIZERS)}"
            f"; it has {', '.join(kind.name for kind in _KINDS)}",
        )
    return found


def member(field: str, name: str, names: Sequence[str]) -> str:
    """The name itself, when it is on the list.

    Raises:
        InvalidArgument: it is not.
    """
    if name not in names:
        raise InvalidArgument(
            field, f"{name!r} is not one that the built-in trainer has; it has {', '.join(names)}"
        )
    return name


def keywords(field: str, items: Sequence[str], names: frozenset[str], of: str) -> dict[str, Any]:
    """The `key=value` words of `optimizer_args` or `network_args` as Python literals.

    Raises:
        InvalidArgument: a word of another form, an unknown key, or a value that is no literal.
    """
    found: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise InvalidArgument(field, f"{item!r} is not of the form key=value")
        if key not in names:
            known = ", ".join(sorted(names))
            raise InvalidArgument(field, f"{of} takes no {key!r}{did_you_mean(key, names)}; it takes {known}")
        found[key] = _literal(field, key, text)
    return found


def _literal(field: str, key: str, text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise InvalidArgument(
            field, f"the value of {key}, {text!r}, is neither a number nor a list"
        ) from None
