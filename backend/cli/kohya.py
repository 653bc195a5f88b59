"""The command that has an existing kohya_ss send its trainings here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from backend.cli.options import DEFAULT_DATA, DEFAULT_ENDPOINT, DataDir, Endpoint, ServiceName, Token
from backend.errors import InvalidInput
from backend.paths import stored_token


def kohya_ss(
    checkout: Annotated[Path, typer.Argument(help="The folder of kohya_ss.")],
    flags: Annotated[
        list[str] | None,
        typer.Argument(help="Flags of its kohya_gui.py: --listen, --server_port, --headless, …"),
    ] = None,
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    token: Token = "",
    service: ServiceName = "kohya_job",
    user: Annotated[str, typer.Option(help="For whom its trainings are.")] = "",
    priority: Annotated[int, typer.Option(help="Higher ones start first.")] = 0,
    folder_map: Annotated[
        list[str] | None,
        typer.Option(
            "--map", help="HERE=THERE: a folder that the pool has under another path. May be repeated."
        ),
    ] = None,
    python: Annotated[str, typer.Option(help="kohya_ss's Python, where it is not in venv or .venv.")] = "",
    data_dir: DataDir = DEFAULT_DATA,
) -> None:
    """Start an existing kohya_ss whose "Start training" queues here. Options of ours come before its folder."""
    from kohya_adapter.checkout.command import PoolOf, start

    key = token or stored_token(data_dir)
    pool = PoolOf(endpoint, key, service, user, priority, tuple(folder_map or ()))
    words, variables = start(checkout, pool, flags or (), python=python)
    try:
        os.execve(words[0], words, variables)
    except OSError as error:
        raise InvalidInput(f"{words[0]} cannot be started: {error.strerror}; nothing was started") from None
