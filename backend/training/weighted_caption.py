"""Captions whose brackets give words a weight, as `(red:1.3) circle, [blurry]`. Pure text.

`(a)` weighs 1.1, `[a]` 1/1.1, `(a:1.3)` what it says; brackets multiply where they are nested, and a backslash takes a
bracket's meaning away. A bracket that is never closed counts to the end.
"""

from __future__ import annotations

import re
from typing import TypeAlias

Pieces: TypeAlias = tuple[tuple[str, float], ...]
"""A text in order, each part with its weight."""
_STEP = 1.1
_TOKEN = re.compile(r"\\[()\[\]\\]|[(\[]|:\s*([+-]?\d*\.?\d+)\s*\)|[)\]]|[^\\()\[\]:]+|[\\:]")


def parse(caption: str) -> Pieces:
    """The parts of a caption with their weights; parts of equal weight are joined."""
    parts: list[tuple[str, float]] = []
    opened: list[tuple[str, int]] = []
    for match in _TOKEN.finditer(caption):
        token, given = match[0], match[1]
        if token in ("(", "["):
            opened.append((token, len(parts)))
        elif given is not None and opened and opened[-1][0] == "(":
            _scale(parts, opened.pop()[1], float(given))
        elif token in (")", "]") and opened and opened[-1][0] == {")": "(", "]": "["}[token]:
            _scale(parts, opened.pop()[1], _STEP if token == ")" else 1 / _STEP)
        else:
            parts.append((token[1:] if len(token) == 2 and token[0] == "\\" else token, 1.0))
    for bracket, start in opened:
        _scale(parts, start, _STEP if bracket == "(" else 1 / _STEP)
    return _merged(parts)


def _scale(parts: list[tuple[str, float]], start: int, factor: float) -> None:
    parts[start:] = [(text, weight * factor) for text, weight in parts[start:]]


def _merged(parts: list[tuple[str, float]]) -> Pieces:
    merged: list[tuple[str, float]] = []
    for text, weight in parts:
        if merged and merged[-1][1] == weight:
            merged[-1] = (merged[-1][0] + text, weight)
        else:
            merged.append((text, weight))
    return tuple(merged) or (("", 1.0),)
