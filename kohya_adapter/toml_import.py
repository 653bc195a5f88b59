"""sd-scripts' `--config_file` TOML -> the form that trains the same."""

from __future__ import annotations

import tomllib
from pathlib import Path

from backend.errors import InvalidInput
from backend.training.command_line import flattened
from kohya_adapter.config_import import form_of_config
from kohya_adapter.form import Loaded


def form_of_toml(text: str, *, family: str | None = None, prompts: str = "") -> Loaded:
    """The form of a TOML text, its sections flattened as sd-scripts does; arguments as `form_of_config`.

    Raises:
        InvalidInput: it is no TOML, or a dataset file instead of a configuration.
        InvalidArgument: a value that cannot be read as the field's type.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"This is not a TOML file: {error}. The form was left as it is.") from None
    if "datasets" in values:
        raise InvalidInput("This is a dataset file: name it as the dataset TOML. The form was left as it is.")
    return form_of_config(flattened(values), family=family, prompts=prompts)


def load_toml(path: Path, *, family: str | None = None) -> Loaded:
    """The form of a TOML file; see `form_of_toml`. A prompt file beside it is read along."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path.name} cannot be read: {error}. The form was left as it is.") from None
    beside = path.parent / "prompts.txt"
    prompts = beside.read_text(encoding="utf-8") if beside.is_file() else ""
    return form_of_toml(text, family=family, prompts=prompts)
