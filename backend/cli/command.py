"""The `lorapool` command: which commands there are, in the order of its help."""

from __future__ import annotations

import os
import sys

import typer

from backend.cli import (
    dataset,
    deleting,
    form,
    kohya,
    pictures,
    pool,
    processes,
    scaling,
    service,
    submit,
    tasks,
    upkeep,
    users,
)
from backend.errors import InvalidInput, LorapoolError

_COMMANDS = (
    *(processes.up, processes.demo, processes.gateway, processes.supervisor, processes.worker, processes.gui),
    *(processes.doctor, kohya.kohya_ss),
    *(submit.submit, submit.tool, pictures.generate, pictures.grid, pictures.models),
    *(tasks.ps, tasks.logs, tasks.cancel, pool.why, pool.instances),
    *(tasks.show, tasks.retry, tasks.priority, tasks.curve, tasks.files, tasks.download),
    deleting.delete,
    *(scaling.replay, scaling.workload, users.audit),
    *(upkeep.backup, upkeep.restore, upkeep.clean),
)
_TAKES_A_COMMAND = (submit.submit, submit.tool, kohya.kohya_ss)

app = typer.Typer(
    name="lorapool",
    help="A self-hosted Scalable Job service for image LoRAs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(service.app, name="service")
app.add_typer(dataset.app, name="dataset")
app.add_typer(form.app, name="form")
app.add_typer(users.app, name="user")
app.add_typer(users.tokens, name="token")
for _command in _COMMANDS:
    # What follows the first word of a command is that command's, also when it begins with a dash.
    app.command(context_settings={"allow_interspersed_args": _command not in _TAKES_A_COMMAND})(_command)


def main() -> None:
    """Entry of the command: errors of ours are one line, never a traceback."""
    try:
        app()
    except LorapoolError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, InvalidInput) else 1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        # Whoever read us has gone, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(0) from None
