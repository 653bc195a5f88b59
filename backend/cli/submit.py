"""Commands that queue something."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.options import ServiceName, asks_gateway
from backend.cli.tasks import follow_to_end
from backend.errors import InvalidInput

if TYPE_CHECKING:
    from backend.client import Client


@asks_gateway
def submit(
    client: Client,
    command: Annotated[
        list[str] | None, typer.Argument(help="The command: one shell line, or its words.")
    ] = None,
    form: Annotated[
        Path | None, typer.Option(help="Train this: a Kohya JSON, an sd-scripts TOML, or like a LoRA file.")
    ] = None,
    service: ServiceName = "kohya_job",
    name: Annotated[str, typer.Option(help="A name for people.")] = "",
    user: Annotated[str, typer.Option(help="Whose task it is.")] = "",
    priority: Annotated[int, typer.Option(help="Higher starts sooner.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print its log until it ends.")] = False,
) -> None:
    """Queue a command or a training; prints the task's id."""
    if (form is None) == (not command):
        raise InvalidInput("give either a command or --form FORM.json; nothing was queued")
    if form is not None:
        from kohya_adapter.submission import submit_file

        task = submit_file(client, form, service=service, name=name, user=user, priority=priority, warn=_warn)
    elif command and len(command) == 1:
        task = client.service(service).submit(command=command[0], name=name, user=user, priority=priority)
    else:
        task = client.service(service).submit(argv=command, name=name, user=user, priority=priority)
    print(task.id, flush=True)
    if follow:
        follow_to_end(client, task.id)


@asks_gateway
def tool(
    client: Client,
    arguments: Annotated[
        list[str],
        typer.Argument(help="verify, resize, merge or grid, and what it takes; TOOL --help says what."),
    ],
    service: ServiceName = "kohya_job",
    user: Annotated[str, typer.Option(help="Whose task it is.")] = "",
    priority: Annotated[int, typer.Option(help="Higher starts sooner.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print its log until it ends.")] = False,
) -> None:
    """Queue a tool for LoRA files of the data folder; prints the task's id."""
    task = client.service(service).tool(*arguments, user=user, priority=priority)
    print(task.id, flush=True)
    if follow:
        follow_to_end(client, task.id)


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
