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
    """Lines as they come; a program that speaks on `PROGRESS_FD` needs no more.

    A line longer than `LONGEST_LINE` characters becomes several, so that a program that never ends one is no burden.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._returned = False  # a carriage return came last: what is printed next begins the line anew

    def feed(self, chunk: bytes) -> tuple[list[str], list[Record]]:
        """Take the next bytes, cut anywhere; give the lines that they complete."""
        return self._lines(self._decoder.decode(chunk)), []

    def close(self) -> tuple[list[str], list[Record]]:
        """The stream has ended; give what was left."""
        lines = self._lines(self._decoder.decode(b"", final=True))
        rest, self._line = self._line, ""
        return [*lines, *([rest] if rest else [])], []

    def _lines(self, text: str) -> list[str]:
        done: list[str] = []
        *complete, rest = text.split("\n")
        for line in complete:
            self._print(line, done)
            done.append(self._line)
            self._line, self._returned = "", False
        self._print(rest, done)
        return done

    def _print(self, text: str, done: list[str]) -> None:
        """Print a part without a newline over or behind what the line already shows."""
        first, *redrawn = text.split("\r")
        self._write(first, done)
        for part in redrawn:
            self._returned = True
            self._write(part, done)

    def _write(self, part: str, done: list[str]) -> None:
        if not part:
            return
        self._line = part if self._returned else self._line + part
        self._returned = False
        while len(self._line) > LONGEST_LINE:
            done.append(self._line[:LONGEST_LINE])
            self._line = self._line[LONGEST_LINE:]
