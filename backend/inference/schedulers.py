"""Schedulers by the names that a query gives them, made from the configuration of the model's own."""

from __future__ import annotations

import inspect
from typing import Any

import diffusers

from backend.errors import InvalidArgument

_BY_NAME: dict[str, tuple[str, dict[str, Any], str]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False}, "DDIM"),
    "pndm": ("PNDMScheduler", {}, "PLMS"),
    "lms": ("LMSDiscreteScheduler", {}, "LMS"),
    "euler": ("EulerDiscreteScheduler", {}, "Euler"),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}, "Euler a"),
    "heun": ("HeunDiscreteScheduler", {}, "Heun"),
    "dpm_2": ("KDPM2DiscreteScheduler", {}, "DPM2"),
    "dpm_2_a": ("KDPM2AncestralDiscreteScheduler", {}, "DPM2 a"),
    "dpm++_2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}, "DPM++ 2M"),
    "dpm++_2m_karras": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True},
        "DPM++ 2M Karras",
    ),
    "dpm++_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, "DPM++ 2M SDE"),
    "unipc": ("UniPCMultistepScheduler", {}, "UniPC"),
}
"""Name -> class, what it is made with, and what AUTOMATIC1111's web UI calls it."""

_BY_CLASS = {cls: label for cls, _, label in reversed(_BY_NAME.values())}


def make(name: str, own: Any) -> Any:
    """A new scheduler; `own` is the model's.

    Raises:
        InvalidArgument: this one cannot draw with this model.
    """
    if name == "default":
        return type(own).from_config(own.config)
    cls_name, extra, _ = _BY_NAME[name]
    cls = getattr(diffusers, cls_name)
    known = inspect.signature(cls).parameters
    if "flow" in type(own).__name__.lower():
        raise InvalidArgument("scheduler", f"{name} cannot draw with a flow-matching model; use default")
    if own.config.get("rescale_betas_zero_snr") and "rescale_betas_zero_snr" not in known:
        fitting = [n for n, (c, _, _) in _BY_NAME.items() if _knows_zero_snr(c)]
        raise InvalidArgument(
            "scheduler",
            f"{name} cannot draw with this model, which begins at a signal of zero; use {', '.join(fitting)}",
        )
    return cls.from_config(own.config, **extra)


def label(name: str, own_class: str) -> str:
    """What AUTOMATIC1111's web UI calls it; `own_class` is that of the model's own scheduler."""
    if name == "default":
        return _BY_CLASS.get(own_class, own_class.removesuffix("Scheduler"))
    return _BY_NAME[name][2]


def _knows_zero_snr(cls_name: str) -> bool:
    return "rescale_betas_zero_snr" in inspect.signature(getattr(diffusers, cls_name)).parameters
