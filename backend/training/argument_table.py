"""The table of every argument that sd-scripts' trainers know: `arguments.tsv`, one row each.

Columns: name; kind (flag, str, int, float, int_or_float, path); nargs (`*` for a list); default; choices; the lowest
and highest value; support (`yes`: the built-in trainer honours it; `no effect`: accepted, `note` says why it
changes nothing; `no`: refused, for the reason in `note`, unless it has its default or an empty value).
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from backend.errors import InvalidArgument

Kind: TypeAlias = Literal["flag", "str", "int", "float", "int_or_float", "path"]
_TABLE = Path(__file__).with_name("arguments.tsv")
_NEUTRAL = (None, False, "", 0, 0.0)


@dataclass(frozen=True, slots=True)
class Row:
    """One argument of sd-scripts."""

    name: str
    kind: Kind
    many: bool
    default: Any
    choices: tuple[str, ...]
    low: float | None
    high: float | None
    support: Literal["yes", "no effect", "no"]
    note: str

    def is_neutral(self, value: Any) -> bool:
        """Whether giving this value asks for nothing: the default, or an empty one."""
        return value == self.default or value in _NEUTRAL or value == [] or value == ()


@cache
def rows() -> dict[str, Row]:
    """The table by name."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        return {line["name"]: _row(line) for line in csv.DictReader(file, delimiter="\t")}


def _row(line: dict[str, Any]) -> Row:
    row = Row(
        name=line["name"],
        kind=line["kind"],
        many=line["nargs"] == "*",
        default=None,
        choices=tuple(line["choices"].split()),
        low=float(line["low"]) if line["low"] else None,
        high=float(line["high"]) if line["high"] else None,
        support=line["support"],
        note=line["note"],
    )
    default = False if row.kind == "flag" else _scalar(row, line["default"]) if line["default"] else None
    return Row(**{**{name: getattr(row, name) for name in Row.__slots__}, "default": default})


def convert(row: Row, value: Any) -> Any:
    """The value of a command line, TOML file or form as the type of its row; None stands for "not given".

    Raises:
        InvalidArgument: it is not of the type, not among the choices, or out of range.
    """
    if row.many:
        return _items(row, value)
    converted = _scalar(row, value)
    if converted is not None:
        _within(row, converted)
    return converted


def _items(row: Row, value: Any) -> list[Any] | None:
    if value is None:
        return None
    if isinstance(value, str):
        value = value.split()
    elif not isinstance(value, list | tuple):
        value = [value]
    items = [_scalar(row, item) for item in value]
    for item in items:
        if item is None:
            raise InvalidArgument(row.name, "holds an empty value; leave it out or give one")
        _within(row, item)
    return items


def _scalar(row: Row, value: Any) -> Any:
    if row.kind == "flag":
        return _flag(row, value)
    if isinstance(value, bool):
        raise InvalidArgument(row.name, f"wants {_wanted(row)}, not {str(value).lower()}")
    if value is None:
        return None
    if row.kind in ("str", "path"):
        return _text(row, value)
    if isinstance(value, str):
        value = value.strip()
        if not value:
            return None
    return _number(row, value)


def _flag(row: Row, value: Any) -> bool:
    if isinstance(value, str) and value.strip().lower() in ("true", "false", ""):
        return value.strip().lower() == "true"
    if value is None or isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise InvalidArgument(row.name, f"is a switch: true or false, not {value!r}")


def _text(row: Row, value: Any) -> str | None:
    if isinstance(value, list | tuple):
        if row.name != "resolution":
            raise InvalidArgument(row.name, f"wants one value, not the list {value!r}")
        value = ",".join(str(item) for item in value)
    if isinstance(value, dict):
        raise InvalidArgument(row.name, "wants one value, not a section")
    text = str(value)
    if "\0" in text:
        raise InvalidArgument(row.name, "holds a zero byte")
    return text if text or row.kind == "str" else None


def _number(row: Row, value: Any) -> int | float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InvalidArgument(row.name, f"wants {_wanted(row)}, not {value!r}") from None
    if not math.isfinite(number):
        raise InvalidArgument(row.name, f"wants {_wanted(row)}, not {value!r}")
    if row.kind == "float":
        return number
    if number.is_integer() and (row.kind == "int" or number >= 1 or number == 0):
        return int(number) if abs(number) < 2**53 else _big(row, value)
    if row.kind == "int":
        raise InvalidArgument(row.name, f"wants a whole number, not {value!r}")
    return number


def _big(row: Row, value: Any) -> int:
    try:
        return int(value)
    except ValueError:
        raise InvalidArgument(row.name, f"wants a whole number, not {value!r}") from None


def _within(row: Row, value: Any) -> None:
    if row.choices and str(value) not in row.choices and value != "":
        raise InvalidArgument(row.name, f"is {value!r}; it can be {', '.join(row.choices)}")
    if row.low is not None and value < row.low:
        raise InvalidArgument(row.name, f"is {value}; the least is {row.low:g}")
    if row.high is not None and value > row.high:
        raise InvalidArgument(row.name, f"is {value}; the most is {row.high:g}")


def _wanted(row: Row) -> str:
    words = {
        "int": "a whole number",
        "float": "a number",
        "int_or_float": "a whole number or a fraction below 1",
    }
    return words.get(row.kind, "a text")
