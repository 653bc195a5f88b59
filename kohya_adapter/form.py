"""The form as a value: every field of Kohya's LoRA tab, typed, immutable; and Kohya's JSON file of it."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from backend.errors import InvalidArgument, InvalidInput
from kohya_adapter.fields import BY_KEY, FAMILIES, FAMILY_CHECKBOXES, FIELDS, SECRETS, Field, Value, family
from kohya_adapter.migrations import migrated


class Form(Mapping[str, Value]):
    """All 287 settings of a training. Keys that are not given have Kohya's default.

    Numbers may come as strings and whole floats as integers, as old files have them; nothing is clamped.

    Raises:
        InvalidArgument: a key is not a field, or its value cannot be read as the field's type.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, object] = MappingProxyType({})) -> None:
        for key in values:
            if key not in BY_KEY:
                raise InvalidArgument(key, f"is not a field of the form{_did_you_mean(key)}")
        self._values: dict[str, Value] = {
            field.key: typed(field, values[field.key]) if field.key in values else field.default
            for field in FIELDS
        }

    def __getitem__(self, key: str) -> Value:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(tuple(self._values.items()))

    def __repr__(self) -> str:
        shown = {key: "…" if key in SECRETS else value for key, value in self.changed().items()}
        return f"Form({shown!r})"

    @property
    def family(self) -> str:
        """Which kind of model is trained: one of `fields.FAMILIES`."""
        return family(self._values)

    def text(self, key: str) -> str:
        """A text field's value without surrounding blanks."""
        return str(self._values[key]).strip()

    def number(self, key: str) -> int | float:
        """A numeric field's value."""
        value = self._values[key]
        assert not isinstance(value, str), key
        return value

    def on(self, key: str) -> bool:
        """A checkbox's value."""
        return bool(self._values[key])

    def replace(self, values: Mapping[str, object]) -> Form:
        """The same form with these values changed."""
        return Form({**self._values, **values})

    def with_family(self, name: str) -> Form:
        """The same form for another kind of model: sets Kohya's model checkboxes so that one or none is ticked."""
        if name not in FAMILIES:
            raise InvalidArgument("family", f"{name!r} is not one of {', '.join(FAMILIES)}")
        return self.replace({box: name == key for key, box in FAMILY_CHECKBOXES.items()})

    def changed(self) -> dict[str, Value]:
        """What differs from the defaults."""
        return {field.key: self[field.key] for field in FIELDS if self[field.key] != field.default}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A form that was read from somewhere, and what its reader should know about it."""

    form: Form
    warnings: tuple[str, ...] = ()


def read(raw: Mapping[str, object]) -> Loaded:
    """The form of a Kohya JSON object of any age.

    Absent keys, nulls and empty numbers have the default, whatever was in a form before (Kohya keeps what was there,
    so that the same file means different things). Keys that no field has are left out, with a warning where they ask
    for something.

    Raises:
        InvalidArgument: a value cannot be read as its field's type.
        InvalidInput: not one key is a setting of the form.
    """
    values = migrated(raw)
    unknown = [key for key in values if key not in BY_KEY]
    if unknown and len(unknown) == len(values):
        raise InvalidInput("None of its keys is a Kohya training setting. The form was left as it is.")
    warnings = tuple(
        f"{key} is not a setting of this form; it was left out{_did_you_mean(key)}"
        for key in unknown
        if values[key] not in (None, "", 0, [])
    )
    given = {field.key: _as_given(field, values[field.key]) for field in FIELDS if field.key in values}
    return Loaded(Form({key: value for key, value in given.items() if value is not None}), warnings)


def _as_given(field: Field, value: object) -> object:
    """None where the default is meant; old files also switch a number off with false."""
    if field.type in ("int", "float"):
        return None if value == "" else 0 if value is False else value
    return value


def loads(text: str) -> Loaded:
    """The form of a Kohya JSON file's text; see `read`.

    Raises:
        InvalidInput: it is not a JSON object.
    """
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"This is not a JSON file: {error}. The form was left as it is.") from None
    if not isinstance(raw, dict):
        raise InvalidInput(
            "A Kohya configuration is one JSON object of settings. The form was left as it is."
        )
    return read(raw)


def dumps(form: Form) -> str:
    """Kohya's JSON: flat, keys sorted, indented by two. Secrets stay out: a file is easily passed on."""
    return json.dumps({**form, **dict.fromkeys(SECRETS, "")}, indent=2, sort_keys=True, ensure_ascii=False)


def load_json(path: Path) -> Loaded:
    """The form of a Kohya JSON file; see `loads`."""
    try:
        return loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path.name} cannot be read: {error}. The form was left as it is.") from None


def save_json(form: Form, path: Path) -> None:
    """Write Kohya's JSON file, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(dumps(form) + "\n", encoding="utf-8")
    partial.replace(path)


def typed(field: Field, value: object) -> Value:
    """`value` as the field's type.

    Raises:
        InvalidArgument: it cannot be read as that; the message says what is expected.
    """
    match field.type:
        case "bool":
            return _bool(field.key, value)
        case "str":
            return _str(field.key, value)
        case _:
            return _number(field, value)


def _bool(key: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "1": True, "false": False, "0": False, "": False}
    answer = words.get(str(value).strip().lower())
    if answer is None or not isinstance(value, str | int):
        raise InvalidArgument(key, f"{_short(value)} is neither true nor false")
    return answer


def _str(key: str, value: object) -> str:
    if isinstance(value, str):
        if any("\ud800" <= char <= "\udfff" or char == "\0" for char in value):
            raise InvalidArgument(key, "the text has characters that no file can hold")
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise InvalidArgument(key, f"{_short(value)} is not a text")


def _number(field: Field, value: object) -> int | float:
    wanted = "a whole number" if field.type == "int" else "a number"
    problem = InvalidArgument(field.key, f"{_short(value)} is not {wanted}, such as {field.default}")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise problem
    try:
        number = value if not isinstance(value, str) else _parse(value)
    except ValueError:
        raise problem from None
    if isinstance(number, float) and not math.isfinite(number):
        raise problem
    if field.type == "int" and isinstance(number, float):
        if not number.is_integer():
            raise problem
        return int(number)
    return number


def _parse(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _did_you_mean(key: str) -> str:
    close = difflib.get_close_matches(key, BY_KEY, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
