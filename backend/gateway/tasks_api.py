"""The control API about tasks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from backend import paths
from backend.accounts import Caller
from backend.errors import Conflict, InvalidArgument, NotFound
from backend.gateway import deleting, permits, submit
from backend.gateway.answers import json_answer
from backend.gateway.context import (
    CallerHere,
    Gateway,
    GatewayHere,
    own_task,
    seen_task,
    task_to_change,
    while_allowed,
)
from backend.gateway.task_stream import Cursor, TaskStream, streamed
from backend.gateway.task_views import file_views, load, point_view, shown, shown_one
from backend.store import outputs, task_queue, tasks
from backend.store.announcements import announce
from backend.task import Task, TaskState
from backend.views import FileList, LogPage, RoomView, ScalarPage, TaskList, TaskView, as_json

router = APIRouter(tags=["tasks"])

_PAGE = 200
_SCANNED = 5000

Count = Annotated[int, Query(ge=0, lt=1 << 53)]


class Cancel(BaseModel):
    """How a running task ends: `stop` now, `save` after it has saved its state."""

    mode: Literal["stop", "save"] = "stop"


class Priority(BaseModel):
    """Tasks of a higher priority start first."""

    priority: int = Field(ge=-1000, le=1000)


async def _answer(gateway: Gateway, caller: Caller, task: Task) -> Response:
    return json_answer(as_json(await shown_one(gateway.store, caller, task)))


@router.post("/services/{service}/tasks", response_model=TaskView)
async def submit_task(
    service: str, body: submit.Submission, gateway: GatewayHere, caller: CallerHere
) -> Response:
    """Queue a task. Repeating with the same `id` answers the task of then."""
    caller.need(service)
    caller.need_writer()
    deployed = await gateway.catalog.get(service)
    return await _answer(gateway, caller, await submit.submit(gateway, caller, deployed.description, body))


@router.get("/tasks", response_model=TaskList)
async def list_tasks(
    gateway: GatewayHere,
    caller: CallerHere,
    service: str = "",
    state: Annotated[str, Query(description="states, separated by commas")] = "",
    user: str = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    before: Annotated[int | None, Query(ge=0, lt=1 << 53, description="only smaller indexes")] = None,
) -> Response:
    """Tasks, newest first; of others', what a queue shows."""
    states = {word.strip() for word in state.split(",") if word.strip()}
    for word in states - {known.value for known in TaskState}:
        raise InvalidArgument("state", f"there is no state {word!r}; known are {', '.join(TaskState)}")
    if service:
        caller.need(service)
    names = [service] if service else [each.description.name for each in await gateway.catalog.all()]
    found: list[Task] = []
    for name in names:
        if caller.may_use(name):
            found += await _newest(gateway, name, states, user, limit, before)
    found.sort(key=lambda task: (task.created_at, task.index), reverse=True)
    found = found[:limit]
    return json_answer({"tasks": [as_json(view) for view in await shown(gateway.store, caller, found)]})


async def _newest(
    gateway: Gateway, service: str, states: set[str], user: str, limit: int, before: int | None
) -> list[Task]:
    """The newest tasks of one service that fit."""
    found: list[Task] = []
    for _ in range(_SCANNED // _PAGE):
        page = await load(
            gateway.store, await gateway.store.run(tasks.newest(service, before=before, limit=_PAGE))
        )
        found += [task for task in page if (not states or task.state in states) and user in ("", task.user)]
        if len(page) < _PAGE or len(found) >= limit:
            break
        before = page[-1].index
    return found[:limit]


@router.get("/tasks/{task_id}", response_model=TaskView)
async def get_task(task_id: str, gateway: GatewayHere, caller: CallerHere) -> Response:
    """One task; of another's, what a queue shows: name, state, place."""
    return await _answer(gateway, caller, await seen_task(gateway, caller, task_id))


@router.post("/tasks/{task_id}/cancel", response_model=TaskView)
async def cancel_task(
    task_id: str, gateway: GatewayHere, caller: CallerHere, body: Cancel | None = None
) -> Response:
    """End a task: at once when it waits, through its instance when it runs. One that has ended stays as it is."""
    task = await task_to_change(gateway, caller, task_id)
    await gateway.store.run(tasks.cancel(task.id, body.mode if body else "stop"))
    return await _answer(gateway, caller, await gateway.store.run(tasks.get(task.id)))


@router.post("/tasks/{task_id}/retry", response_model=TaskView)
async def retry_task(task_id: str, gateway: GatewayHere, caller: CallerHere) -> Response:
    """Queue a new task with the same snapshot as one that has ended."""
    task = await task_to_change(gateway, caller, task_id)
    if not task.final:
        raise Conflict(f"task {task_id} is {task.state}: only one that has ended can be run again")
    deployed = await gateway.catalog.get(task.service)
    return await _answer(gateway, caller, await submit.again(gateway, caller, deployed.description, task))


@router.post("/tasks/{task_id}/priority", response_model=TaskView)
async def set_priority(task_id: str, body: Priority, gateway: GatewayHere, caller: CallerHere) -> Response:
    """Change when a waiting task starts."""
    task = await task_to_change(gateway, caller, task_id)
    permits.check_priority(caller, task.service, body.priority)
    if task.state is not TaskState.WAITING:
        raise Conflict(f"task {task_id} is {task.state}: only a waiting one has a priority to change")
    await gateway.store.run(task_queue.set_priority(task.id, body.priority))
    await gateway.store.run(announce("task", task.id, task.service))
    return await _answer(gateway, caller, await gateway.store.run(tasks.get(task.id)))


@router.get("/tasks/{task_id}/room", response_model=RoomView)
async def get_room(task_id: str, gateway: GatewayHere, caller: CallerHere) -> Response:
    """What the task has left on the disk: what deleting it with its files would remove."""
    task = await own_task(gateway, caller, task_id)
    return json_answer(as_json(await deleting.room(gateway, task)))


@router.delete("/tasks/{task_id}", response_model=RoomView)
async def delete_task(
    task_id: str,
    gateway: GatewayHere,
    caller: CallerHere,
    files: Annotated[bool, Query(description="its job folder and what it has drawn, too")] = False,
    lora: Annotated[bool, Query(description="with files: its finished LoRA under loras/, too")] = False,
) -> Response:
    """Remove a task that has ended: record, log and curve. Answers what was removed of the disk."""
    task = await task_to_change(gateway, caller, task_id)
    return json_answer(as_json(await deleting.delete(gateway, task, files=files, lora=lora)))


@router.get("/tasks/{task_id}/log", response_model=LogPage)
async def get_log(
    task_id: str,
    gateway: GatewayHere,
    caller: CallerHere,
    after: Count = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> Response:
    """Lines of the log behind number `after`."""
    task = await own_task(gateway, caller, task_id)
    lines = await gateway.store.run(outputs.log(task.id, after, limit=limit))
    page = LogPage(lines, lines[-1][0] if lines else after, task.log_lines)
    return json_answer(as_json(page))


@router.get("/tasks/{task_id}/log.txt", response_class=Response)
async def download_log(task_id: str, gateway: GatewayHere, caller: CallerHere) -> Response:
    """The whole log as a file."""
    task = await own_task(gateway, caller, task_id)
    path = paths.job_dir(gateway.settings.data_dir, task.id) / "log.txt"
    if not path.is_file():
        return Response(b"", media_type="text/plain; charset=utf-8")
    return FileResponse(path, media_type="text/plain; charset=utf-8", filename=f"{task.id}.log.txt")


@router.get("/tasks/{task_id}/scalars", response_model=ScalarPage)
async def get_scalars(task_id: str, gateway: GatewayHere, caller: CallerHere, after: Count = 0) -> Response:
    """Points of the curve behind number `after`."""
    task = await own_task(gateway, caller, task_id)
    points = await gateway.store.run(outputs.scalars(task.id, after))
    page = ScalarPage([point_view(point) for point in points], points[-1][0] if points else after)
    return json_answer(as_json(page))


@router.get("/tasks/{task_id}/files", response_model=FileList)
async def list_files(task_id: str, gateway: GatewayHere, caller: CallerHere) -> Response:
    """What the task has written so far."""
    task = await own_task(gateway, caller, task_id)
    written = await gateway.store.run(outputs.files(task.id))
    views = await asyncio.to_thread(file_views, gateway.settings.data_dir, task.id, written)
    return json_answer({"files": [as_json(view) for view in views]})


@router.get("/tasks/{task_id}/files/{path:path}", response_class=FileResponse)
async def download_file(task_id: str, path: str, gateway: GatewayHere, caller: CallerHere) -> Response:
    """One file of the task's job folder."""
    task = await own_task(gateway, caller, task_id)
    file = await asyncio.to_thread(_file, gateway.settings.data_dir, task.id, path)
    return FileResponse(file, filename=file.name)


def _file(data_dir: Path, task: str, path: str) -> Path:
    file = paths.confined(paths.job_dir(data_dir, task), path, field="path")
    if not file.is_file():
        raise NotFound(f"task {task} has no file {path!r}")
    return file


@router.get(
    "/tasks/{task_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def follow_task(
    task_id: str,
    request: Request,
    gateway: GatewayHere,
    caller: CallerHere,
    log: Count = 0,
    scalars: Count = 0,
    files: Count = 0,
    last_event_id: Annotated[str, Header()] = "",
) -> Response:
    """The task as server-sent events, from these cursors or from `Last-Event-ID` on, until it has ended."""
    task = await own_task(gateway, caller, task_id)
    cursor = Cursor.parse(last_event_id) or Cursor(log, scalars, files)
    return streamed(while_allowed(request, TaskStream(gateway, caller, task, cursor).events()))
