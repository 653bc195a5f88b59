"""What may be named where sd-scripts imports whatever it is told: closed lists, and the package each name needs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from backend.errors import InvalidArgument
from kohya_adapter.fields import BY_KEY, FIELDS
from kohya_adapter.form import Form
from kohya_adapter.network import MODULES

SCHEDULER_CLASSES = frozenset(
    {
        "ConstantLR",
        "CosineAnnealingLR",
        "CosineAnnealingWarmRestarts",
        "ExponentialLR",
        "LinearLR",
        "MultiStepLR",
        "OneCycleLR",
        "PolynomialLR",
        "StepLR",
    }
)
"""Classes of `torch.optim.lr_scheduler` that `lr_scheduler_type` may name."""

OPTIMIZERS = frozenset(str(choice).lower() for choice in BY_KEY["optimizer"].choices) | {
    "ademamix8bit",
    "pagedademamix8bit",
    "pagedadamw",
}
"""Optimizers by name, in small letters: those of the form and three more that sd-scripts knows."""

_PACKAGES = (
    (re.compile(r".*8bit|paged.*|bitsandbytes\..*"), "bitsandbytes"),
    (re.compile(r"dadapt.*"), "dadaptation"),
    (re.compile(r"prodigy"), "prodigyopt"),
    (re.compile(r"prodigyplus\..*"), "prodigyplus"),
    (re.compile(r"pytorch_optimizer\..*"), "pytorch_optimizer"),
    (re.compile(r".*schedulefree"), "schedulefree"),
    (re.compile(r"lion"), "lion_pytorch"),
)

_PAIRS = re.compile(r"[A-Za-z_]\w*=\S+")


def optimizer_package(name: str) -> str | None:
    """The package, besides torch and transformers, that sd-scripts needs for an optimizer."""
    lowered = name.strip().lower()
    return next((package for pattern, package in _PACKAGES if pattern.fullmatch(lowered)), None)


def is_allowed_optimizer(name: str) -> bool:
    """Whether the optimizer is on the list; a class of any other package would run that package's code."""
    return name.strip().lower() in OPTIMIZERS


def is_allowed_scheduler_class(name: str) -> bool:
    """Whether the class is on the list, with or without its module."""
    return name.removeprefix("torch.optim.lr_scheduler.") in SCHEDULER_CLASSES


def is_pickle(path: str) -> bool:
    """Whether a file of this name is loaded by unpickling, which runs what it holds."""
    return path.lower().endswith((".ckpt", ".pt", ".pth", ".bin", ".pkl"))


def refusals(form: Form) -> Iterator[InvalidArgument]:
    """Every value of a form that would make the trainer run code that is not its own."""
    if form.text("LoRA_type") not in MODULES:
        yield InvalidArgument("LoRA_type", f"choose one of {', '.join(MODULES)}")
    if not is_allowed_optimizer(form.text("optimizer")):
        yield InvalidArgument(
            "optimizer", "is not on the list; a class of another package would run its code"
        )
    if form.text("lr_scheduler_type") and not is_allowed_scheduler_class(form.text("lr_scheduler_type")):
        yield InvalidArgument("lr_scheduler_type", f"choose one of {', '.join(sorted(SCHEDULER_CLASSES))}")
    for field in FIELDS:
        if field.format in ("file", "model") and is_pickle(form.text(field.key)):
            yield InvalidArgument(
                field.key, "this kind of file can run code when it is opened; use a .safetensors file"
            )


def are_pairs(form: Form, key: str) -> bool:
    """Whether a field holds `name=value` words only."""
    return all(_PAIRS.fullmatch(word) for word in form.text(key).replace('"', "").split())
