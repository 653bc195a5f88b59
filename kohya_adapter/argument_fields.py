"""Which field of the form an argument of the trainer comes from, so that complaints stand where they can be mended."""

from __future__ import annotations

from collections.abc import Collection

from backend.errors import InvalidArgument
from kohya_adapter.config_keys import copied_keys
from kohya_adapter.fields import BY_KEY
from kohya_adapter.form import Form
from kohya_adapter.problems import Problem, Severity

_OTHER_NAMES = {
    "lr_warmup_steps": "lr_warmup",
    "network_args": "LoRA_type",
    "network_module": "LoRA_type",
    "network_train_text_encoder_only": "unet_lr",
    "network_train_unet_only": "text_encoder_lr",
    "optimizer_type": "optimizer",
    "resolution": "max_resolution",
    "sdpa": "xformers",
}


def field_of(argument: str, form: Form, added: Collection[str] = ()) -> str:
    """The form key of an argument; `added` are the arguments that `additional_parameters` gives."""
    if argument in added:
        return "additional_parameters"
    key = copied_keys(form.family).get(argument) or _OTHER_NAMES.get(argument, argument)
    return key if key in BY_KEY else "additional_parameters"


def problem_of(
    error: InvalidArgument, form: Form, added: Collection[str] = (), severity: Severity = "error"
) -> Problem:
    """The trainer's complaint about an argument, at its field."""
    key = field_of(error.field, form, added)
    named = key == error.field or key == "optimizer"
    return Problem(key, error.message if named else f"{error.field} {error.message}", severity)
