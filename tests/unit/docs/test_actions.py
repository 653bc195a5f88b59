"""The table of actions: each request of the pages is in it, each command and each function in it exists."""

from __future__ import annotations

import importlib
import re
import shlex
from typing import Any

import pytest

from app import data, drawing, languages, live, service, training, users
from tests.unit.docs.markdown import ROOT
from tests.unit.docs.test_pages import understood

TEXT = (ROOT / "docs" / "actions.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("| on the page")
]


def requests() -> set[str]:
    """Every request that a page can make: method and path of each route."""
    found = set()
    for module in (training, data, live, drawing, service, languages, users):
        for route in module.router.routes:
            path = getattr(route, "path", "")
            found |= {f"{method} {path}" for method in getattr(route, "methods", None) or ("WS",)}
    return found


def test_every_request_of_the_pages_is_in_the_table() -> None:
    listed = {row[1].strip("`") for row in ROWS}
    assert requests() - listed == set(), "these have no row in docs/actions.md"
    assert listed - requests() == set(), "no page makes these any more"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_its_commands_and_functions_exist(row: list[str]) -> None:
    _, _, commands, functions = row
    for line in re.findall(r"`(lorapool [^`]*)`", commands):
        understood(shlex.split(line)[1:], line)
    names = re.findall(r"`([\w.]+)`", functions)
    assert commands and names, row
    for name in names:
        assert resolved(name) is not None, name


def test_every_task_action_has_a_row() -> None:
    said = " ".join(row[0] + row[2] for row in ROWS if row[1] == "`POST /live/tasks/{id}/{action}`")
    assert all(action in said for action in live._ACTIONS)


def resolved(name: str) -> Any:
    """What a dotted name stands for: a module's attribute, or a method of its class."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise AssertionError(f"there is no module of {name}")
