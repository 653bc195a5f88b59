"""A file that somebody brings -> the form that trains like it: Kohya's JSON, sd-scripts' TOML, or a LoRA."""

from __future__ import annotations

import tomllib
from pathlib import Path

from backend.errors import InvalidInput
from kohya_adapter.form import Loaded, load_json, loads
from kohya_adapter.lora_file import form_of_lora
from kohya_adapter.toml_import import form_of_toml, load_toml

KINDS = (".json", ".toml", ".safetensors")


def load(path: Path, data_dir: Path | None = None) -> Loaded:
    """The form of a file, by its ending. In a data folder, a LoRA's base model and pictures are looked for by name.

    Raises:
        InvalidInput: it cannot be read, or is of another kind.
        InvalidArgument: a value cannot be read as its field's type.
    """
    match path.suffix.lower():
        case ".json":
            return load_json(path)
        case ".toml":
            return load_toml(path)
        case ".safetensors":
            return form_of_lora(path, data_dir)
    raise InvalidInput(f"{path.name} is no form: bring a Kohya JSON, an sd-scripts TOML, or a LoRA.")


def read(text: str) -> Loaded:
    """The form of a file's text, JSON or TOML; raises as `load` does."""
    text = text.removeprefix("\ufeff")
    if text.lstrip().startswith("{"):
        return loads(text)
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise InvalidInput(
            "This is neither Kohya's JSON nor sd-scripts' TOML. The form was left as it is."
        ) from None
    return form_of_toml(text)
