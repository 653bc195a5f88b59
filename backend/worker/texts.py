"""The texts of a task that may name files: the words of its command line, and the values of its TOML files."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from backend.task import Task
from backend.worker.command import words

WRITTEN = ("output_dir", "logging_dir")
"""Options that say where a training writes."""


def command_texts(task: Task) -> list[str]:
    """The words of a command, but for where it writes; a shell line as a whole, where it takes a shell."""
    argv = task.argv or words(task.data)
    if argv is None:
        return [task.data.decode("utf-8", "replace")]
    return [*_without_written(argv), *task.environment.values()]


def _without_written(argv: Iterable[str]) -> Iterator[str]:
    skip = False
    for word in argv:
        option, equals, _ = word.removeprefix("--").partition("=")
        if skip or (option in WRITTEN and word.startswith("--")):
            skip = not skip and not equals
            continue
        yield word


def value_of(argv: Sequence[str], name: str) -> str:
    """The value of an option of a command line, the last one where there are several; '' for none."""
    found = ""
    for position, word in enumerate(argv):
        if word == f"--{name}" and position + 1 < len(argv):
            found = argv[position + 1]
        elif word.startswith(f"--{name}="):
            found = word.partition("=")[2]
    return found


def text_of(file: Path) -> str:
    """What is in a text file; '' when it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def toml_texts(text: str) -> list[str]:
    """The values of a TOML file, but for where a training writes; what is none is one text."""
    try:
        return list(_leaves(tomllib.loads(text)))
    except ValueError:
        return [text]


def _leaves(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, name)
    elif isinstance(value, str) and name not in WRITTEN:
        yield value
