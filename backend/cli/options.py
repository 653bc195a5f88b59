"""What the commands of `lorapool` have in common: where the gateway is, the token, how answers are printed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.paths import stored_token

if TYPE_CHECKING:
    from backend.client import Client

DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir", envvar="LORAPOOL_DATA_DIR", help="The data folder: datasets, models, jobs, store."
    ),
]
Endpoint = Annotated[str, typer.Option(envvar="LORAPOOL_ENDPOINT", help="Where the gateway answers.")]
Token = Annotated[
    str,
    typer.Option(
        envvar="LORAPOOL_TOKEN", help="The token; by default the one in the data folder.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ServiceName = Annotated[str, typer.Option("--service", "-s", help="Name of the service.")]
TaskId = Annotated[str, typer.Argument(help="The task's id.")]

DEFAULT_ENDPOINT = "http://127.0.0.1:8000"
DEFAULT_DATA = Path("data")


@contextmanager
def connected(endpoint: str, token: str, data_dir: Path) -> Iterator[Client]:
    """A client for the gateway, with the token that was given or the one of the data folder."""
    from backend.client import Client

    with Client(endpoint, token or stored_token(data_dir)) as client:
        yield client


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Rows in columns as wide as they need; `empty` instead of a table without rows."""
    if not rows:
        print(empty)
        return
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    for row in (head, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_json(value: Any) -> None:
    """JSON for scripts, indented for people."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
