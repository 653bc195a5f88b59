"""What the commands of `lorapool` have in common: where the gateway is, the token, how answers are printed."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, get_type_hints

import typer

from backend.paths import stored_token

if TYPE_CHECKING:
    from backend.client import Client

P = ParamSpec("P")

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

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_CONNECTION = [
    inspect.Parameter("endpoint", _KEYWORD, default=DEFAULT_ENDPOINT, annotation=Endpoint),
    inspect.Parameter("token", _KEYWORD, default="", annotation=Token),
    inspect.Parameter("data_dir", _KEYWORD, default=DEFAULT_DATA, annotation=DataDir),
]


def asks_gateway(command: Callable[Concatenate[Client, P], None]) -> Callable[..., None]:
    """Make a command of a function that takes a client first.

    Instead of the client it gets --endpoint, --token (by default the one of the data folder) and --data-dir.
    """

    @functools.wraps(command)
    def run(*args: Any, endpoint: str, token: str, data_dir: Path, **kwargs: Any) -> None:
        from backend.client import Client

        with Client(endpoint, token or stored_token(data_dir)) as client:
            command(client, *args, **kwargs)

    # The names of annotations are those of the command's own module; only the client's is not there at run time.
    hints = get_type_hints(command, localns={"Client": object}, include_extras=True)
    own = list(inspect.signature(command).parameters.values())[1:]
    parameters = [each.replace(annotation=hints[each.name], kind=_KEYWORD) for each in own] + _CONNECTION
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


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
