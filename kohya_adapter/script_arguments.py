"""Which arguments each trainer of sd-scripts knows, and what a person may add to a command line by hand.

The arguments of `train_network.py` stand in the trainer's own table; `script_arguments.tsv` has what the trainers of
the other model families know besides.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files

from backend.errors import InvalidArgument
from backend.training.argument_table import Kind, Row, convert, rows
from backend.training.command_line import did_you_mean
from kohya_adapter.allowed import is_allowed_optimizer, is_allowed_scheduler_class, is_pickle
from kohya_adapter.network import MODULES

MANAGED = frozenset(
    {
        "config_file",
        "console_log_file",
        "dataset_class",
        "debug_dataset",
        "huggingface_token",
        "in_json",
        "logging_dir",
        "output_config",
        "output_dir",
        "output_name",
        "sample_prompts",
        "wandb_api_key",
    }
)
"""Arguments that nobody adds by hand: lorapool sets them for each job, or they would run code or show a secret."""

PATHS = frozenset(
    {
        "base_weights",
        "conditioning_data_dir",
        "controlnet_model_name_or_path",
        "dataset_config",
        "log_tracker_config",
        "network_weights",
        "pretrained_model_name_or_path",
        "reg_data_dir",
        "resume",
        "tokenizer_cache_dir",
        "train_data_dir",
        "vae",
    }
)
"""Arguments of the kind `str` that name a file or a folder."""

LAUNCH_ARGUMENTS: Mapping[str, bool] = {
    "cpu": False,
    "debug": False,
    "downcast_bf16": False,
    "dynamo_backend": True,
    "dynamo_mode": True,
    "dynamo_use_dynamic": False,
    "dynamo_use_fullgraph": False,
    "enable_cpu_affinity": False,
    "gpu_ids": True,
    "machine_rank": True,
    "main_process_ip": True,
    "main_process_port": True,
    "mixed_precision": True,
    "multi_gpu": False,
    "num_cpu_threads_per_process": True,
    "num_machines": True,
    "num_processes": True,
    "quiet": False,
    "same_network": False,
}
"""Arguments of `accelerate launch` that may be added by hand -> whether a value follows."""


@cache
def script_arguments(family: str) -> Mapping[str, Row]:
    """Name -> row of every argument that the trainer of this model family knows."""
    text = files("kohya_adapter").joinpath("script_arguments.tsv").read_text(encoding="utf-8")
    lines = list(csv.DictReader(text.splitlines(), delimiter="\t"))
    elsewhere = {line["name"] for line in lines}
    table = {name: row for name, row in rows().items() if name not in elsewhere}
    return table | {line["name"]: _row(line) for line in lines if family in line["families"].split()}


def _row(line: Mapping[str, str]) -> Row:
    kind: Kind = line["kind"]  # type: ignore[assignment]
    row = Row(line["name"], kind, False, None, tuple(line["choices"].split()), None, None, "no", "")
    return replace(row, default=False if kind == "flag" else convert(row, line["default"] or None))


def is_path(row: Row) -> bool:
    """Whether the argument's value names a file or a folder."""
    return row.kind == "path" or row.name in PATHS


def parse_additional(family: str, argv: Sequence[str]) -> dict[str, list[str]]:
    """Argument -> its values as texts, for the words of `additional_parameters`; a switch has none.

    Raises:
        InvalidArgument: at `additional_parameters`: a word that belongs to no argument, an argument that the
            trainer does not know or that is not for hands, a value that does not fit.
    """
    table = script_arguments(family)
    given: dict[str, list[str]] = {}
    for name, values in options("additional_parameters", argv):
        if name in MANAGED:
            raise _refused(f"--{name} is set by lorapool for each job and cannot be added here")
        row = table.get(name)
        if row is None:
            raise _refused(f"--{name} is not an argument of this trainer{did_you_mean(name, table)}")
        _check_value(row, values)
        _check_imports(name, values)
        given[name] = values
    return given


def _check_imports(name: str, values: list[str]) -> None:
    """What the trainer would import or unpickle is on a list here too."""
    match name:
        case "network_module":
            good = values[0] in MODULES.values()
        case "optimizer_type":
            good = is_allowed_optimizer(values[0])
        case "lr_scheduler_type":
            good = is_allowed_scheduler_class(values[0])
        case "network_args":
            good = not any("/" in value or "\\" in value for value in values)
        case _:
            good = not any(is_pickle(value) for value in values)
    if not good:
        raise _refused(f"--{name} {' '.join(values)} is not on the list of what may be loaded")


def _check_value(row: Row, values: list[str]) -> None:
    if row.kind == "flag" and values:
        raise _refused(f"--{row.name} is a switch and takes no value, not {values[0]!r}")
    if row.kind != "flag" and (not values or (len(values) > 1 and not row.many)):
        raise _refused(f"--{row.name} wants {'values' if row.many else 'one value'} after it")
    try:
        convert(row, values if row.many else values[0] if values else True)
    except InvalidArgument as error:
        raise _refused(f"--{row.name} {error.message}") from None


def check_launch(argv: Sequence[str]) -> None:
    """Refuse arguments of `accelerate launch` that could run something else.

    Raises:
        InvalidArgument: at `extra_accelerate_launch_args`.
    """
    field = "extra_accelerate_launch_args"
    for name, values in options(field, argv):
        wants_value = LAUNCH_ARGUMENTS.get(name)
        if wants_value is None:
            allowed = ", ".join(f"--{known}" for known in LAUNCH_ARGUMENTS)
            raise InvalidArgument(field, f"--{name} cannot be added here; what can: {allowed}")
        if len(values) != wants_value:
            raise InvalidArgument(field, f"--{name} takes {'one value' if wants_value else 'no value'}")


def options(field: str, argv: Sequence[str]) -> list[tuple[str, list[str]]]:
    """`--name value …` and `--name=value` as (name, values); negative numbers are values.

    Raises:
        InvalidArgument: at `field`: a word stands before any option.
    """
    found: list[tuple[str, list[str]]] = []
    for word in argv:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            found.append((name, [value] if equals else []))
        elif found:
            found[-1][1].append(word)
        else:
            raise InvalidArgument(field, f"{word!r} belongs to no argument; write --name value")
    return found


def _refused(message: str) -> InvalidArgument:
    return InvalidArgument("additional_parameters", message)
