"""The bytes of an sd-scripts console as what a person would see: lines without colours, and progress bars.

Handles bars that are redrawn with carriage returns or cursor movements, and log lines that rich has wrapped into
columns. Works at any chunk border and keeps at most one line in memory.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

LONGEST_LINE = 8192

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_ENDS = re.compile(r"\r\n|\n|\r(?!\Z)")
_BAR = re.compile(
    r"(?P<name>.*?):?\s*(?P<percent>\d+)%\|[^|]*\|?\s*(?P<done>\d+)/(?P<total>\d+) \[(?P<rest>[^\]]*)(?:\]|$)"
)
_RATE = re.compile(r"([\d.]+)(it/s|s/it)")
_LOSS = re.compile(r"avr_loss=([-+\w.]+)(?=[,\]])")
"""A number that a narrow terminal has cut is not taken."""
_RICH = re.compile(
    r"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d| {19}) (?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) +"
    r"(?P<text>.*?)(?P<gap> +)(?P<place>[\w<>.-]+\.\w+:\d+|<\w+>:\d+)$"
)
_RICH_INDENT = 29
"""Width of rich's columns for time and level; a wrapped message goes on under its first word."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text. `level` is that of a log line, empty for what was just printed."""

    text: str
    level: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """One state of a progress bar. `seconds` is for one step; `loss` the mean that sd-scripts shows."""

    name: str
    done: int
    total: int
    seconds: float | None
    loss: float | None
    text: str


Shown: TypeAlias = Line | Bar


class ConsoleText:
    """Incremental reader; `feed` takes bytes cut anywhere."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._open_bar: Bar | None = None
        self._wrapped = _Wrapped()

    def feed(self, chunk: bytes) -> Iterator[Shown]:
        """What the next bytes complete. A bar counts as soon as it is drawn, although no newline follows."""
        return self._read(self._decoder.decode(chunk))

    def close(self) -> Iterator[Shown]:
        """What was left when the stream ended."""
        yield from self._read(self._decoder.decode(b"", final=True) + "\n")
        yield from self._wrapped.end()

    def _read(self, new: str) -> Iterator[Shown]:
        text = self._rest + new
        start = 0
        for end in _ENDS.finditer(text):
            yield from self._piece(text[start : end.start()])
            start = end.end()
        rest = text[start:]
        while len(rest) > LONGEST_LINE:
            yield from self._piece(rest[:LONGEST_LINE])
            rest = rest[LONGEST_LINE:]
        self._rest = rest
        if rest.rstrip("\r").rstrip().endswith("]"):
            yield from self._drawn(rest)

    def _drawn(self, text: str) -> Iterator[Shown]:
        """A bar whose line is still open: given now, and not again when the line ends."""
        bar, _ = _bar(_plain(text))
        if bar is not None and bar != self._open_bar:
            yield from self._wrapped.end()
            yield bar
        self._open_bar = bar

    def _piece(self, text: str) -> Iterator[Shown]:
        text = _plain(text)
        given, self._open_bar = self._open_bar, None
        bar, behind = _bar(text)
        if bar is None:
            yield from self._wrapped.line(text)
            return
        if bar != given:
            yield from self._wrapped.end()
            yield bar
        if behind.strip():
            yield from self._wrapped.line(behind)


class _Wrapped:
    """Puts the parts of a log line that rich has wrapped together again.

    Rich fills each row with blanks up to the column of the source place, so the blanks say how much room was left: a
    next word that would have fitted stood on a line of its own, one that would not was wrapped, and where none was
    left a single word longer than the row was cut.
    """

    def __init__(self) -> None:
        self._text = ""
        self._level = ""
        self._row = ""
        self._place = 0
        self._room = 0

    def line(self, text: str) -> Iterator[Line]:
        """The next line; gives what it shows to be complete."""
        head = _RICH.match(text)
        if head is not None:
            yield from self.end()
            self._level, self._place = head["level"], len(head["place"])
            self._text = head["text"].rstrip()
            self._row, self._room = self._text.strip(), len(head["gap"]) - 1
        elif self._level and text.startswith(" " * _RICH_INDENT) and len(self._text) < LONGEST_LINE:
            yield from self._continued(text)
        else:
            yield from self.end()
            if text.strip():
                yield Line(text.rstrip())

    def _continued(self, text: str) -> Iterator[Line]:
        part = text[_RICH_INDENT:].rstrip()
        first, _, _ = part.partition(" ")
        if self._room == 0 and " " not in self._row:
            self._text += part
        elif first and self._room < 1 + _cells(first):
            self._text += f" {part}"
        else:
            if self._text.strip():
                yield Line(self._text, self._level)
            self._text = part
        self._row = part.strip()
        self._room = len(text) - len(text.rstrip()) - self._place - 1

    def end(self) -> Iterator[Line]:
        """The log line that was under way, if any."""
        if self._text.strip():
            yield Line(self._text, self._level)
        self._text = self._level = ""


def _cells(text: str) -> int:
    """The columns that a text takes on a terminal."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _plain(text: str) -> str:
    return _ANSI.sub("", text).replace("\r", "")


def _bar(text: str) -> tuple[Bar | None, str]:
    """The bar that a piece of text begins with, and what stands behind it on the same line."""
    match = _BAR.match(text) if "%|" in text else None
    if match is None:
        return None, text
    rate = _RATE.search(match["rest"])
    loss = _LOSS.search(match[0])
    bar = Bar(
        name=match["name"].strip(),
        done=int(match["done"]),
        total=int(match["total"]),
        seconds=_seconds(rate) if rate else None,
        loss=_float(loss[1]) if loss else None,
        text=match[0].strip(),
    )
    return bar, text[match.end() :]


def _seconds(rate: re.Match[str]) -> float | None:
    value = _float(rate[1])
    if not value:
        return None
    return 1 / value if rate[2] == "it/s" else value


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
