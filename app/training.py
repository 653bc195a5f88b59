"""What the Train page asks for: the table of fields, checks, presets, files, and the submission itself.

    GET  train/table          fields, defaults, conditions, groups
    GET  train/start          what a form that nobody has touched holds
    GET  train/presets/{name} a preset's values
    GET  train/from/{task}    the values that a task was submitted with
    POST train/import         the values of a Kohya JSON file, or of sd-scripts' TOML
    POST train/export         the Kohya JSON file of the values
    POST train/check          problems at their fields, and what the run will be
    POST train/command        the command line, the configuration, the prompts
    POST train/submit         put it into the queue

Values are sent as an object of what differs from the defaults; every route reads them as a stranger's.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from app import folders, languages, rights
from app.gateway import GatewayLost, GatewayRefused
from app.people import gateway_of, person_of
from app.pool import Pool
from backend.client import Client
from backend.errors import InvalidArgument, InvalidInput, NotFound, PathOutsideDataFolder
from kohya_adapter import bring, fields, form, submission
from kohya_adapter.argument_fields import problem_of
from kohya_adapter.form import Form
from kohya_adapter.instances import suited
from kohya_adapter.presets import preset as named_preset
from kohya_adapter.presets import presets
from kohya_adapter.problems import Problem, Validation
from kohya_adapter.resolve import absolute_paths, is_hub_id, path_fields
from kohya_adapter.snapshot import FORM, snapshot
from kohya_adapter.validate import validate
from kohya_adapter.weights import least_memory

router = APIRouter(prefix="/train")

SAMPLE_PRESET = "tiny-shapes"
SERVICE_TYPES = ("ScalableJob", "ScalableJobService")
_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_LONGEST_FILE = 1 << 20


class Wanted(BaseModel):
    """A form as the page sends it. `id` is the page's name for the task, so that a repeated click queues once."""

    values: dict[str, Any] = Field(default_factory=dict)
    service: str = ""
    id: str = ""


class File(BaseModel):
    """A file that a person chose."""

    text: str = Field(max_length=_LONGEST_FILE)


def read_form(values: Mapping[str, Any]) -> tuple[Form, list[Problem]]:
    """The form of a page's values. What cannot be read is a problem at its field, and has the default; an emptied
    field has it too.
    """
    given = {key: value for key, value in values.items() if value is not None and value != []}
    problems = []
    for key, value in list(given.items()):
        try:
            Form({key: value})
        except InvalidArgument as error:
            problems.append(Problem(error.field, error.message))
            del given[key]
    return Form(given), problems


@router.get("/table")
def table(request: Request) -> Any:
    say = languages.of(request).say
    return {
        "fields": [
            {
                "key": field.key,
                "label": say(field.label),
                "help": say(field.help),
                "group": field.group,
                "group_title": say(field.group),
                "basic": field.basic,
                "default": field.default,
                "secret": field.format == "secret",
                "shown": None if field.shown is None else [[c.key, list(c.values)] for c in field.shown],
            }
            for field in fields.FIELDS
        ],
        "families": list(fields.FAMILIES),
        "family_checkboxes": dict(fields.FAMILY_CHECKBOXES),
        "presets": [{"name": p.name, "title": say(p.title), "about": say(p.about)} for p in presets()],
    }


@router.get("/start")
async def start(request: Request) -> Any:
    """A newcomer gets a form that works: the sample, where it is there, else whatever model and data there are."""
    data_dir: Path = request.app.state.data_dir
    sample = named_preset(SAMPLE_PRESET).form
    models, found = folders.models(data_dir), folders.datasets(data_dir)
    mine = await run_in_threadpool(rights.readable, request, found)
    datasets = [each for each in found if each in mine]
    if sample["pretrained_model_name_or_path"] in models and sample["train_data_dir"] in datasets:
        return {"values": sample.changed(), "preset": SAMPLE_PRESET}
    first = {"pretrained_model_name_or_path": models[:1], "train_data_dir": datasets[:1]}
    ours = await _suited(request, Form({key: names[0] for key, names in first.items() if names}))
    return {"values": ours.changed()}


@router.get("/presets/{name}")
async def preset(request: Request, name: str) -> Any:
    return {"values": (await _suited(request, named_preset(name).form)).changed()}


async def _suited(request: Request, ours: Form) -> Form:
    """A form of ours as the instances can run it; what a person brings is left as it is."""
    pool: Pool = request.app.state.pool
    return suited(ours, await pool.capabilities())


@router.get("/from/{task_id}")
async def from_task(request: Request, task_id: str) -> Any:
    if not _TASK_ID.fullmatch(task_id):
        raise NotFound(f"There is no task {task_id[:80]!r}.")
    async with gateway_of(request).file(f"tasks/{task_id}/files/{FORM}") as answer:
        loaded = form.loads((await answer.aread()).decode("utf-8", "replace"))
    return {"values": loaded.form.changed(), "warnings": loaded.warnings}


@router.post("/import")
def import_file(file: File) -> Any:
    loaded = bring.read(file.text)
    return {"values": loaded.form.changed(), "warnings": loaded.warnings}


@router.post("/export")
def export_file(wanted: Wanted) -> Any:
    read, problems = read_form(wanted.values)
    if problems:
        raise InvalidArgument(problems[0].field, problems[0].message)
    return {"name": f"{read.text('output_name') or 'settings'}.json", "text": form.dumps(read) + "\n"}


@router.post("/check")
async def check(request: Request, wanted: Wanted) -> Any:
    read, problems = read_form(wanted.values)
    answer = _answer(problems, await _validation(request, read))
    return answer | {"memory": await run_in_threadpool(_memory, request, read)}


@router.post("/command")
def command(request: Request, wanted: Wanted) -> Any:
    read, problems = read_form(wanted.values)
    if problems:
        raise InvalidArgument(problems[0].field, problems[0].message)
    _need_files(request, read)
    made = snapshot(read, task_id=wanted.id or "job", data_dir=request.app.state.data_dir)
    return {"command": shlex.join(made.argv), "files": dict(made.files)}


@router.post("/submit")
async def submit(request: Request, wanted: Wanted) -> Any:
    """Queue the form, or say what has to be changed first."""
    read, problems = read_form(wanted.values)
    checked = await _validation(request, read)
    if problems or checked.errors:
        return _answer(problems, checked)
    try:
        return {"task": await run_in_threadpool(_submit, request, read, wanted, checked)}
    except InvalidArgument as error:
        return _answer([problem_of(error, read)], checked)


async def _validation(request: Request, read: Form) -> Validation:
    pool: Pool = request.app.state.pool
    await run_in_threadpool(_need_files, request, read)
    return await run_in_threadpool(validate, read, request.app.state.data_dir, await pool.capabilities())


def _memory(request: Request, read: Form) -> int | None:
    """Bytes that the base model takes at the least; None where nobody here can tell."""
    try:
        return least_memory(absolute_paths(read, request.app.state.data_dir))
    except PathOutsideDataFolder:
        return None


def _need_files(request: Request, read: Form) -> None:
    """Raises NotFound when the form names a file that is another's; what a check says of it is theirs, too."""
    data_dir: Path = request.app.state.data_dir
    named = [(field, read.text(field.key)) for field in path_fields(read) if field.key != "output_dir"]
    models_of_hub = {text for field, text in named if field.format == "model" and is_hub_id(data_dir, text)}
    presets_of = {text for field, text in named if text in field.choices}
    rights.need_read(request, *({text for _, text in named if text} - models_of_hub - presets_of))


def _submit(request: Request, read: Form, wanted: Wanted, checked: Validation) -> Any:
    with Client(request.app.state.endpoint, person_of(request).token) as client:
        handle = submission.submit(
            client,
            read,
            service=wanted.service or _service(client),
            data_dir=request.app.state.data_dir,
            checked=checked,
            task_id=wanted.id if _TASK_ID.fullmatch(wanted.id) else "",
        )
        return dataclasses.asdict(handle.view())


def _service(client: Client) -> str:
    found = [service.name for service in client.services() if service.type in SERVICE_TYPES]
    if not found:
        raise InvalidInput(
            "There is no service that trains. Nothing was queued; create one with `lorapool service create`."
        )
    return found[0]


def _answer(problems: list[Problem], checked: Validation) -> dict[str, Any]:
    report = checked.estimate
    return {
        "problems": [dataclasses.asdict(problem) for problem in (*problems, *checked.problems)],
        "estimate": None if report is None else dataclasses.asdict(report),
    }


@router.get("/services")
async def services(request: Request) -> Any:
    try:
        found = (await gateway_of(request).get("services"))["services"]
    except (GatewayLost, GatewayRefused) as error:
        return {"services": [], "problem": str(error)}
    names = [service["name"] for service in found if service["type"] in SERVICE_TYPES]
    return {"services": names, "viewer": person_of(request).role == "viewer"}


@router.get("/choices")
def choices(request: Request) -> Any:
    data_dir: Path = request.app.state.data_dir
    sets, loras = folders.datasets(data_dir), folders.loras(data_dir)
    mine = rights.readable(request, [*sets, *loras])
    return {
        "models": folders.models(data_dir),
        "datasets": [each for each in sets if each in mine],
        "loras": [each for each in loras if each in mine],
    }


def install(app: FastAPI) -> None:
    """Add the routes; `app.state` must have `gateway`, `token`, `endpoint`, `data_dir` and `pool`."""
    app.include_router(router)
