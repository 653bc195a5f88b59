"""From the text of a description to a tree of plain values, with the line on which each key stands.

Two notations: JSON with `#` and `//` comments and trailing commas, as the EAS documents print it, and YAML. Line
numbers come from PyYAML's node marks for both, since JSON without its comments is a subset of YAML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from backend.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Document:
    """`value` is what was written, `lines` the line (from 1) of each key by its dotted path."""

    value: dict[str, Any]
    lines: Mapping[str, int] = field(default_factory=dict)
    twice: tuple[str, ...] = ()

    def place(self, path: str) -> str:
        """`line 7: ` for the key, or for the nearest part around it that has a line; empty when none is known."""
        for start in (path, f"metadata.{path}"):
            while start:
                if start in self.lines:
                    return f"line {self.lines[start]}: "
                start = start.rpartition(".")[0] if "." in start else ""
        return ""


def read(text: str | bytes) -> Document:
    """Read a description's text.

    Raises:
        InvalidArgument: it is not UTF-8, not JSON or YAML (with line and column), or no object.
    """
    try:
        plain = _without_comments(text.decode() if isinstance(text, bytes) else text)
        value = _json(plain) if plain.lstrip()[:1] in ("{", "[", "") else _yaml(plain)
    except UnicodeDecodeError:
        raise _refusal("it is not UTF-8 text") from None
    except RecursionError:
        raise _refusal("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise _refusal("an object is expected")
    lines, twice = _lines(plain)
    return Document(value, lines, twice)


def _refusal(what: str) -> InvalidArgument:
    return InvalidArgument("description", f"{what}; nothing was deployed")


# The possessive `*+` keeps the look behind a comma linear: a row of ### could else be split in 2^n ways.
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|#[^\n]*|//[^\n]*|,(?=(?:\s|#[^\n]*|//[^\n]*)*+[}\]])')


def _without_comments(text: str) -> str:
    """JSON with comments and trailing commas made plain, every line where it was; YAML is left as it is."""
    if text.lstrip()[:1] not in ("{", "[", "#", "/", ""):
        return text
    plain = _TOKEN.sub(lambda found: found[0] if found[0].startswith('"') else "", text)
    return plain if plain.lstrip()[:1] in ("{", "[", "") else text


def _json(plain: str) -> Any:
    try:
        return json.loads(plain)
    except json.JSONDecodeError as error:
        if error.msg.startswith("Expecting ','") and error.pos < len(plain):
            before = plain[: error.pos].rstrip()
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
            raise _refusal(
                f"line {line}, column {column}: a comma is missing here, before what stands on line {error.lineno}"
            ) from None
        raise _refusal(f"line {error.lineno}, column {error.colno}: {error.msg}") from None


def _yaml(text: str) -> Any:
    try:
        # An alias can stand for ever larger parts (a "billion laughs"); a description has no use for any.
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, yaml.AliasToken):
                raise _refusal(f"line {token.start_mark.line + 1}: aliases (*{token.value}) are not taken")
        value = yaml.safe_load(text)
        return json.loads(json.dumps(value, allow_nan=False))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise _refusal(f"{where}{error.problem or error.context or 'this is not YAML'}") from None
    except yaml.YAMLError as error:
        raise _refusal(" ".join(str(error).split())) from None
    except (TypeError, ValueError) as error:
        raise _refusal(f"a value that JSON does not have: {error}") from None


def _lines(plain: str) -> tuple[dict[str, int], tuple[str, ...]]:
    """Lines of all keys by dotted path, and the keys that stand twice in one object."""
    lines: dict[str, int] = {}
    twice: list[str] = []
    try:
        # YAML takes no tab as white space; only what stands outside of strings is changed.
        spaced = re.sub(r'"(?:[^"\\\n]|\\.)*"|\t', lambda m: " " if m[0] == "\t" else m[0], plain)
        for path, line in _walk(yaml.compose(spaced, Loader=yaml.SafeLoader), ""):
            if path in lines:
                twice.append(path)
            lines[path] = line
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}, ()
    return lines, tuple(twice)


def _walk(node: yaml.Node | None, path: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, inner in node.value:
            where = f"{path}.{key.value}" if path else str(key.value)
            yield where, key.start_mark.line + 1
            yield from _walk(inner, where)
    elif isinstance(node, yaml.SequenceNode):
        for number, inner in enumerate(node.value):
            yield f"{path}.{number}", inner.start_mark.line + 1
            yield from _walk(inner, f"{path}.{number}")
