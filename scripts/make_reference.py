"""Writes the reference pages that come from the code: `python -m scripts.make_reference`. A test compares them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from backend.cli import app
from backend.service.meaning import RECORDED
from backend.service.schema import keys, schema
from backend.service.version import READ_ANEW, RPC

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
    return {
        "cli.md": cli(),
        "service-descriptions.md": descriptions(),
        "service-schema.json": json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
    }


_DESCRIPTIONS = """# Service descriptions

What `lorapool service create`, `update` and `up` read: JSON as the EAS documents print it, with `#` and `//` comments
and trailing commas, or YAML. Keys may be nested or dotted (`"rpc.worker_threads": 4`), and what is not `containers`
or `storage` may stand in `metadata` or at the top. `lorapool service check my.json` says what is wrong, with line and
key, and what has no effect, without deploying anything.

Editors complete and check with [the schema](service-schema.json): `lorapool service schema > schema.json`, and for
YAML a first line `# yaml-language-server: $schema=schema.json`. The descriptions of the EAS documents are in
[examples/eas](examples/eas).

This page is made from the code.

## Keys that do something"""

_RECORDED = """## Keys that do nothing here

EAS knows these, and a description may keep them: they are stored and shown, and a warning says why they do nothing. Any
other key is kept, too, with a warning that proposes the nearest one that there is."""

_UPDATES = """## What an update does

An update takes effect at once for what the gateway and the supervisor read: scaling, limits, queues, token, front end.
What an instance is started by ({parts} aside, everything else of the description) has instances replaced one after
another: an idle one leaves at once, a busy one when its work has ended, and none as long as new ones do not come up.
Of `rpc` that are {rpc}. Until all are replaced the service is `Updating`; when no new one comes up it says why.

| state | the service |
|---|---|
| Creating | is stored; no supervisor has looked after it yet |
| Starting | has instances that come up, and none that is up |
| Running | has instances that are up, all by its newest description |
| Updating | has instances that are up, some by an older description |
| Waiting | has no instance, and needs none |
| Failed | has no instance, as none comes up; `trouble` says why |
| Stopping, Stopped | was stopped: has instances that end their work, has none |"""


def descriptions() -> str:
    """The reference of service descriptions."""
    does = [("key", "type", "default", "effect"), ("---",) * 4]
    does += [(f"`{each.path}`", each.type, _default(each.default), each.effect) for each in keys()]
    recorded = [("key", "what is said"), ("---",) * 2]
    recorded += [(f"`{path.replace('.*', '[]')}`", said) for path, said in RECORDED.items()]
    updates = _UPDATES.format(
        parts=", ".join(f"`{part}`" for part in sorted(READ_ANEW - {"metadata"})),
        rpc=", ".join(f"`{name}`" for name in RPC),
    )
    parts = (_DESCRIPTIONS, _table(does), _RECORDED, _table(recorded), updates)
    return "\n\n".join(parts) + "\n"


def _table(rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows)


def _default(value: Any) -> str:
    return "" if value in (None, "", []) else f"`{json.dumps(value)}`"


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
