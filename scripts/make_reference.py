"""Writes the reference pages that come from the code: `python -m scripts.make_reference`. A test compares them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from backend.cli import app

DOCS = Path(__file__).parents[1] / "docs"

_INTRODUCTION = """# The command line

Every command says `--help`. Those that talk to a gateway take `--endpoint`, `--token` and `--data-dir`, or the
variables `LORAPOOL_ENDPOINT`, `LORAPOOL_TOKEN` and `LORAPOOL_DATA_DIR`; on the machine of the deployment none is
needed, as long as the data folder is `data` in the working folder. Listings have `--json`. The exit code is 0 when all
went well, 2 when what was given cannot be, 1 when something else went wrong; the reason is one line on standard error.

This page is made from the code."""

_COMMON = frozenset(("--endpoint", "--token", "--data-dir"))


def pages() -> dict[str, str]:
    """File name -> its text."""
    return {"cli.md": cli()}


def cli() -> str:
    """The reference of the command line."""
    return "\n\n".join((_INTRODUCTION, *_sections(typer.main.get_command(app), ()))) + "\n"


def _sections(command: Any, path: tuple[str, ...]) -> Iterator[str]:
    if hasattr(command, "commands"):
        for name, inner in sorted(command.commands.items()):
            yield from _sections(inner, (*path, name))
    else:
        yield _section(command, path)


def _section(command: Any, path: tuple[str, ...]) -> str:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option"]
    own = [option for option in options if not _COMMON & set(option.opts)]
    usage = " ".join(("lorapool", *path, *(["[OPTIONS]"] if options else []), *map(_usage, arguments)))
    rows = [(f"`{param.name.upper()}`", _about(param)) for param in arguments]
    rows += [(_names(option), _about(option)) for option in own]
    parts = [f"## lorapool {' '.join(path)}", f"```text\n{usage}\n```", _one_paragraph(command.help or "")]
    if rows:
        lines = "\n".join(f"| {name} | {_cell(about)} |" for name, about in rows)
        parts.append(f"| | |\n|---|---|\n{lines}")
    return "\n\n".join(parts)


def _usage(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _names(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    return names if getattr(option, "is_flag", False) else f"{names} {_kind(option)}"


def _kind(option: Any) -> Any:
    """What an option takes, in a word."""
    annotation = str(option.type_descriptor.annotation)
    words = {"Path": "PATH", "int": "INTEGER", "float": "NUMBER"}
    return option.metavar or next((word for part, word in words.items() if part in annotation), "TEXT")


def _about(param: Any) -> str:
    said = (getattr(param, "help", None) or "").strip()
    default = param.default
    shown = not callable(default) and default not in (None, "", False, (), []) and default is not True
    return f"{said} Default: `{default}`." if shown and "Ellipsis" not in repr(default) else said


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def _one_paragraph(text: str) -> str:
    return re.sub(r"\n(?!\n)\s*", " ", text.strip()).replace("<", "\\<")


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
