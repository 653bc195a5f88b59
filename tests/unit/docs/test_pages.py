"""Every link, picture and code block of the README and the docs holds."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from backend.cli import app
from backend.service import parse
from tests.unit.docs.markdown import PAGES, README, README_ZH, ROOT, Block, anchors, blocks, every, links

COMMAND = typer.main.get_command(app)
OTHERS = frozenset(
    (
        "git",
        "cd",
        "curl",
        "mkdir",
        "cp",
        "ssh",
        "docker",
        "helm",
        "kubectl",
        "ray",
        "nginx",
        "echo",
        "export",
        "pip",
        "python",
        "jupyter",
        "systemctl",
    )
)
"""Programs that the pages may call besides lorapool itself."""
PLACEHOLDERS = re.compile(r"<[\w ]+>")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        if re.match(r"(https?|mailto):", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name}: {target} leads nowhere"
        assert there.is_relative_to(ROOT), f"{page.name}: {target} leaves the project"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{page.name}: {path or page.name} has no heading {anchor}"


def test_the_chinese_readme_has_the_commands_links_and_figures_of_the_english_one() -> None:
    def code(page: Path) -> list[str]:
        return [re.sub(r" *# .*", "", block.text) for block in blocks(page)]

    def targets(page: Path) -> set[str]:
        return set(links(page)) - {README.name, README_ZH.name}

    def figures(page: Path) -> list[str]:
        return sorted(re.findall(r"\d+(?:\.\d+)*|[✓✗~]", page.read_text(encoding="utf-8")))

    def rows(page: Path) -> list[list[str]]:
        found = re.findall(r"^\|.*\|$", page.read_text(encoding="utf-8"), re.MULTILINE)
        return [re.findall(r"\d+(?:\.\d+)*|[✓✗~]", row) for row in found]

    assert code(README_ZH) == code(README)
    assert targets(README_ZH) == targets(README)
    assert figures(README_ZH) == figures(README)
    assert rows(README_ZH) == rows(README)
    assert README_ZH.name in links(README) and README.name in links(README_ZH)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_every_page_is_found_from_the_index(page: Path) -> None:
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / target.partition("#")[0]).resolve() for target in links(index)}
    assert page == index or page in listed, f"docs/README.md does not lead to {page.name}"


def test_the_pages_show_pictures() -> None:
    used = {(page.parent / target).resolve() for page in PAGES for target in links(page)}
    assert set((ROOT / "docs" / "images").glob("*.png")) & used, "the pages show no picture"


@pytest.mark.parametrize("block", every("sh", "bash"), ids=str)
def test_shell_blocks_call_what_there_is(block: Block) -> None:
    for line in commands(block.text):
        words = shlex.split(PLACEHOLDERS.sub("X", line), comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0], re.DOTALL):
            words = words[1:]
        if not words:
            continue
        program = words[0].rpartition("/")[2]
        if program == "lorapool":
            understood(words[1:], line)
        elif program == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert all(word in targets or "=" in word for word in words[1:]), line
        else:
            assert program in OTHERS, f"what is {program!r} in {line!r}?"


def commands(text: str) -> Iterator[str]:
    """The commands of a shell block: continued lines joined, parts of a list apart, comments gone."""
    joined = re.sub(r"\$\([^)]*\)", "X", re.sub(r"\\\n\s*", " ", text))
    for line in joined.splitlines():
        for part in re.split(r"\s(?:&&|\|\|?|;)\s", line):
            if part.strip() and not part.lstrip().startswith("#"):
                yield part.strip()


def understood(words: list[str], line: str) -> None:
    """The command exists, and so does each option that it is given."""
    command: Any = COMMAND
    path: list[str] = []
    while hasattr(command, "commands") and words:
        assert words[0] in command.commands, f"there is no `lorapool {' '.join([*path, words[0]])}`: {line}"
        path.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    interspersed = command.context_settings.get("allow_interspersed_args", True)
    for n, word in enumerate(words):
        if word == "--" or (
            not interspersed and not word.startswith("-") and _is_argument(words, n, command)
        ):
            return
        if re.match(r"--?[a-zA-Z]", word):
            assert word.partition("=")[0] in known, f"`lorapool {' '.join(path)}` has no {word}: {line}"


def _is_argument(words: list[str], n: int, command: Any) -> bool:
    """Whether a word is no value of the option before it."""
    before = words[n - 1] if n else ""
    takes = {
        option for param in command.params if not getattr(param, "is_flag", False) for option in param.opts
    }
    return before not in takes


@pytest.mark.parametrize("block", every("python"), ids=str)
def test_python_blocks_are_python_and_import_what_there_is(block: Block) -> None:
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("app", "backend"):
            module = __import__(node.module or "", fromlist=["_"])
            for name in node.names:
                assert hasattr(module, name.name), f"{block}: {node.module} has no {name.name}"


@pytest.mark.parametrize("block", every("json"), ids=str)
def test_json_blocks_are_json_and_descriptions_can_be_deployed(block: Block) -> None:
    lines = block.text.strip().splitlines()
    whole = block.text.strip()
    try:
        values = [json.loads(whole)]
    except ValueError:
        values = [json.loads(line) for line in lines]
    for value in values:
        if isinstance(value, dict) and "metadata" in value:
            assert parse(value).description.name
