"""From an answer to a view and back, and the answer that says what went wrong."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class ErrorView:
    """Why something was refused or failed. `field` is the argument or form field that is wrong."""

    error: str
    message: str
    field: str | None = None


def read(view: type[V], values: Mapping[str, Any]) -> V:
    """A view from its JSON object.

    Raises:
        TypeError: a field without a default is missing.
    """
    hints = get_type_hints(view)
    names = {item.name for item in dataclasses.fields(view)}  # type: ignore[arg-type]
    return view(**{name: _value(hints[name], value) for name, value in values.items() if name in names})


def _value(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not types.NoneType)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return read(hint, value)
    if get_origin(hint) is list:
        inner = get_args(hint)[0]
        return [_value(inner, item) for item in value]
    if get_origin(hint) is tuple:
        return tuple(value)
    return value


def as_json(view: Any) -> dict[str, Any]:
    """A view as a JSON object."""
    return dataclasses.asdict(view)
