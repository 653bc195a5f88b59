"""Presets of our own: good starting points, as Kohya JSON files with only what differs from the defaults.

Absent keys mean the default, so that a preset gives the same form whatever was in it before.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from backend.errors import NotFound
from kohya_adapter.form import Form, loads


@dataclass(frozen=True, slots=True)
class Preset:
    """A named starting point; `about` says in one or two sentences what it is good for and what it needs."""

    name: str
    title: str
    about: str
    form: Form


@cache
def presets() -> tuple[Preset, ...]:
    """All presets, in the order in which they are offered."""
    folder = files("kohya_adapter.presets")
    lines = folder.joinpath("index.tsv").read_text(encoding="utf-8").splitlines()
    return tuple(
        Preset(
            row["name"],
            row["title"],
            row["about"],
            loads(folder.joinpath(f"{row['name']}.json").read_text(encoding="utf-8")).form,
        )
        for row in csv.DictReader(lines, delimiter="\t")
    )


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        NotFound: there is none.
    """
    for each in presets():
        if each.name == name:
            return each
    raise NotFound(f"There is no preset {name!r}; there are {', '.join(each.name for each in presets())}.")
