"""The arguments of a training run: sd-scripts' command line and TOML, checked and typed. Imports no torch.

`parse` is what the trainer itself calls; the gateway and the form call it too, before anything is queued, so that
what they accept is what the trainer accepts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backend.errors import InvalidArgument
from backend.paths import confined
from backend.training import allowed
from backend.training.argument_table import Row, convert, rows
from backend.training.combinations import check_combinations
from backend.training.command_line import from_argv, from_toml, known
from backend.training.training_arguments import TrainingArguments

DATA_DIR = "LORAPOOL_DATA_DIR"
"""Name of the environment variable with the data folder that every path is confined to."""


def parse(argv: Sequence[str], *, data_dir: Path | None) -> TrainingArguments:
    """The run that a command line, with the `--config_file` TOML it may name, asks for.

    Every path must lie under `data_dir` where one is given; relative ones start there.

    Raises:
        InvalidArgument: an argument is unknown, unsupported, of the wrong type or out of range, or two of them
            exclude each other.
        PathOutsideDataFolder: a path leaves the data folder.
    """
    from_line = from_argv(argv)
    merged: dict[str, Any] = {}
    if from_line.get("config_file"):
        named = Path(str(from_line["config_file"]))
        # The suffix first: with it, the path may lead elsewhere.
        merged.update(
            from_toml(_path("config_file", str(named) if named.suffix else f"{named}.toml", data_dir))
        )
    merged.update(from_line)
    return _arguments(merged, data_dir)


def from_values(values: Mapping[str, Any], *, data_dir: Path | None) -> TrainingArguments:
    """The run that a form's values (the keys of the TOML) ask for; raises as `parse` does."""
    return _arguments(known(values), data_dir)


def _arguments(given: Mapping[str, Any], data_dir: Path | None) -> TrainingArguments:
    values, notes = _converted(given)
    _fill_in(values)
    table = rows()
    for name, value in values.items():
        if name in table and table[name].kind == "path" and value is not None:
            values[name] = (
                tuple(_path(name, item, data_dir) for item in value)
                if table[name].many
                else _path(name, value, data_dir)
            )
    fields = {field.name for field in dataclasses.fields(TrainingArguments)}
    arguments = TrainingArguments(
        **{name: value for name, value in values.items() if name in fields},
        modelspec=_modelspec(values),
        data_dir=data_dir,
        notes=tuple(notes),
    )
    check_combinations(arguments)
    return arguments


def _converted(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    notes: list[str] = []
    for name, row in rows().items():
        value = convert(row, given[name]) if name in given else None
        if row.support == "yes":
            values[name] = row.default if value is None else value
        elif not row.is_neutral(value):
            if row.support == "no":
                _refuse(row)
            notes.append(f"{name} has no effect here: {row.note}")
    return values, notes


def _refuse(row: Row) -> None:
    raise InvalidArgument(
        row.name,
        f"is known to sd-scripts but not supported by the built-in trainer: {row.note}. Take it out, or set "
        "SD_SCRIPTS_DIR to an sd-scripts checkout to train with that",
    )


def _fill_in(values: dict[str, Any]) -> None:
    """What an empty or zero value stands for, and the shapes that the run wants."""
    for name in _ZERO_IS_UNSET:
        values[name] = values[name] or None
    for name in ("pretrained_model_name_or_path", "output_dir"):
        if values[name] is None:
            raise InvalidArgument(name, "is required")
    values["output_name"] = values["output_name"] or "last"
    values["caption_extension"] = values["caption_extention"] or values["caption_extension"]
    values["resolution"] = parse_resolution(values["resolution"])
    values["vae_batch_size"] = values["vae_batch_size"] or 1
    values["min_timestep"] = values["min_timestep"] or 0
    values["log_prefix"] = values["log_prefix"] or ""
    _fill_in_network(values)
    _fill_in_optimizer(values)


_ZERO_IS_UNSET = (
    *("save_every_n_epochs", "save_every_n_steps", "save_n_epoch_ratio"),
    *("save_last_n_epochs", "save_last_n_epochs_state", "save_last_n_steps", "save_last_n_steps_state"),
    *("sample_every_n_steps", "sample_every_n_epochs", "max_train_epochs", "clip_skip"),
    *("t5xxl_max_token_length", "blocks_to_swap"),
    *("min_snr_gamma", "noise_offset", "adaptive_noise_scale", "multires_noise_iterations", "ip_noise_gamma"),
    *("validate_every_n_steps", "validate_every_n_epochs", "max_validation_steps"),
    *("network_dropout", "scale_weight_norms", "v_pred_like_loss", "max_timestep", "resize_interpolation"),
)


def _fill_in_network(values: dict[str, Any]) -> None:
    values["network_module"] = allowed.member(
        "network_module", values["network_module"] or allowed.NETWORK_MODULES[0], allowed.NETWORK_MODULES
    )
    values["network_dim"] = values["network_dim"] or 4
    values["network_alpha"] = values["network_alpha"] or float(values["network_dim"])
    values["network_args"], values["network_texts"] = allowed.network_args(
        values["network_module"], values["network_args"] or ()
    )
    for name in ("text_encoder_lr", "base_weights", "base_weights_multiplier"):
        values[name] = tuple(values[name] or ())


def _fill_in_optimizer(values: dict[str, Any]) -> None:
    named = values["optimizer_type"]
    if not named:
        named = (
            "AdamW8bit" if values["use_8bit_adam"] else "Lion" if values["use_lion_optimizer"] else "AdamW"
        )
    kind = allowed.optimizer(named)
    values["optimizer_type"] = kind.name
    values["optimizer_args"] = allowed.keywords(
        "optimizer_args", values["optimizer_args"] or (), kind.keywords, kind.name
    )
    scheduler = allowed.member("lr_scheduler", values["lr_scheduler"], allowed.LR_SCHEDULERS)
    values["lr_scheduler_args"] = allowed.step_rules(scheduler, values["lr_scheduler_args"] or ())
    if values["log_with"] not in (None, "", "tensorboard"):
        raise InvalidArgument(
            "log_with", f"is {values['log_with']!r}; the built-in trainer logs to tensorboard"
        )
    if values["save_model_as"] not in (None, "", "safetensors"):
        raise InvalidArgument(
            "save_model_as",
            f"is {values['save_model_as']!r}; only safetensors is written, the others run code",
        )


def parse_resolution(text: str | None) -> tuple[int, int] | None:
    """`512`, or `512,768` for width and height."""
    if not text:
        return None
    parts = text.replace("x", ",").split(",")
    try:
        sizes = [int(part) for part in parts]
    except ValueError:
        sizes = []
    if len(sizes) == 1:
        sizes *= 2
    if len(sizes) != 2 or min(sizes) < 8:
        raise InvalidArgument(
            "resolution", f"is {text!r}; it wants pixels like 512, or width,height like 512,768"
        )
    return sizes[0], sizes[1]


def _modelspec(values: Mapping[str, Any]) -> dict[str, str]:
    prefix = "metadata_"
    return {
        name.removeprefix(prefix): str(value)
        for name, value in values.items()
        if name.startswith(prefix) and value
    }


def _path(field: str, text: str, data_dir: Path | None) -> Path:
    return confined(data_dir, text, field=field) if data_dir else Path(text).expanduser().absolute()
