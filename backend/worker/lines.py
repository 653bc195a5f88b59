"""What a program prints, as lines for a log.

A carriage return that no newline follows redraws a line, as progress bars do: only what stood there last counts.
"""

from __future__ import annotations

import codecs
from typing import Protocol

from backend.records import Record

LONGEST_LINE = 8192


class Interpreter(Protocol):
    """Makes log lines and records of the bytes that a program prints."""

    def feed(self, chunk: bytes) -> tuple[list[str], list[Record]]:
        """Take the next bytes, cut anywhere; give the lines and records that they complete."""

    def close(self) -> tuple[list[str], list[Record]]:
        """The stream has ended; give what was left."""


class PlainLines:
    """Lines as they come; a program that speaks on `PROGRESS_FD` needs no more."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, chunk: bytes) -> tuple[list[str], list[Record]]:
        """Take the next bytes, cut anywhere; give the lines that they complete."""
        text = self._rest + self._decoder.decode(chunk)
        *complete, rest = text.split("\n")
        while len(rest) > LONGEST_LINE:
            rest = _shown(rest) if "\r" in rest else rest
            if len(rest) > LONGEST_LINE:
                complete.append(rest[:LONGEST_LINE])
                rest = rest[LONGEST_LINE:]
        self._rest = rest
        return [part for line in complete for part in _parts(_shown(line))], []

    def close(self) -> tuple[list[str], list[Record]]:
        """The stream has ended; give what was left."""
        rest = self._rest + self._decoder.decode(b"", final=True)
        self._rest = ""
        return (_parts(_shown(rest)) if rest else []), []


def _shown(line: str) -> str:
    """What a terminal would show of a line with carriage returns in it."""
    line = line.removesuffix("\r")
    return line.rpartition("\r")[2] if "\r" in line else line


def _parts(line: str) -> list[str]:
    return [line[start : start + LONGEST_LINE] for start in range(0, len(line), LONGEST_LINE)] or [""]
