"""What the Generate page asks for: models and LoRAs, drawings, and the pictures that they made.

    GET  drawing/choices               models, LoRAs, trainings with checkpoints, the service that draws
    POST drawing/draw                  queue a drawing: one query, two to compare, or a grid of checkpoints × weights
    GET  drawing/history               drawings, newest first
    GET  drawing/answer/{task}         what a finished query made
    GET  drawing/picture/{task}/{n}    its nth picture

A drawing is a group of queries in rows and columns, so that a checkpoint grid is nothing special: each query is
a task of its own, which the pool gives to whatever instance is free. What belongs together stands in the tasks'
details, so that a drawing is there after a reload and in another browser.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from app.gateway import Gateway
from app.live import Passage
from app.people import gateway_of
from backend.errors import InvalidArgument, InvalidInput, NotFound
from backend.generation import request_of, saved_loras
from backend.views import FileView, read

router = APIRouter(prefix="/drawing")

MOST_CELLS = 200
PREVIEW_EVERY = 5
_API = "/api/v1/"
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_TASK = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_KEYS = (
    *("prompt", "negative_prompt", "model", "loras", "width", "height", "steps", "guidance", "seed", "count"),
    *("scheduler", "image", "strength", "clip_skip"),
)
_NAME = 80
_DRAWS = 100
_FOREVER = "private, max-age=604800, immutable"
Query = dict[str, Any]


class Wanted(BaseModel):
    """A drawing as the page sends it. `group` is the page's name for it, so that a repeated click queues once.

    `compare` draws it without LoRAs, too; `training` draws it with every checkpoint of a task at each of `weights`.
    """

    group: str
    values: dict[str, Any]
    compare: bool = False
    training: str = ""
    weights: list[float] = Field(default_factory=list, max_length=20)


@dataclass(frozen=True, slots=True)
class Cell:
    """One query of a drawing and where its pictures stand."""

    row: int
    column: int
    query: Query


@dataclass(frozen=True, slots=True)
class Plan:
    """The queries of a drawing and what stands beside its rows and above its columns."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]


def plain(query: Query) -> Plan:
    """One query."""
    return Plan(("",), ("",), (Cell(0, 0, query),))


def comparison(query: Query) -> Plan:
    """Without and with its LoRAs, from the same seed."""
    return Plan(
        ("",),
        ("without the LoRA", "with the LoRA"),
        (Cell(0, 0, {**query, "loras": []}), Cell(0, 1, query)),
    )


def grid(query: Query, checkpoints: Sequence[tuple[str, str]], weights: Sequence[float]) -> Plan:
    """Every checkpoint (label, path) in a row of its own, every weight in a column; all from the same seed."""
    others = list(query.get("loras", ()))
    return Plan(
        tuple(label for label, _ in checkpoints),
        tuple(f"{weight:g}" for weight in weights),
        tuple(
            Cell(row, column, {**query, "loras": [*others, {"name": path, "weight": weight}]})
            for row, (_, path) in enumerate(checkpoints)
            for column, weight in enumerate(weights)
        ),
    )


def checkpoints(task: str, files: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Label and path of every saved LoRA of a training; see `saved_loras`."""
    saved = saved_loras(read(FileView, file) for file in files)
    return [(_label(file), f"jobs/{task}/{file.path}") for file in saved]


def _label(file: FileView) -> str:
    if file.kind == "lora":
        return "finished"
    by_epoch = re.search(r"-\d{6}\.safetensors$", file.path) is not None
    if file.epoch and (by_epoch or not file.step):
        return f"epoch {file.epoch}"
    return f"step {file.step}" if file.step else file.path.rsplit("/", 1)[-1]


@router.get("/choices")
async def choices(request: Request) -> Any:
    gateway = gateway_of(request)
    models, service, tasks = await asyncio.gather(
        gateway.get("models"), _service(gateway), gateway.get("tasks", limit=_DRAWS)
    )
    trainings = [
        {
            "id": task["id"],
            "name": task["name"] or task["id"],
            "state": task["state"],
            "at": task["created_at"],
        }
        for task in tasks["tasks"]
        if task["kind"] == "command" and task["started_at"] is not None
    ]
    return {**models, "service": service, "trainings": trainings}


async def _service(gateway: Gateway) -> str:
    """The service with the built-in app; empty where there is none."""
    for service in (await gateway.get("services"))["services"]:
        containers = (service.get("description") or {}).get("containers") or []
        if any(container.get("app") == "built-in" for container in containers):
            return str(service["name"])
    return ""


@router.post("/draw")
async def draw(request: Request, wanted: Wanted) -> Any:
    """Queue a drawing, or say what is wrong with it; then nothing was queued."""
    if not _GROUP.fullmatch(wanted.group):
        raise InvalidInput("A drawing needs a name of letters, digits and dashes. Nothing was queued.")
    gateway = gateway_of(request)
    service = await _service(gateway)
    if not service:
        raise InvalidInput(
            'There is no service that draws. Nothing was queued; give one of them "app": "built-in" as its container.'
        )
    plan = await _plan(gateway, wanted)
    submitted = await asyncio.gather(
        *(gateway.post(f"services/{service}/tasks", _task(wanted.group, plan, cell)) for cell in plan.cells)
    )
    return {"tasks": [_shown(task) for task in submitted]}


async def _plan(gateway: Gateway, wanted: Wanted) -> Plan:
    query = {key: wanted.values[key] for key in _KEYS if wanted.values.get(key) not in (None, "")}
    if not str(query.get("prompt", "")).strip():
        raise InvalidArgument("prompt", "say what is to be drawn")
    request_of(str(query["prompt"]), {key: value for key, value in query.items() if key != "prompt"})
    if wanted.training or wanted.compare:
        query.setdefault("seed", random.randrange(1 << 32))
    if wanted.training:
        files = (await gateway.get(f"tasks/{_known(wanted.training)}/files"))["files"]
        saved = checkpoints(wanted.training, files)
        weights = wanted.weights or [1.0]
        if not saved:
            raise InvalidArgument(
                "training", "has saved no LoRA yet; choose another, or wait for its first epoch"
            )
        if len(saved) * len(weights) > MOST_CELLS:
            raise InvalidArgument(
                "weights", f"are too many: {len(saved)} checkpoints leave room for {MOST_CELLS // len(saved)}"
            )
        return grid({**query, "count": 1}, saved, weights)
    return comparison(query) if wanted.compare and query.get("loras") else plain(query)


def _known(task: str) -> str:
    if not _TASK.fullmatch(task):
        raise NotFound(f"There is no task {task[:80]!r}.")
    return task


def _task(group: str, plan: Plan, cell: Cell) -> dict[str, Any]:
    body = {**cell.query, "output": "file", "preview_every": PREVIEW_EVERY}
    settings = {key: value for key, value in cell.query.items() if key != "image"}
    place = {
        "group": group,
        "row": cell.row,
        "column": cell.column,
        "rows": plan.rows,
        "columns": plan.columns,
    }
    return {
        "id": f"{group}-{cell.row}-{cell.column}",
        "kind": "query",
        "name": str(cell.query["prompt"]).strip()[:_NAME],
        "data": base64.b64encode(json.dumps(body).encode()).decode(),
        "details": {"drawing": {**place, "settings": settings, "from_picture": "image" in cell.query}},
    }


def _shown(task: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("id", "index", "state", "reason", "phase", "position", "expected_start", "progress", "cancel")
    details = task["details"]
    drawing = details.get("drawing") or _from_elsewhere(task["id"], details)
    return {key: task.get(key) for key in (*keys, "created_at", "finished_at")} | {"drawing": drawing}


def _from_elsewhere(task: str, details: Mapping[str, Any]) -> dict[str, Any]:
    """What a notebook, a program or the command line has asked for: a cell of a grid, or a drawing by itself."""
    settings, place = details["generation"], details.get("grid")
    if isinstance(place, dict):
        # Its own LoRA stands first there, last here.
        own, *others = settings["loras"]
        return {**place, "settings": {**settings, "loras": [*others, own]}, "from_picture": False}
    alone = {"group": task, "row": 0, "column": 0, "rows": [""], "columns": [""]}
    return {**alone, "settings": settings, "from_picture": settings.get("from_image", False)}


def _is_drawing(task: Mapping[str, Any]) -> bool:
    """Whether it was asked for here, or by a notebook, a program, the command line."""
    return bool({"drawing", "generation"} & (task.get("details") or {}).keys())


@router.get("/history")
async def history(request: Request, before: int | None = None) -> Any:
    """Drawings of the newest tasks, or of those before an index; `next` is where to go on, null at the end."""
    query = {"limit": _DRAWS} | ({} if before is None else {"before": before})
    tasks = (await gateway_of(request).get("tasks", **query))["tasks"]
    drawn = [_shown(task) for task in tasks if _is_drawing(task)]
    return {"tasks": drawn, "next": tasks[-1]["index"] if len(tasks) == _DRAWS else None}


@router.get("/answer/{task}")
async def answer(request: Request, task: str) -> Any:
    made = await gateway_of(request).get(f"tasks/{_known(task)}/images")
    return {
        "pictures": len(made["images"]),
        **{key: made.get(key) for key in ("seeds", "seconds", "parameters")},
    }


@router.get("/picture/{task}/{n}")
async def picture(request: Request, task: str, n: int) -> Response:
    """The links of the gateway stay here: they are good for whoever has them."""
    gateway = gateway_of(request)
    links = (await gateway.get(f"tasks/{_known(task)}/images"))["images"]
    if not 0 <= n < len(links):
        raise NotFound("There is no such picture.")
    passage = AsyncExitStack()
    found = await passage.enter_async_context(gateway.file(str(links[n]).removeprefix(_API)))
    kind = "attachment" if "download" in request.query_params else "inline"
    headers = {
        "cache-control": _FOREVER,
        "content-disposition": f'{kind}; filename="{task[:60]}-{n}.png"',
        **{key: found.headers[key] for key in ("content-length",) if key in found.headers},
    }
    return Passage(passage, found.aiter_raw(), headers, "image/png")


def install(app: FastAPI) -> None:
    """Add the routes; `app.state` must have `gateway`."""
    app.include_router(router)
