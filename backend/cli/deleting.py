"""`lorapool delete`: removing jobs that have ended."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.options import asks_gateway
from backend.errors import Forbidden, InvalidInput, LorapoolError

if TYPE_CHECKING:
    from backend.client import Client
    from backend.views import RoomPart, RoomView

_MOST = 1000
_NAMES = {
    "loras": ("LoRA or checkpoint", "LoRAs and checkpoints"),
    "pictures": ("picture", "pictures"),
    "states": ("file of a state", "files of states"),
    "logs": ("log", "logs"),
    "jobs": ("other file", "other files"),
}


@asks_gateway
def delete(
    client: Client,
    tasks: Annotated[list[str] | None, typer.Argument(help="Ids of tasks that have ended.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All of one's own that have failed.")] = False,
    files: Annotated[
        bool, typer.Option("--files", help="Their files, too: pictures, checkpoints, states, logs.")
    ] = False,
    lora: Annotated[
        bool, typer.Option("--lora", help="With --files: the finished LoRAs in loras/, too.")
    ] = False,
) -> None:
    """Delete tasks that have ended: record, log and curve; files and finished LoRAs stay unless asked for.

    Exits with 1 when one of those that were named could not be deleted; the others are.
    """
    if bool(tasks) == failed:
        raise InvalidInput("name the tasks to delete, or say --failed; nothing was deleted")
    if lora and not files:
        raise InvalidInput("--lora goes with --files alone; nothing was deleted")
    wrong = False
    for task in tasks or _failed(client):
        try:
            handle = client.task(task)
            stays = None if files else handle.room()
            gone = handle.delete(files=files, lora=lora)
        except LorapoolError as error:
            if not (failed and isinstance(error, Forbidden)):
                wrong = True
                print(f"error: {error}", file=sys.stderr)
            continue
        print(f"{task} is deleted{_said(gone, stays)}", flush=True)
    if wrong:
        raise typer.Exit(1)


def _failed(client: Client) -> Iterator[str]:
    for task in client.tasks(state=("failed", "dead"), limit=_MOST):
        yield task.id


def _said(gone: RoomView, stays: RoomView | None) -> str:
    if stays is not None:
        return f"; its files stay: {in_words(stays)}" if stays.parts else ""
    lora = f", and {gone.lora} ({_size(gone.lora_bytes)})" if gone.lora else ""
    return f" with {in_words(gone)}{lora}" if gone.parts or gone.lora else "; it had no files"


def in_words(room: RoomView) -> str:
    """What is in the folders of a task: `12 pictures, 1 log (4.1 MB)`."""
    said = ", ".join(f"{part.count} {_name(part)}" for part in room.parts)
    return f"{said or 'no files'} ({_size(room.bytes)})"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _name(part: RoomPart) -> str:
    one, more = _NAMES.get(part.kind, (part.kind, part.kind))
    return one if part.count == 1 else more
