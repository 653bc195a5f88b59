"""The optimizers of the allow-list, made by name."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim import SGD, AdamW, Optimizer
from transformers.optimization import Adafactor

from backend.errors import InvalidArgument
from backend.training.lion import Lion
from backend.training.prodigy import DAdaptAdam, Prodigy
from backend.training.schedule_free import AdamWScheduleFree


def create(name: str, keywords: Mapping[str, Any], groups: Sequence[dict[str, Any]]) -> Optimizer:
    """The optimizer `name` of the allow-list over parameter groups that each have their learning rate, `lr`.

    Raises:
        InvalidArgument: `optimizer_args` has a value that the optimizer refuses.
    """
    try:
        if name == "AdamW":
            return AdamW(groups, **_fused(groups), **keywords)
        if name == "Lion":
            return Lion(groups, **keywords)
        if name == "Prodigy":
            return Prodigy(groups, **keywords)
        if name == "DAdaptAdam":
            return DAdaptAdam(groups, **keywords)
        if name == "AdamWScheduleFree":
            return AdamWScheduleFree(groups, **keywords)
        if name == "AdaFactor":
            return _adafactor(keywords, groups)
        if name == "SGDNesterov":
            return SGD(groups, **{"momentum": 0.9, "nesterov": True, **keywords})
        return _bitsandbytes(name, keywords, groups)
    except (TypeError, ValueError) as error:
        raise InvalidArgument("optimizer_args", f"{name} refuses them: {error}") from None


@contextmanager
def averaged(optimizer: Optimizer) -> Iterator[None]:
    """While this lasts the weights are those that are worth saving and drawing with, not those that are trained on."""
    if not isinstance(optimizer, AdamWScheduleFree):
        yield
        return
    optimizer.to_average()
    try:
        yield
    finally:
        optimizer.to_training()


def _adafactor(keywords: Mapping[str, Any], groups: Sequence[dict[str, Any]]) -> Optimizer:
    if keywords.get("relative_step", True) or keywords.get("warmup_init"):
        raise ValueError("learning rates come from the arguments here, so it wants relative_step=False")
    return _as_optimizer(Adafactor(groups, **keywords))


def _fused(groups: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One kernel for all parameters, where the device has it: many small matrices cost more in calls than in work."""
    kinds = {parameter.device.type for group in groups for parameter in group["params"]}
    return {"fused": True} if kinds <= {"cpu", "cuda"} else {}


def _bitsandbytes(name: str, keywords: Mapping[str, Any], groups: Sequence[dict[str, Any]]) -> Optimizer:
    library = importlib.import_module("bitsandbytes").optim
    if name == "SGDNesterov8bit":
        return _as_optimizer(library.SGD8bit(groups, **{"momentum": 0.9, "nesterov": True, **keywords}))
    return _as_optimizer(getattr(library, name)(groups, **keywords))


def _as_optimizer(made: Any) -> Optimizer:
    assert isinstance(made, torch.optim.Optimizer)
    return made
