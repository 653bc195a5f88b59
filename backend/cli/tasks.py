"""Commands about tasks: all that the board and a job's page show and do."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.options import AsJson, TaskId, asks_gateway, print_json, print_table
from backend.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from backend.client import Client
    from backend.views import TaskView


_COLUMNS = ("step", "epoch", "loss", "lr", "seconds_per_step")


@asks_gateway
def ps(
    client: Client,
    service: Annotated[str, typer.Option("--service", "-s", help="Only this service.")] = "",
    state: Annotated[str, typer.Option(help="Only these states, with commas between.")] = "",
    limit: Annotated[int, typer.Option(help="At most so many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List tasks, newest first."""
    found = client.tasks(service, state=state, limit=limit)
    if as_json:
        print_json([asdict(task) for task in found])
        return
    rows = [(t.id, t.state, t.name or t.kind, _doing(t), _ago(t.created_at)) for t in found]
    print_table(
        ("TASK", "STATE", "NAME", "", "CREATED"), rows, empty="no tasks yet; `lorapool submit` queues one"
    )


@asks_gateway
def logs(
    client: Client,
    task: TaskId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the task ends.")] = False,
) -> None:
    """Print a task's log. With -f, the exit code is 0 only if the task succeeded."""
    if follow:
        follow_to_end(client, task)
        return
    for line in client.task(task).logs():
        print(line)


@asks_gateway
def cancel(
    client: Client,
    task: TaskId,
    save: Annotated[bool, typer.Option("--save", help="Let a training save its state first.")] = False,
) -> None:
    """Take a waiting task from the queue, or stop a running one."""
    view = client.task(task).cancel(save=save)
    print(f"{view.id} is {view.state}" + ("" if view.final else ", it was asked to end"))


@asks_gateway
def show(client: Client, task: TaskId) -> None:
    """Show one task, whole, as JSON: state and reason, position, progress, attempts, settings."""
    print_json(asdict(client.task(task).view()))


@asks_gateway
def retry(client: Client, task: TaskId) -> None:
    """Queue a new task with the snapshot of this one; prints its id."""
    print(client.task(task).retry().id)


@asks_gateway
def priority(
    client: Client,
    task: TaskId,
    value: Annotated[int, typer.Argument(help="Higher starts sooner; 0 is usual.")],
) -> None:
    """Have a waiting task start sooner or later."""
    view = client.task(task).set_priority(value)
    place = f", position {view.position}" if view.position else ""
    print(f"{view.id} is {view.state} with priority {view.priority}{place}")


@asks_gateway
def curve(client: Client, task: TaskId, as_json: AsJson = False) -> None:
    """Print the points of a task's curve, tab-separated: step, epoch, loss, learning rate, seconds per step."""
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


@asks_gateway
def files(client: Client, task: TaskId, as_json: AsJson = False) -> None:
    """List what a task has written: samples, checkpoints, the LoRA."""
    found = client.task(task).files()
    if as_json:
        print_json([asdict(file) for file in found])
        return
    rows = [
        (f.kind, f.path, "" if f.step is None else str(f.step), "gone" if f.size is None else str(f.size))
        for f in found
    ]
    print_table(("KIND", "PATH", "STEP", "BYTES"), rows, empty="this task has written no files")


@asks_gateway
def download(
    client: Client,
    task: Annotated[str, typer.Argument(help="The task's id.")] = "",
    paths: Annotated[
        list[str] | None, typer.Argument(help="Files as `files` lists them; without any, the LoRA.")
    ] = None,
    to: Annotated[Path, typer.Option(help="The folder to put them into.")] = Path(),
    everything: Annotated[
        bool, typer.Option("--all", help="Instead of a task's: the LoRAs of all one's trainings, as one zip.")
    ] = False,
    hours: Annotated[
        float, typer.Option(help="With --all: of those that ended within so many hours.")
    ] = 24.0,
) -> None:
    """Fetch files of a task, or the LoRA that it has made, or with --all every new LoRA; prints where they are."""
    if bool(task) == everything:
        raise InvalidInput("name a task, or say --all; nothing was fetched")
    if everything:
        print(client.download_loras(to / time.strftime("loras-%Y-%m-%d.zip"), hours=hours))
        return
    handle = client.task(task)
    wanted = paths or [file.path for file in handle.files() if file.kind == "lora" and file.size is not None]
    if not wanted:
        raise NotFound(f"task {task} has made no LoRA; `lorapool files {task}` lists what there is")
    for path in wanted:
        print(handle.download(path, to / Path(path).name))


def follow_to_end(client: Client, task_id: str) -> None:
    """Print a task's log until it ends. Exits with 1 unless it succeeded."""
    task = client.task(task_id)
    for line in task.logs(follow=True):
        print(line, flush=True)
    view = task.view()
    print(f"{view.state}" + (f": {view.reason}" if view.reason else ""), file=sys.stderr)
    if view.state != "succeeded":
        raise typer.Exit(1)


def _doing(task: TaskView) -> str:
    if task.waits_for:
        return f"waits: {task.waits_for}"
    if task.state == "waiting":
        start = f", starts {_in(task.expected_start)}" if task.expected_start else ""
        return f"queued, position {task.position or '?'}{start}"
    if task.progress is not None and not task.final:
        eta = f", {_duration(task.progress.eta)} left" if task.progress.eta is not None else ""
        return f"{task.progress.step}/{task.progress.total}{eta}"
    return task.reason or task.phase or task.output


def _duration(seconds: float | None) -> str:
    whole = int(seconds or 0)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def _in(at: float) -> str:
    left = at - time.time()
    return f"in {_duration(left)}" if left > 1 else "now"


def _ago(at: float) -> str:
    return f"{_duration(max(0.0, time.time() - at))} ago"
