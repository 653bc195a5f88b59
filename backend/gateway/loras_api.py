"""The control API about finished LoRAs: those of many trainings in one download."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from backend.accounts import Caller
from backend.errors import NotFound
from backend.gateway import job_files
from backend.gateway.context import CallerHere, Gateway, GatewayHere, own_task
from backend.gateway.task_views import load
from backend.gateway.zipped import archive
from backend.store import accounts, tasks
from backend.task import Task, TaskState

router = APIRouter(tags=["tasks"])

_PAGE = 200


@router.get("/loras.zip", response_class=StreamingResponse)
async def download_loras(
    gateway: GatewayHere,
    caller: CallerHere,
    hours: Annotated[
        float, Query(gt=0, le=24 * 366, description="those of trainings that ended since")
    ] = 24.0,
    tasks: Annotated[str, Query(description="instead those of these tasks, ids with commas between")] = "",
) -> Response:
    """The finished LoRAs of one's own trainings as one zip, for tokens that are no account's those of everybody."""
    ids = [word for word in tasks.split(",") if word]
    if ids:
        wanted = [await own_task(gateway, caller, task_id) for task_id in dict.fromkeys(ids)]
    else:
        wanted = await _ended(gateway, caller, hours * 3600)
    files = await _loras(gateway, wanted)
    if not files:
        since = "these tasks" if ids else f"your trainings of the last {hours:g} hours"
        raise NotFound(f"there is no finished LoRA of {since} in loras/: there is nothing to download")
    name = time.strftime("loras-%Y-%m-%d.zip")
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingResponse(archive(files), media_type="application/zip", headers=headers)


async def _ended(gateway: Gateway, caller: Caller, seconds: float) -> list[Task]:
    """The trainings of whoever asks that have succeeded within so many seconds, oldest first."""
    ids = await gateway.store.run(tasks.ended(seconds))
    found: list[Task] = []
    for at in range(0, len(ids), _PAGE):
        found += [
            task
            for task in await load(gateway.store, ids[at : at + _PAGE])
            if task.state is TaskState.SUCCEEDED and caller.owns(task) and caller.user in ("", task.user)
        ]
    return found


async def _loras(gateway: Gateway, wanted: list[Task]) -> list[Path]:
    if not wanted:
        return []
    places = sorted({job_files.named_place(task) for task in wanted})
    owners = await gateway.store.run(accounts.owners(places))
    data_dir = gateway.settings.data_dir

    def look() -> list[Path]:
        found = (job_files.published(data_dir, task, owners) for task in wanted)
        return list(dict.fromkeys(file for file in found if file is not None))

    return await asyncio.to_thread(look)
