"""Pictures from the built-in inference app: asked for, waited for, kept; and whole grids of them over the pool.

`Service.generate` and `Service.grid` of the client are the way in.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.errors import LorapoolError, RunFailed
from backend.inference.grid import Cell, Plan
from backend.inference.request import GenerationRequest, parse
from backend.views import FileView, TaskView

if TYPE_CHECKING:
    from PIL import Image

    from backend.client import Client, Service, TaskHandle

_LOOK_EVERY = 0.25
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class GeneratedImages:
    """What was drawn: PNG files as bytes, their seeds, how long it took on the instance, every parameter used."""

    images: list[bytes]
    seeds: list[int]
    seconds: float
    parameters: dict[str, Any]
    task: str = ""

    def save(self, folder: str | Path) -> list[Path]:
        """Write each into a folder, named by task and number."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        paths = [target / f"{self.task[:8] or 'picture'}-{n:02d}.png" for n in range(len(self.images))]
        for path, image in zip(paths, self.images, strict=True):
            path.write_bytes(image)
        return paths


@dataclass(frozen=True, slots=True)
class Generation:
    """A query for pictures, queued."""

    task: TaskHandle
    request: GenerationRequest

    def wait(self, timeout: float | None = None) -> GeneratedImages:
        """The pictures, once they are drawn.

        Raises:
            RunFailed: it could not be drawn, or was cancelled; the message says why.
            TimeoutError: not within `timeout` seconds; it goes on.
        """
        view = self.task.wait(timeout)
        if view.state != "succeeded":
            raise RunFailed(view.reason or f"the query was {view.state}")
        return self.images()

    def images(self) -> GeneratedImages:
        """The pictures of one that has ended; raises NotFound before, or when they were removed."""
        found = self.task.images()
        files = [self.task.client.fetch(link) for link in found.images]
        return GeneratedImages(files, found.seeds, found.seconds, found.parameters, self.task.id)


def generate(
    service: Service, prompt: str, *, user: str, priority: int, name: str, keys: Mapping[str, Any]
) -> Generation:
    """Queue a query; see `Service.generate`."""
    request = request_of(prompt, keys)
    task = service.submit(
        data=_body(request),
        kind="query",
        name=name or prompt[:80],
        user=user,
        priority=priority,
        details={"generation": request.parameters() | {"from_image": request.image is not None}},
    )
    return Generation(task, request)


def request_of(prompt: str, keys: Mapping[str, Any]) -> GenerationRequest:
    """A checked query whose pictures go into the data folder. `loras` may map names to weights; `image` may be bytes.

    Raises:
        InvalidArgument: a key is unknown or a value cannot be.
    """
    values: dict[str, Any] = {"output": "file", **keys, "prompt": prompt}
    if isinstance(values.get("loras"), Mapping):
        values["loras"] = [{"name": name, "weight": weight} for name, weight in values["loras"].items()]
    if isinstance(values.get("image"), bytes):
        values["image"] = base64.b64encode(values["image"]).decode()
    return parse(values)


def _body(request: GenerationRequest) -> bytes:
    return json.dumps(request.to_json(), ensure_ascii=False).encode()


@dataclass(slots=True)
class GridRun:
    """A checkpoint grid on its way: one query for each cell, fanned out over the pool."""

    client: Client
    plan: Plan
    tasks: dict[str, Cell]
    _left: dict[str, Cell] = field(default_factory=dict)
    cells: dict[tuple[int, int], Cell] = field(default_factory=dict)

    def arriving(self, timeout: float | None = None) -> Iterator[Cell]:
        """Each cell when it is done, in that order, its picture or why there is none in it.

        Raises:
            TimeoutError: nothing arrived for `timeout` seconds; the queries go on.
        """
        heard = time.monotonic()
        while self._left:
            for view in self._ended():
                cell = self._left.pop(view.id).filled(*self._picture(view), view.instance)
                self.cells[cell.row, cell.column] = cell
                heard = time.monotonic()
                yield cell
            if timeout is not None and time.monotonic() - heard > timeout:
                raise TimeoutError(f"{len(self._left)} cells of the grid are still to come; they go on")
            if self._left:
                time.sleep(_LOOK_EVERY)

    def sheet(self) -> Image.Image:
        """One labelled picture of what has arrived so far."""
        return self.plan.sheet(self.cells.values())

    def cancel(self) -> None:
        """Cancel what is still to come."""
        for task in list(self._left):
            self.client.task(task).cancel()

    def _ended(self) -> list[TaskView]:
        views = self.client.tasks(self._service(), limit=_PAGE)
        known = {view.id: view for view in views if view.id in self._left}
        missing = [self.client.task(task).view() for task in self._left if task not in known]
        return [view for view in (*known.values(), *missing) if view.final]

    def _service(self) -> str:
        return self.plan.service

    def _picture(self, view: TaskView) -> tuple[bytes | None, str]:
        if view.state != "succeeded":
            return None, view.reason or view.state
        try:
            return self.client.fetch(self.client.task(view.id).images().images[0]), ""
        except (LorapoolError, IndexError) as error:
            return None, str(error)


def grid(
    service: Service,
    prompt: str,
    *,
    checkpoints: Sequence[str],
    weights: Sequence[float],
    user: str,
    keys: Mapping[str, Any],
) -> GridRun:
    """Queue a grid; see `Service.grid`."""
    plan = Plan.of(service.name, prompt, checkpoints, weights, keys)
    requests = [(cell, request_of(prompt, plan.keys_of(cell))) for cell in plan.cells]
    tasks: dict[str, Cell] = {}
    for cell, request in requests:
        task = service.submit(
            data=_body(request),
            kind="query",
            name=f"{cell.checkpoint_label} × {cell.weight:g}",
            user=user,
            details={"generation": request.parameters(), "grid": plan.place_of(cell)},
        )
        tasks[task.id] = cell
    return GridRun(service.client, plan, tasks, dict(tasks))


def saved_loras(files: Iterable[FileView]) -> list[FileView]:
    """Of what a training has written, every LoRA that is still there, oldest first; the finished one is the last.

    What was saved at the very end is the finished one once more.
    """
    there = [file for file in files if file.size is not None]
    ends = {file.step for file in there if file.kind == "lora"} - {None}
    found = [
        file for file in there if file.kind == "lora" or (file.kind == "checkpoint" and file.step not in ends)
    ]
    return sorted(found, key=lambda file: (file.kind == "lora", file.step or 0, file.epoch or 0))


def checkpoints_of(task: TaskHandle) -> list[str]:
    """The paths, in the data folder, of every epoch that a training has saved and of its end, oldest first."""
    return [f"jobs/{task.id}/{file.path}" for file in saved_loras(task.files())]
