"""What may be named where sd-scripts imports whatever a parameter says: fixed lists, no import by name."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from backend.errors import InvalidArgument
from backend.training.command_line import did_you_mean
from backend.training.flux import ranks


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
_OWN_STEP_SIZE = frozenset(
    {"betas", "eps", "weight_decay", "decouple", "use_bias_correction", "d0", "growth_rate"}
)
_PRODIGY = _OWN_STEP_SIZE | {"beta3", "safeguard_warmup", "d_coef"}
_ADAFACTOR = frozenset(
    {
        "eps",
        "clip_threshold",
        "decay_rate",
        "beta1",
        "weight_decay",
        "scale_parameter",
        "relative_step",
        "warmup_init",
    }
)
_SCHEDULE_FREE = frozenset({"betas", "eps", "weight_decay", "warmup_steps", "r", "weight_lr_power"})

_KINDS = (
    OptimizerKind("AdamW", None, _ADAM),
    OptimizerKind("AdamW8bit", "bitsandbytes", _ADAM_8BIT),
    OptimizerKind("PagedAdamW", "bitsandbytes", _ADAM_8BIT),
    OptimizerKind("PagedAdamW8bit", "bitsandbytes", _ADAM_8BIT),
    OptimizerKind("PagedAdamW32bit", "bitsandbytes", _ADAM_8BIT),
    OptimizerKind("Lion", None, _LION),
    OptimizerKind("Lion8bit", "bitsandbytes", _LION),
    OptimizerKind("PagedLion8bit", "bitsandbytes", _LION),
    OptimizerKind("Prodigy", None, _PRODIGY),
    OptimizerKind("DAdaptAdam", None, _OWN_STEP_SIZE),
    OptimizerKind("AdaFactor", None, _ADAFACTOR),
    OptimizerKind("AdamWScheduleFree", None, _SCHEDULE_FREE),
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
    "piecewise_constant",
    "inverse_sqrt",
    "warmup_stable_decay",
)

FLUX_MODULE = "networks.lora_flux"
NETWORK_MODULES = ("networks.lora", FLUX_MODULE)
_COMMON_ARGS = frozenset(
    {
        *("rank_dropout", "module_dropout"),
        *("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio"),
    }
)
NETWORK_ARGS = {
    "networks.lora": _COMMON_ARGS | {"conv_dim", "conv_alpha"},
    FLUX_MODULE: _COMMON_ARGS | ranks.NUMBERS | ranks.TEXTS,
}
_WHOLE = ranks.NUMBERS | {"conv_dim"}
_REFUSED_ARGS = {
    "split_qkv": "query, key and value share one LoRA, as the file has it; leave it out",
    "train_t5xxl": "T5 stays as it is; leave it out, CLIP-L learns with text_encoder_lr",
    "ggpo_sigma": "GGPO is not built in; leave train_lora_ggpo off",
    "ggpo_beta": "GGPO is not built in; leave train_lora_ggpo off",
    "network_reg_dims": "ranks by pattern are not built in; img_attn_dim and its like give ranks by kind of module",
    "network_reg_lrs": "learning rates by pattern are not built in; leave it out",
}


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


def network_args(module: str, items: Sequence[str]) -> tuple[dict[str, float], dict[str, str]]:
    """The `network_args` of a module: those that are numbers, without what is None or 0, and those that are text.

    Raises:
        InvalidArgument: as `keywords`; or a value is no number from 0 on where one is wanted.
    """
    texts, others = {}, []
    for item in items:
        key, equals, text = item.partition("=")
        if equals and module == FLUX_MODULE and key in ranks.TEXTS:
            texts[key] = text
        elif module == FLUX_MODULE and key in _REFUSED_ARGS:
            if text not in ("False", "None", ""):
                raise InvalidArgument(
                    "network_args", f"{key} is not honoured by the built-in trainer: {_REFUSED_ARGS[key]}"
                )
        else:
            others.append(item)
    found = keywords("network_args", others, NETWORK_ARGS[module], module)
    for key, value in found.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and value >= 0):
            raise InvalidArgument("network_args", f"{key} is {value!r}; it wants a number")
        if key in _WHOLE and value and value != int(value):
            raise InvalidArgument("network_args", f"{key} is {value!r}; it wants a whole number")
    numbers = {
        key: float(value) for key, value in found.items() if value or (value == 0 and key in ranks.NUMBERS)
    }
    return numbers, texts


StepRules: TypeAlias = tuple[tuple[float, int | None], ...]
"""Factors of the learning rate, each with the step that it ends at; the last one lasts."""


def step_rules(scheduler: str, items: Sequence[str]) -> StepRules:
    """`lr_scheduler_args` of piecewise_constant, the one scheduler that has any: `step_rules=1:100,0.1:200,0.01`.

    Raises:
        InvalidArgument: it is missing there, is given to another scheduler, or is of another form.
    """
    field = "lr_scheduler_args"
    if scheduler != "piecewise_constant":
        if items:
            raise InvalidArgument(field, f"has nothing that {scheduler} takes; leave it out")
        return ()
    given = "".join(items).removeprefix("step_rules=").strip("'\"")
    *parts, last = given.split(",")
    try:
        pairs = [(float(factor), int(end)) for factor, end in (part.split(":") for part in parts)]
        rules: StepRules = (*pairs, (float(last), None))
    except ValueError:
        raise InvalidArgument(
            field,
            "of piecewise_constant wants factors and the steps they end at: step_rules=1:100,0.1:200,0.01",
        ) from None
    ends = [end for _, end in pairs]
    if ends != sorted(set(ends)) or min(factor for factor, _ in rules) < 0:
        raise InvalidArgument(field, "has steps that do not rise, or a factor below 0")
    return rules


def _literal(field: str, key: str, text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise InvalidArgument(
            field, f"the value of {key}, {text!r}, is neither a number nor a list"
        ) from None
