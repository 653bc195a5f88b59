"""The 287 fields of Kohya's LoRA tab as rows: the form, its files, its checks and its reference all come from these.

The rows stand in `fields.tsv`. Keys, widgets, defaults, ranges and choices are Kohya's own, so that a file made there
means the same here; groups, labels and help are ours. A range is what a slider shows: a value beyond it is kept.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal, TypeAlias, cast

Value: TypeAlias = str | int | float | bool
ValueType: TypeAlias = Literal["str", "int", "float", "bool"]
Widget: TypeAlias = Literal["checkbox", "dropdown", "number", "radio", "slider", "textbox"]
Format: TypeAlias = Literal["", "file", "folder", "model", "secret", "lines"]

FAMILIES = ("sd", "sdxl", "flux", "sd3", "hunyuan", "anima", "lumina")
FAMILY_CHECKBOXES = {
    "sdxl": "sdxl",
    "flux": "flux1_checkbox",
    "sd3": "sd3_checkbox",
    "hunyuan": "hunyuan_image_checkbox",
    "anima": "anima_checkbox",
    "lumina": "lumina_checkbox",
}
"""Model family -> the checkbox that selects it, in the order in which Kohya looks at them; none ticked is `sd`."""


def family(values: Mapping[str, Value]) -> str:
    """The model family of a form: one of `FAMILIES`."""
    return next((name for name, box in FAMILY_CHECKBOXES.items() if values.get(box)), "sd")


@dataclass(frozen=True, slots=True)
class Condition:
    """One part of "when shown": the field `key` (or the pseudo-key `family`) has one of `values`.

    Without values it asks for anything that is neither empty, zero nor off.
    """

    key: str
    values: tuple[str, ...]

    def holds(self, form: Mapping[str, Value]) -> bool:
        actual = family(form) if self.key == "family" else form.get(self.key, "")
        return plain(actual) in self.values if self.values else actual not in ("", 0, False)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the form.

    `format` says what a text is: a path under the data folder ("file", "folder", "model": a file, a folder or a hub
    id), "secret" (never written to a file), "lines", or just text. `free` means that values besides `choices` are
    fine. `shown` is a conjunction; None means never: the field is only kept for old files.
    """

    key: str
    group: str
    label: str
    widget: Widget
    type: ValueType
    default: Value
    minimum: float | None
    maximum: float | None
    step: float | None
    choices: tuple[Value, ...]
    free: bool
    format: Format
    basic: bool
    shown: tuple[Condition, ...] | None
    help: str

    def is_shown(self, form: Mapping[str, Value]) -> bool:
        """Whether the field matters for this form."""
        return self.shown is not None and all(condition.holds(form) for condition in self.shown)


def plain(value: Value) -> str:
    """A value as the table writes it in conditions: true, false, 0, text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def groups() -> dict[str, tuple[Field, ...]]:
    """Group name -> its fields, both in the order of the table."""
    grouped: dict[str, list[Field]] = {}
    for field in FIELDS:
        grouped.setdefault(field.group, []).append(field)
    return {name: tuple(members) for name, members in grouped.items()}


def _conditions(text: str) -> tuple[Condition, ...] | None:
    if text == "never":
        return None
    parts = (part.partition("=") for part in text.split(";") if part)
    return tuple(
        Condition(key, () if values == "*" else tuple(values.split(","))) for key, _, values in parts
    )


def _number(text: str) -> float | None:
    return float(text) if text else None


def _rows() -> Iterator[Field]:
    text = files("kohya_adapter").joinpath("fields.tsv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        yield Field(
            key=row["key"],
            group=row["group"],
            label=row["label"],
            widget=cast(Widget, row["widget"]),
            type=cast(ValueType, row["type"]),
            default=json.loads(row["default"]),
            minimum=_number(row["min"]),
            maximum=_number(row["max"]),
            step=_number(row["step"]),
            choices=tuple(json.loads(row["choices"] or "[]")),
            free=bool(row["free"]),
            format=cast(Format, row["format"]),
            basic=bool(row["basic"]),
            shown=_conditions(row["shown"]),
            help=row["help"],
        )


FIELDS: tuple[Field, ...] = tuple(_rows())
BY_KEY: Mapping[str, Field] = {field.key: field for field in FIELDS}
BASIC: tuple[Field, ...] = tuple(field for field in FIELDS if field.basic)
"""The short form: what a first training needs."""
SECRETS = frozenset(field.key for field in FIELDS if field.format == "secret")
