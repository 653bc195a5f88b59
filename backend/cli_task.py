"""Commands about one task: all that a job's page shows and does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from backend.cli_options import (
    DEFAULT_DATA,
    DEFAULT_ENDPOINT,
    AsJson,
    DataDir,
    Endpoint,
    TaskId,
    Token,
    connected,
    print_json,
    print_table,
)
from backend.errors import NotFound

_COLUMNS = ("step", "epoch", "loss", "lr", "seconds_per_step")


def show(
    task: TaskId, endpoint: Endpoint = DEFAULT_ENDPOINT, token: Token = "", data_dir: DataDir = DEFAULT_DATA
) -> None:
    """Show one task, whole, as JSON: state and reason, position, progress, attempts, settings."""
    with connected(endpoint, token, data_dir) as client:
        print_json(asdict(client.task(task).view()))


def retry(
    task: TaskId, endpoint: Endpoint = DEFAULT_ENDPOINT, token: Token = "", data_dir: DataDir = DEFAULT_DATA
) -> None:
    """Queue a new task with the snapshot of this one; prints its id."""
    with connected(endpoint, token, data_dir) as client:
        print(client.task(task).retry().id)


def priority(
    task: TaskId,
    value: Annotated[int, typer.Argument(help="Higher starts sooner; 0 is usual.")],
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    token: Token = "",
    data_dir: DataDir = DEFAULT_DATA,
) -> None:
    """Have a waiting task start sooner or later."""
    with connected(endpoint, token, data_dir) as client:
        view = client.task(task).set_priority(value)
    place = f", position {view.position}" if view.position else ""
    print(f"{view.id} is {view.state} with priority {view.priority}{place}")


def curve(
    task: TaskId,
    as_json: AsJson = False,
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    token: Token = "",
    data_dir: DataDir = DEFAULT_DATA,
) -> None:
    """Print the points of a task's curve, tab-separated: step, epoch, loss, learning rate, seconds per step."""
    with connected(endpoint, token, data_dir) as client:
        handle, points, after = client.task(task), [], 0
        while (page := handle.scalars(after)).points:
            points += page.points
            after = page.next
    if as_json:
        print_json(points)
        return
    print("\t".join(_COLUMNS))
    for point in points:
        values = (point.get(column) for column in _COLUMNS)
        print("\t".join("" if value is None else f"{value:g}" for value in values))


def files(
    task: TaskId,
    as_json: AsJson = False,
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    token: Token = "",
    data_dir: DataDir = DEFAULT_DATA,
) -> None:
    """List what a task has written: samples, checkpoints, the LoRA."""
    with connected(endpoint, token, data_dir) as client:
        found = client.task(task).files()
    if as_json:
        print_json([asdict(file) for file in found])
        return
    rows = [
        (f.kind, f.path, "" if f.step is None else str(f.step), "gone" if f.size is None else str(f.size))
        for f in found
    ]
    print_table(("KIND", "PATH", "STEP", "BYTES"), rows, empty="this task has written no files")


def download(
    task: TaskId,
    paths: Annotated[
        list[str] | None, typer.Argument(help="Files as `files` lists them; without any, the LoRA.")
    ] = None,
    to: Annotated[Path, typer.Option(help="The folder to put them into.")] = Path(),
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    token: Token = "",
    data_dir: DataDir = DEFAULT_DATA,
) -> None:
    """Fetch files of a task, or the LoRA that it has made; prints where they are."""
    with connected(endpoint, token, data_dir) as client:
        handle = client.task(task)
        wanted = paths or [
            file.path for file in handle.files() if file.kind == "lora" and file.size is not None
        ]
        if not wanted:
            raise NotFound(f"task {task} has made no LoRA; `lorapool files {task}` lists what there is")
        for path in wanted:
            print(handle.download(path, to / Path(path).name))
