"""Command lines and TOML files into one mapping of given values: sections flattened, the command line wins."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from backend.errors import InvalidArgument, InvalidInput
from backend.training.argument_table import Row, rows

KOHYA_EXTRAS = frozenset({"epoch", "noise_offset_type"})
"""Keys that kohya_ss writes into its TOML although sd-scripts does not know them."""


def from_argv(argv: Sequence[str]) -> dict[str, Any]:
    """The options of a command line, `--name value`, `--name=value` or `--switch`; lists take all that follows.

    Raises:
        InvalidArgument: an unknown option, or one without its value.
        InvalidInput: a word that belongs to no option.
    """
    table = rows()
    given: dict[str, Any] = {}
    words = list(argv)
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if not word.startswith("--"):
            raise InvalidInput(f"the command line has {word!r} where an option like --output_name belongs")
        name, equals, attached = word[2:].partition("=")
        row = table.get(name) or _unknown(name)
        values = [attached] if equals else []
        while not equals and row.kind != "flag" and position < len(words):
            if words[position].startswith("--") or (values and not row.many):
                break
            values.append(words[position])
            position += 1
        given[name] = _value(row, values)
    return given


def _value(row: Row, values: list[str]) -> Any:
    if row.many:
        return values
    if row.kind == "flag":
        return values[0] if values else True
    if not values:
        raise InvalidArgument(row.name, "wants a value after it")
    return values[0]


def from_toml(path: Path) -> dict[str, Any]:
    """The keys of an sd-scripts configuration file, its sections flattened.

    Raises:
        InvalidArgument: the file is missing, is no TOML, or holds a key that nobody knows.
    """
    return known(flattened(read_toml(path, "config_file")))


def read_toml(path: Path, field: str) -> dict[str, Any]:
    """A TOML file as it stands; `field` is the argument that names it, for the message."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidArgument(field, f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(field, f"{path} is not a TOML file: {error}") from None


def flattened(values: Mapping[str, Any]) -> dict[str, Any]:
    """All keys of all sections on one level."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat.update(flattened(value) if isinstance(value, dict) else {key: value})
    return flat


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values whose names are arguments, what kohya_ss adds of its own left out.

    Raises:
        InvalidArgument: a name that is neither.
    """
    table = rows()
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if name in KOHYA_EXTRAS or (name == "dynamo_backend" and value == "no"):
            continue
        if name == "max_token_length" and str(value) in ("75", "0"):
            continue
        kept[name] = value if name in table else _unknown(name)
    return kept


def _unknown(name: str) -> Any:
    raise InvalidArgument(name, f"is not an argument of sd-scripts{did_you_mean(name, rows())}")


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`; did you mean …?`, or nothing when no name comes close."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
