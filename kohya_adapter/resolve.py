"""Paths of a form -> absolute paths that are proved to lie in the data folder."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backend.errors import InvalidArgument
from backend.paths import confined
from kohya_adapter.config_keys import copied_keys
from kohya_adapter.fields import FIELDS, Field
from kohya_adapter.form import Form
from kohya_adapter.launch import words
from kohya_adapter.network import LYCORIS, network_module
from kohya_adapter.script_arguments import is_path, parse_additional, script_arguments

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_DATASET_PATHS = ("image_dir", "conditioning_data_dir", "metadata_file")


def path_fields(form: Form) -> tuple[Field, ...]:
    """The fields that name a file or a folder which this form's run would use, or publish into.

    Fields of other model families are left alone, so that an old file with somebody's paths in them still loads; the
    logging folder is, too, since every job logs into its own.
    """
    used = {*copied_keys(form.family).values(), "output_dir"} - {"logging_dir"}
    if network_module(form) == LYCORIS:
        used.add("LyCORIS_preset")
    return tuple(
        field for field in FIELDS if field.format in ("file", "folder", "model") and field.key in used
    )


def absolute_paths(form: Form, data_dir: Path) -> Form:
    """The form with every path that matters absolute, links resolved. Hub ids and presets stay as they are.

    Raises:
        PathOutsideDataFolder: at the field whose path leaves the data folder.
    """
    fields = (field for field in path_fields(form) if form.text(field.key))
    return form.replace({field.key: resolve(data_dir, field, form.text(field.key)) for field in fields})


def resolve(data_dir: Path, field: Field, text: str) -> str:
    """One field's text as an absolute path, or as it is when it names a preset or a model of the hub."""
    if text in field.choices or (field.format == "model" and is_hub_id(data_dir, text)):
        return text
    return str(confined(data_dir, text, field=field.key))


def is_hub_id(data_dir: Path, text: str) -> bool:
    """Whether a model is named as `owner/name`, and `owner` is no folder of the data folder."""
    return _HUB_ID.fullmatch(text) is not None and not (data_dir / text.partition("/")[0]).exists()


def additional_parameters(form: Form, data_dir: Path) -> list[str]:
    """The words of `additional_parameters`, checked, with absolute paths.

    Raises:
        InvalidArgument: see `parse_additional`.
        PathOutsideDataFolder: a path in it leaves the data folder.
    """
    table = script_arguments(form.family)
    argv = []
    for name, values in parse_additional(form.family, words(form, "additional_parameters")).items():
        if is_path(table[name]):
            values = [str(confined(data_dir, value, field="additional_parameters")) for value in values]
        argv += [f"--{name}", *values]
    return argv


def read_dataset_toml(path: Path, data_dir: Path) -> dict[str, Any]:
    """An sd-scripts dataset file with every path in it absolute and confined.

    Raises:
        InvalidArgument: at `dataset_config`: it cannot be read or is no TOML.
        PathOutsideDataFolder: at `dataset_config`: a folder in it lies elsewhere.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidArgument("dataset_config", f"{path.name} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidArgument("dataset_config", f"{path.name} is not a TOML file: {error}") from None
    return _with_absolute_paths(values, data_dir)


def _with_absolute_paths(values: Mapping[str, Any], data_dir: Path) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in values.items():
        if key in _DATASET_PATHS and isinstance(value, str):
            result[key] = str(confined(data_dir, value, field="dataset_config"))
        elif isinstance(value, dict):
            result[key] = _with_absolute_paths(value, data_dir)
        elif isinstance(value, list):
            result[key] = [_with_absolute_paths(i, data_dir) if isinstance(i, dict) else i for i in value]
        else:
            result[key] = value
    return result
