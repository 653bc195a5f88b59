"""Every text of the pages stands in every catalogue of ours, with the same places for names and numbers."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from app import pages, train_page
from app.languages import OURS
from kohya_adapter.fields import FIELDS, groups
from kohya_adapter.presets import presets

_STRING = r'("(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\')'
_ONE = re.compile(rf"(?<![\w.])(?:t|pieces)\(\s*{_STRING}")
_TWO = re.compile(rf"(?<![\w.])tn\([^\"']*?,\s*{_STRING},\s*{_STRING}")
_PLACE = re.compile(r"\{\w+\}")
CATALOGUES = sorted(OURS.glob("*.json"))
MAIN_FIELDS = 80
"""So many of the fields that are not basic have a name in our catalogues, at the least."""


def texts_of_the_modules() -> set[str]:
    """What stands in the calls of `words.js` in the pages' modules."""
    found: set[str] = set()
    for file in (pages.STATIC / "js").glob("*.js"):
        source = file.read_text("utf-8")
        for pattern in (_ONE, _TWO):
            for strings in pattern.findall(source):
                found |= {
                    ast.literal_eval(text) for text in ([strings] if isinstance(strings, str) else strings)
                }
    return found


def texts_of_the_server() -> set[str]:
    """What `say` is given in Python: names of pages, sections, groups, fields with their help, presets."""
    found = {title for title, _ in pages._PAGES.values()} | {pages._NO_SCRIPT, train_page._FAMILY_HELP}
    for module in (pages, train_page):
        source = Path(str(module.__file__)).read_text("utf-8")
        found |= set(re.findall(r'say\("((?:[^"\\]|\\.)*)"\)', source))
    found |= set(train_page._SECTIONS) | set(groups())
    found |= {text for field in FIELDS if field.basic for text in (field.label, field.help)}
    return found | {text for preset in presets() for text in (preset.title, preset.about)}


def read(file: Path, part: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(file.read_text("utf-8"))[part]
    return found


@pytest.mark.parametrize("file", CATALOGUES, ids=lambda file: file.stem)
def test_no_text_of_the_pages_is_missing(file: Path) -> None:
    wanted = texts_of_the_modules() | texts_of_the_server()
    assert len(wanted) > 450
    assert sorted(wanted - read(file, "texts").keys()) == []


@pytest.mark.parametrize("file", CATALOGUES, ids=lambda file: file.stem)
def test_most_of_what_people_set_has_a_name(file: Path) -> None:
    labels = {field.label for field in FIELDS if not field.basic}
    assert len(labels & read(file, "texts").keys()) > MAIN_FIELDS


@pytest.mark.parametrize("part", ["texts", "messages"])
@pytest.mark.parametrize("file", CATALOGUES, ids=lambda file: file.stem)
def test_a_translation_has_the_places_of_its_text(file: Path, part: str) -> None:
    wrong = {
        text: said
        for text, said in read(file, part).items()
        if not set(_PLACE.findall(said)) <= set(_PLACE.findall(text))
        or (set(_PLACE.findall(text)) - {"{total}"} and not _PLACE.findall(said))
    }
    assert wrong == {}


@pytest.mark.parametrize("file", CATALOGUES, ids=lambda file: file.stem)
def test_no_text_is_there_that_nobody_says(file: Path) -> None:
    said = texts_of_the_modules() | texts_of_the_server()
    said |= {text for field in FIELDS for text in (field.label, field.help)}
    assert read(file, "texts").keys() - said == set()
