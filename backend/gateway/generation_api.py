"""The control API about pictures: what a query can name, what it has drawn, and files by signed links."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import FileResponse, Response

from backend import links, paths
from backend.accounts import Role, ownership
from backend.errors import NotFound
from backend.gateway.answers import json_answer
from backend.gateway.context import CallerHere, GatewayHere, own_task
from backend.inference.catalog import Catalog
from backend.store import accounts
from backend.views import GenerationView, LoraView, ModelList, ModelView, as_json, read

router = APIRouter(tags=["pictures"])

RESULT = "result.json"
"""What the app leaves beside the pictures of a query: its answer without the links."""


@router.get("/models", response_model=ModelList)
async def list_models(gateway: GatewayHere, caller: CallerHere) -> Response:
    """The base models, and the LoRAs of `loras/` that are the caller's or everybody's, newest first."""
    found = await asyncio.to_thread(_models, gateway.settings.data_dir)
    if caller.role is not Role.ADMIN:
        places = sorted({ownership.place(each.path) for each in found.loras})
        owners = await gateway.store.run(accounts.owners(places)) if places else {}
        mine = [each for each in found.loras if ownership.may_read(caller, each.path, owners)]
        found = replace(found, loras=mine)
    return json_answer(as_json(found))


def _models(data_dir: Path) -> ModelList:
    catalog = Catalog(data_dir)
    return ModelList(
        [read(ModelView, asdict(each)) for each in catalog.models()],
        [read(LoraView, asdict(each)) for each in catalog.loras()],
    )


@router.get("/tasks/{task_id}/images", response_model=GenerationView)
async def get_images(task_id: str, gateway: GatewayHere, caller: CallerHere) -> Response:
    """What a query with `"output": "file"` has drawn, with fresh links."""
    task = await own_task(gateway, caller, task_id)
    return json_answer(await asyncio.to_thread(_drawn, gateway.settings.data_dir, task.id))


def _drawn(data_dir: Path, task: str) -> dict[str, Any]:
    file = data_dir / links.OUTPUTS / task / RESULT
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        names = [Path(str(name)).name for name in said["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise NotFound(
            f"task {task} has left no pictures in {links.OUTPUTS}/: it has not ended well, or sent them in its answer"
        ) from None
    secret = links.key(data_dir)
    return {**said, "images": [links.link(secret, f"{task}/{name}") for name in names]}


@router.get("/outputs/{path:path}", response_class=FileResponse)
async def get_output(
    path: str,
    gateway: GatewayHere,
    expires: Annotated[str, Query(description="from the link")] = "",
    signature: Annotated[str, Query(description="from the link")] = "",
) -> Response:
    """A picture by its signed link. Needs no token."""
    data_dir = gateway.settings.data_dir
    links.check(await asyncio.to_thread(links.key, data_dir), path, expires, signature)
    file = await asyncio.to_thread(paths.confined, data_dir / links.OUTPUTS, path, field="path")
    if not file.is_file():
        raise NotFound(f"the picture {path!r} is not there any more")
    return FileResponse(file, headers={"Cache-Control": "private, max-age=86400, immutable"})
