"""Writing TOML: the standard library reads it and has no writer. https://toml.io/en/v1.0.0"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def dumps(values: Mapping[str, object]) -> str:
    """The TOML text of a mapping of scalars, lists, tables and lists of tables, in the order given.

    `tomllib.loads` of it equals `values`. A value of any other type is a `TypeError`.
    """
    return "".join(_table(values, ()))


def _table(values: Mapping[str, object], path: tuple[str, ...]) -> list[str]:
    lines = [f"{_key(key)} = {_value(value)}\n" for key, value in values.items() if not _is_section(value)]
    for key, value in values.items():
        name = (*path, key)
        if isinstance(value, Mapping):
            lines += [_header(lines, f"[{_dotted(name)}]"), *_table(value, name)]
        elif _is_section(value) and isinstance(value, Sequence):
            for item in value:
                lines += [_header(lines, f"[[{_dotted(name)}]]"), *_table(item, name)]
    return lines


def _header(before: list[str], text: str) -> str:
    return f"\n{text}\n" if before else f"{text}\n"


def _is_section(value: object) -> bool:
    if isinstance(value, Mapping):
        return True
    return (
        isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)
    )


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(map(_key, path))


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _text(key)


def _value(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float():
            return _float(value)
        case str():
            return _text(value)
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
        case _:
            raise TypeError(f"TOML has no form for {value!r}")


def _float(value: float) -> str:
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return repr(value)


def _text(value: str) -> str:
    # JSON's escapes are TOML's, but JSON leaves DEL as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
