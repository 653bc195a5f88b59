"""Deleting a task that has ended: its record, log and curve, and its files where that is asked for.

The files go first: should they not go whole, the task is still there, and deleting it again goes on.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from backend import paths
from backend.errors import Conflict, InvalidInput, NotFound
from backend.gateway import job_files
from backend.gateway.context import Gateway
from backend.store import accounts, tasks
from backend.task import Task
from backend.views import RoomView


async def room(gateway: Gateway, task: Task) -> RoomView:
    """What a task has left on the disk."""
    return (await _left(gateway, task))[0]


async def delete(gateway: Gateway, task: Task, *, files: bool, lora: bool) -> RoomView:
    """Remove a task; the answer is what was removed of the disk.

    Raises:
        Conflict: it waits or runs, or its files could not be removed.
        NotFound: somebody else has deleted it meanwhile.
    """
    if not task.final:
        raise Conflict(tasks.not_ended(task.id, task.state))
    if lora and not files:
        raise InvalidInput(
            "the finished LoRA is deleted together with the job's files alone; nothing was deleted"
        )
    gone = await _remove_files(gateway, task, lora) if files else RoomView([])
    if not await gateway.store.run(tasks.delete(task.id)):
        raise NotFound(f"task {task.id} has been deleted already")
    return gone


async def _remove_files(gateway: Gateway, task: Task, lora: bool) -> RoomView:
    data_dir = gateway.settings.data_dir
    left, published = await _left(gateway, task)
    wanted = published if lora else None
    try:
        await asyncio.to_thread(_remove, data_dir, task.id, wanted)
    except OSError as error:
        raise Conflict(
            f"the files of task {task.id} could not all be deleted ({error.strerror}: {error.filename}). The job is "
            "still there; delete it again when that is mended, or without its files."
        ) from None
    places = [f"{paths.JOBS}/{task.id}", *([job_files.place_of(wanted)] if wanted is not None else [])]
    for place in places:
        await gateway.store.run(accounts.give(place, ""))
    return left if wanted is not None else RoomView(left.parts)


def _remove(data_dir: Path, task: str, lora: Path | None) -> None:
    job_files.remove(data_dir, task)
    if lora is not None:
        lora.unlink(missing_ok=True)


async def _left(gateway: Gateway, task: Task) -> tuple[RoomView, Path | None]:
    data_dir = gateway.settings.data_dir
    owners = await gateway.store.run(accounts.owners([job_files.named_place(task)]))

    def look() -> tuple[RoomView, Path | None]:
        lora = job_files.published(data_dir, task, owners)
        parts = job_files.parts(data_dir, task.id, lora)
        if lora is None:
            return RoomView(parts), None
        return RoomView(parts, job_files.place_of(lora), lora.stat().st_size), lora

    return await asyncio.to_thread(look)
