"""Every text of the pages stands in every catalogue of ours, with the same places for names and numbers."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from app import login_page, pages, train_page
from app.languages import OURS
from backend.worker import kohya_failure, outcome, proof
from kohya_adapter.fields import FIELDS, groups
from kohya_adapter.presets import presets

_STRING = r'("(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\')'
_ONE = re.compile(rf"(?<![\w.])(?:t|pieces)\(\s*{_STRING}")
_TWO = re.compile(rf"(?<![\w.])tn\([^\"']*?,\s*{_STRING},\s*{_STRING}")
_PLACE = re.compile(r"\{\w+\}")
CATALOGUES = sorted(OURS.glob("*.json"))
ROOT = OURS.parent.parent
_SAYS = {"Problem": 1, "InvalidArgument": 1, "Rule": 2}
"""Calls that say what is wrong with a form, and which of their arguments has the words."""
_HINT = "did_you_mean"
_PUT_TOGETHER = {
    "--{} takes {}": "--x takes no value",
    "never happens: the training has {} {}": "never happens: the training has 9 epochs",
    "{} has no model_index.json{}; it is no complete model": "x has no model_index.json; it is no complete model",
    "{} is not {}, such as {}": "x is not a whole number, such as 1",
    "{} needs an NVIDIA GPU, and the instances have none; {}": (
        "x needs an NVIDIA GPU, and the instances have none; choose y"
    ),
    "{} needs {}, which is not installed on the instances; {}": (
        "x needs y, which is not installed on the instances; choose z"
    ),
}
"""Sentences of which parts are put in that are words themselves, and how one of them reads."""
_ENDS = {
    "stopped on request{}": "stopped on request, state saved",
    "its instance had to leave{}": "its instance had to leave, state saved",
    "the run was killed by signal {} ({}){}": (
        "the run was killed by signal 9 (SIGKILL); the system may have run out of memory"
    ),
    "{}×{} takes about {} with {}, and {} are free{}; choose a smaller size": (
        "64×64 takes about 2 GB with x, and 1 GB are free of the 3 GB that may be taken here (y); choose a smaller size"
    ),
    "the loss is NaN since step {}: the weights are beyond repair, nothing was saved from them; {}. "
    "Lower the learning rate, or train with mixed_precision bf16 or no": (
        "the loss is NaN since step 9: the weights are beyond repair, nothing was saved from them; "
        "no checkpoint was written before. Lower the learning rate, or train with mixed_precision bf16 or no"
    ),
}
"""The same for how a run ends, and for the memory of pictures."""
_REFUSALS = {
    **dict.fromkeys(("Conflict", "Forbidden", "FormerName", "InvalidInput", "NotFound", "OverLimit"), 0),
    **dict.fromkeys(("QueueFull", "RunFailed", "StoreUnavailable", "TooLarge", "Unauthorized"), 0),
    "InvalidArgument": 1,
}
"""Errors that a page shows, and which of their arguments has the words."""
_REFUSING = (
    *("app/data.py", "app/datasets.py", "app/drawing.py", "app/live.py", "app/people.py", "app/rights.py"),
    *("app/training.py", "app/users.py", "backend/accounts/*.py", "backend/inference/[!s]*.py"),
    *("backend/inference/schedulers.py", "backend/inference/shelf.py", "backend/links.py"),
    *(
        f"backend/gateway/{name}.py"
        for name in ("access_api", "auth", "body", "bounded", "deleting", "generation_api", "loras_api")
    ),
    *(
        f"backend/gateway/{name}.py"
        for name in ("permits", "scaling_api", "submit", "tasks_api", "tokens_api", "users_api")
    ),
    *("backend/store/connection.py", "backend/store/tasks.py", "backend/training/*.py", "kohya_adapter/*.py"),
)
"""Where they come from. The rest of the gateway answers programs."""
_NAMES_FIRST = {"{} {}", "{}: {}"}
"""The page looks up what follows the name."""
_NEVER_SHOWN = ("app/proxies.py", "kohya_adapter/snapshot.py: {} cannot name a folder")


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
    for module in (pages, train_page, login_page):
        source = Path(str(module.__file__)).read_text("utf-8")
        found |= set(re.findall(r'say\("((?:[^"\\]|\\.)*)"\)', source))
    found |= set(train_page._SECTIONS) | set(groups())
    found |= {text for field in FIELDS for text in (field.label, field.help)}
    return found | {text for preset in presets() for text in (preset.title, preset.about)}


def read(file: Path, part: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(file.read_text("utf-8"))[part]
    return found


@pytest.mark.parametrize("file", CATALOGUES, ids=lambda file: file.stem)
def test_no_text_of_the_pages_is_missing(file: Path) -> None:
    wanted = texts_of_the_modules() | texts_of_the_server()
    assert len(wanted) > 1000
    assert sorted(wanted - read(file, "texts").keys()) == []


@pytest.mark.parametrize("file", CATALOGUES, ids=lambda file: file.stem)
def test_every_field_has_a_name_and_its_help_is_translated(file: Path) -> None:
    said = read(file, "texts")
    assert [field.key for field in FIELDS if field.label not in said] == []
    assert [field.key for field in FIELDS if said.get(field.help, field.help) == field.help] == []


def patterns(keys: Iterable[str]) -> list[re.Pattern[str]]:
    """What is recognised by these keys: their words, with something in each of their places."""
    return [re.compile(".+?".join(map(re.escape, _PLACE.split(key))), re.DOTALL) for key in keys]


def sentence(node: ast.expr) -> str | None:
    """The text of an argument, `{}` where something is put in; a hint that may be missing is left out."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            said = ""
            for part in parts:
                if isinstance(part, ast.FormattedValue):
                    said += "" if _HINT in ast.unparse(part) else "{}"
                elif isinstance(part, ast.Constant):
                    said += str(part.value)
            return said
    return None


def sentences_about_forms() -> set[str]:
    """What the checks of a form say, as the sources have it: those of the adapter, the trainer and the data page."""
    found = set()
    for file in (
        *ROOT.glob("kohya_adapter/*.py"),
        *ROOT.glob("backend/training/**/*.py"),
        *ROOT.glob("app/*.py"),
    ):
        where = file.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if not isinstance(node, ast.Call) or name not in _SAYS or len(node.args) <= _SAYS[name]:
                continue
            said = sentence(node.args[_SAYS[name]])
            if said and not f"{where}: {said}".startswith(_NEVER_SHOWN):
                found.add(said)
    return found


@pytest.mark.parametrize("file", CATALOGUES, ids=lambda file: file.stem)
def test_what_the_checks_of_a_form_say_is_in_the_catalogue(file: Path) -> None:
    known = patterns(read(file, "messages"))
    said = sentences_about_forms()
    assert len(said) > 150
    assert said >= _PUT_TOGETHER.keys()
    read_as = {_PUT_TOGETHER.get(text, text.replace("{}", "<x>")) for text in said - _NAMES_FIRST}
    lacking = [text for text in read_as if not any(key.fullmatch(text) for key in known)]
    assert sorted(lacking) == []


def errors_for_people() -> set[str]:
    """What the errors say that a page may get as the answer to something that a person did."""
    found = set()
    for file in (file for pattern in _REFUSING for file in ROOT.glob(pattern)):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            name = ast.unparse(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and name in _REFUSALS and len(node.args) > _REFUSALS[name]:
                said = sentence(node.args[_REFUSALS[name]])
                if said and not f"{file.relative_to(ROOT).as_posix()}: {said}".startswith(_NEVER_SHOWN):
                    found.add(said)
    return found


def ends_of_runs() -> set[str]:
    """Why a run has ended, as the worker judges it: what `outcome.py` and `proof.py` return, and what is explained."""
    found = {f"{words} (<x>)" for _, words in kohya_failure._EXPLAINED}
    for module in (outcome, proof):
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text("utf-8"))):
            if isinstance(node, ast.Return) and node.value is not None:
                value = node.value
                if (
                    isinstance(value, ast.Call)
                    and ast.unparse(value.func) == "Outcome"
                    and len(value.args) > 1
                ):
                    value = value.args[1]
                found.add(sentence(value) or "")
    return found - {""}


@pytest.mark.parametrize("file", CATALOGUES, ids=lambda file: file.stem)
def test_what_a_person_is_refused_with_and_how_a_run_ends_is_in_the_catalogue(file: Path) -> None:
    known = patterns(read(file, "messages"))
    told = errors_for_people() | ends_of_runs()
    assert len(told) > 250
    assert told >= _ENDS.keys()
    said = {_PUT_TOGETHER.get(text, _ENDS.get(text, text.replace("{}", "<x>"))) for text in told}
    lacking = [
        text
        for text in said - {name.replace("{}", "<x>") for name in _NAMES_FIRST}
        if not any(key.fullmatch(text) for key in known)
    ]
    assert sorted(lacking) == []


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
    assert read(file, "texts").keys() - said == set()
