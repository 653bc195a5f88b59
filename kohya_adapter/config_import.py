"""The keys of an sd-scripts configuration -> the form that trains the same: the way back from `config.trainer_config`.

A key that is absent has sd-scripts' own default, not Kohya's. A key that the form has no field for goes into
`additional_parameters`, so that nothing is lost.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from backend.errors import InvalidArgument
from backend.training.argument_table import Row
from kohya_adapter.config import trainer_config
from kohya_adapter.config_keys import NOISE_KEYS, copied_keys
from kohya_adapter.fields import BY_KEY, FAMILIES, FAMILY_CHECKBOXES, SECRETS, Field
from kohya_adapter.form import Form, Loaded
from kohya_adapter.network_import import family_of_module, lora_type, network_fields, pairs
from kohya_adapter.script_arguments import MANAGED, script_arguments

_UNSET: Mapping[str, object] = {
    "caption_extension": ".caption",
    "dynamo_backend": "no",
    "epoch": 1,
    "max_timestep": 1000,
    "max_token_length": 75,
    "network_dim": 4,
    "save_precision": "float",
}
"""Field -> what a missing key means, where the table of arguments has no default for it."""

_FAMILY_SIGNS = (
    ("qwen3", "anima"),
    ("gemma2", "lumina"),
    ("byt5", "hunyuan"),
    ("clip_g", "sd3"),
    ("ae", "flux"),
    ("no_half_vae", "sdxl"),
    ("cache_text_encoder_outputs", "sdxl"),
)
_HANDLED = frozenset(
    {
        "dynamo_backend",
        "lr_warmup_steps",
        "max_data_loader_n_workers",
        "network_args",
        "network_module",
        "network_train_text_encoder_only",
        "network_train_unet_only",
        "optimizer_type",
        "output_dir",
        "output_name",
        "logging_dir",
        "sample_prompts",
    }
)
"""Keys that always find their place, or have none to find."""


def form_of_config(config: Mapping[str, Any], *, family: str | None = None, prompts: str = "") -> Loaded:
    """The form of a flat configuration.

    Args:
        family: the kind of model, one of `fields.FAMILIES`; None guesses it from the keys.
        prompts: the text of the file that `sample_prompts` names.

    Raises:
        InvalidArgument: a value that cannot be read as the field's type.
    """
    family = family or guess_family(config)
    if family not in FAMILIES:
        raise InvalidArgument("family", f"{family!r} is not one of {', '.join(FAMILIES)}")
    module, args = str(config.get("network_module", "networks.lora")), pairs(config.get("network_args") or ())
    kind = lora_type(module, args)
    fields, lost = network_fields(module, args)
    values: dict[str, object] = {box: name == family for name, box in FAMILY_CHECKBOXES.items()}
    values |= _copied(config, family) | _noise(config) | _rates(config, family) | _warmup(config) | fields
    values |= {
        "LoRA_type": kind or "Standard",
        "lr_scheduler_args": _words(config.get("lr_scheduler_args")),
        "max_data_loader_n_workers": config.get("max_data_loader_n_workers", 8),
        "max_resolution": _resolution(config.get("resolution", "512,512")),
        "max_train_steps": config.get("max_train_steps") or 1600,
        "optimizer": config.get("optimizer_type") or _old_optimizer(config),
        "optimizer_args": _words(config.get("optimizer_args")),
        "persistent_data_loader_workers": bool(config.get("persistent_data_loader_workers")),
        "sample_prompts": prompts.strip(),
        "xformers": next((name for name in ("xformers", "sdpa") if config.get(name)), "none"),
    }
    form = Form({key: _plain(BY_KEY[key], value) for key, value in values.items()})
    form, unknown = _with_the_rest(form, config)
    return Loaded(form, tuple(_warnings(config, unknown, kind, module, lost, prompts)))


def guess_family(config: Mapping[str, Any]) -> str:
    """The kind of model that a configuration is most likely for; the name of the script would say it for certain."""
    by_module = family_of_module(str(config.get("network_module", "")))
    if by_module:
        return by_module
    for key, family in _FAMILY_SIGNS:
        if config.get(key):
            return family
    name = str(config.get("pretrained_model_name_or_path", "")).lower()
    return next((f for sign, f in (("flux", "flux"), ("xl", "sdxl"), ("pony", "sdxl")) if sign in name), "sd")


def _copied(config: Mapping[str, Any], family: str) -> dict[str, object]:
    """What goes over as it is, or is what sd-scripts takes for it when it is absent."""
    table = script_arguments(family)
    copied = {}
    for key, source in copied_keys(family).items():
        absent = config.get(key) in (None, "")
        copied[source] = _unset(BY_KEY[source], table.get(key)) if absent else config[key]
    return copied | _extras(config, family)


def _extras(config: Mapping[str, Any], family: str) -> dict[str, object]:
    """What `config` writes only together with some other setting."""
    names = {key: key for key in ("show_timesteps", "show_timesteps_resolution", "train_inpainting")}
    if family == "flux":
        names["model_type"] = "model_type"
    if family == "anima":
        compiled = ("backend", "cache_size_limit", "dynamic", "fullgraph", "mode")
        names |= {
            "attn_mode": "anima_attn_mode",
            **{f"compile_{name}": f"anima_compile_{name}" for name in compiled},
        }
    extras: dict[str, object] = {source: config[key] for key, source in names.items() if key in config}
    if config.get("wandb_run_name") not in (None, config.get("output_name")):
        extras["wandb_run_name"] = config["wandb_run_name"]
    return extras


def _unset(field: Field, row: Row | None) -> object:
    if field.key in _UNSET:
        return _UNSET[field.key]
    if row is not None and row.default is not None:
        return row.default
    return {"str": "", "bool": False, "int": 0, "float": 0}[field.type]


def _noise(config: Mapping[str, Any]) -> dict[str, object]:
    multires = any(key in config for key in NOISE_KEYS["Multires"]) and not config.get("noise_offset")
    kind = str(config.get("noise_offset_type") or ("Multires" if multires else "Original"))
    return {
        "noise_offset_type": kind,
        **{key: config[key] for key in NOISE_KEYS.get(kind, ()) if key in config},
    }


def _rates(config: Mapping[str, Any], family: str) -> dict[str, object]:
    """Rates that are absent follow the learning rate, unless that part is not trained at all."""
    main = config.get("learning_rate", 2e-6)
    encoders = config.get("text_encoder_lr") or []
    encoders = encoders if isinstance(encoders, list | tuple) else [encoders]
    unet = config.get("unet_lr")
    follow = 0 if unet is None and not encoders and not _is_partial(config) else main
    encoder = encoders[0] if encoders else follow
    if config.get("network_train_unet_only") and (family != "hunyuan" or not encoders):
        encoder = 0
    second = encoders[1] if len(encoders) > 1 and encoders[1] != encoders[0] else 0
    return {
        "learning_rate": main,
        "t5xxl_lr": second,
        "text_encoder_lr": encoder,
        "unet_lr": 0 if config.get("network_train_text_encoder_only") else follow if unet is None else unet,
    }


def _is_partial(config: Mapping[str, Any]) -> bool:
    return bool(config.get("network_train_unet_only") or config.get("network_train_text_encoder_only"))


def _warmup(config: Mapping[str, Any]) -> dict[str, object]:
    """A whole number is steps, anything else a fraction of them."""
    given = config.get("lr_warmup_steps", 0)
    if isinstance(given, int):
        return {"lr_warmup": 0, "lr_warmup_steps": given}
    return {"lr_warmup": float(Decimal(str(given)) * 100), "lr_warmup_steps": 0}


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value or "")


def _resolution(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _old_optimizer(config: Mapping[str, Any]) -> str:
    return (
        "AdamW8bit"
        if config.get("use_8bit_adam")
        else "Lion"
        if config.get("use_lion_optimizer")
        else "AdamW"
    )


def _plain(field: Field, value: object) -> object:
    if field.type == "bool" and isinstance(value, int):
        return bool(value)
    if field.type == "str" and isinstance(value, bool):
        return ""
    return value


def _with_the_rest(form: Form, config: Mapping[str, Any]) -> tuple[Form, tuple[str, ...]]:
    """The form with trainer arguments by hand for what it would otherwise lose, and what nobody knows."""
    table = script_arguments(form.family)
    made = trainer_config(form, table)
    by_hand: list[str] = []
    unknown = []
    for key, value in config.items():
        row = table.get(key)
        if row is None:
            if key not in BY_KEY and not row:
                unknown.append(key)
        elif key not in _HANDLED | MANAGED | SECRETS and not _is_same(row, value, made.get(key)):
            by_hand += _by_hand(row, value)
    return form.replace({"additional_parameters": shlex.join(by_hand)}), tuple(unknown)


def _is_same(row: Row, given: Any, made: Any) -> bool:
    if row.name == "resolution":
        return True
    if row.name == "text_encoder_lr" and not isinstance(given, list):
        given = [given]
    if isinstance(given, list) and isinstance(made, list):
        return given == made or (len(given) == 1 and given * len(made) == made)
    same = given == made or (made is None and row.is_neutral(given))
    return same or (row.kind == "flag" and bool(given) == bool(made))


def _by_hand(row: Row, value: Any) -> list[str]:
    if row.kind == "flag":
        return [f"--{row.name}"] if value else []
    return [f"--{row.name}", *(map(str, value) if isinstance(value, list) else [str(value)])]


def _warnings(
    config: Mapping[str, Any],
    unknown: tuple[str, ...],
    kind: str | None,
    module: str,
    lost: tuple[str, ...],
    prompts: str,
) -> list[str]:
    said = [f"{key} is not an argument of sd-scripts; it was left out" for key in unknown]
    if kind is None:
        said.append(f"{module} is not a network type of this form; Standard was chosen")
    said += [f"{name} of network_args has no field; it was left out" for name in lost]
    if config.get("sample_prompts") and not prompts.strip():
        said.append(
            f"the sample prompts are in another file, {config['sample_prompts']}; copy them into the form"
        )
    said += [
        f"{key} was left out: give it by the form"
        for key in sorted(MANAGED & set(config))
        if key not in _HANDLED
    ]
    return said
