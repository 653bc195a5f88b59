"""Taking a task over the control API: its files into its job folder, its arguments looked at, then the queue.

Nothing is queued and nothing stays written when any of it is refused. A repeated id is the task of then.
"""

from __future__ import annotations

import asyncio
import base64
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backend import paths
from backend.accounts import Caller
from backend.errors import Conflict, InvalidArgument, LorapoolError, TooLarge
from backend.gateway import permits
from backend.gateway.answers import plain_json
from backend.gateway.context import Gateway
from backend.gateway.models import models_of
from backend.service import Description
from backend.storage.mounts import mounts_of
from backend.store import task_queue, tasks
from backend.store.tasks import NewTask
from backend.task import Task
from backend.worker.command import training_arguments, words
from backend.worker.task_files import names_a_mount

_TEXT_FILE = 1 << 20


class Submission(BaseModel):
    """The body of a submission. One of `argv`, `command` and `data` says what to run.

    `id` is chosen by the client, so that repeating after a broken connection never queues twice. `files` are
    written into the task's job folder before it is queued; `data` is base64.
    """

    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(default=None, max_length=100)
    kind: Literal["command", "query"] = "command"
    name: str = Field(default="", max_length=200)
    user: str = Field(default="", max_length=200)
    priority: int = Field(default=0, ge=-1000, le=1000)
    tags: dict[str, str] = Field(default_factory=dict)
    argv: list[str] | None = Field(default=None, min_length=1)
    command: str | None = None
    data: str | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    details: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, values: Any) -> Any:
        plain_json(values)
        return values

    def payload(self) -> bytes:
        """What the task carries; raises InvalidArgument when it is not said exactly once."""
        given = [name for name in ("argv", "command", "data") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InvalidArgument(
                given[1] if given else "argv",
                "give exactly one of argv, command and data; nothing was queued",
            )
        if self.data is None:
            return (self.command or "").encode()
        try:
            return base64.b64decode(self.data, validate=True)
        except ValueError:  # characters that are none of base64's, or none of ASCII's
            raise InvalidArgument("data", "is not base64; nothing was queued") from None


async def submit(gateway: Gateway, caller: Caller, service: Description, wanted: Submission) -> Task:
    """Store and queue a task, or find the one that this id already stands for.

    An account's tasks are its own, whatever they say; the deployment's and a service's token may name whose it is.
    """
    payload = wanted.payload()
    if len(payload) > service.queue.source.max_payload_size_kb * 1024:
        raise TooLarge(
            f"the payload has {len(payload)} bytes, the queue of {service.name} takes at most "
            f"{service.queue.source.max_payload_size_kb} kB. Nothing was queued; send a file's path instead."
        )
    if not service.type.runs_tasks:
        raise Conflict(
            f"{service.name} is a {service.type} service: put items into its queue instead of tasks"
        )
    task_id = wanted.id or str(uuid.uuid4())
    if not tasks.valid_id(task_id):
        raise InvalidArgument("id", "a task id is 1 to 100 letters, digits, '-' and '_'; nothing was queued")
    known = await gateway.store.run(tasks.maybe(task_id))
    if known is not None:
        return _same(caller, known, service.name)
    models = models_of(service, wanted.kind, payload)
    new = NewTask(
        id=task_id,
        service=service.name,
        kind=wanted.kind,
        data=payload,
        argv=tuple(wanted.argv) if wanted.argv is not None else None,
        environment=wanted.environment,
        tags={**wanted.tags, "taskType": wanted.kind},
        priority=wanted.priority,
        user=(wanted.user or caller.user) if caller.operates(service.name) else caller.user,
        name=wanted.name,
        details={**({"models": models} if models else {}), **wanted.details},
    )
    return await store_task(gateway, caller, service, new, wanted.files)


async def store_task(
    gateway: Gateway, caller: Caller, service: Description, new: NewTask, files: Mapping[str, str]
) -> Task:
    """Write the files, check the arguments, queue the task; undo the files when it is refused."""
    await permits.check(gateway, caller, service, new, files)
    folder = paths.job_dir(gateway.settings.data_dir, new.id)
    made = await asyncio.to_thread(_write, folder, files)
    try:
        await asyncio.to_thread(_check, gateway, service, new)
        if await gateway.store.run(task_queue.ended(service.name)):
            raise Conflict(
                f"the queue of {service.name} was ended and takes no more tasks; nothing was queued"
            )
        put = await gateway.store.run(tasks.put(new, capacity=service.queue.source.capacity))
    except LorapoolError as error:
        # After a silent store the task may be queued all the same, and will want its files.
        if made and error.status < 500:
            await asyncio.to_thread(shutil.rmtree, folder, True)
        raise
    return await gateway.store.run(tasks.get(put.id))


def _same(caller: Caller, known: Task, service: str) -> Task:
    if known.service != service or not caller.owns(known):
        raise Conflict(f"the task id {known.id!r} is taken; nothing was queued")
    return known


def _write(folder: Path, files: Mapping[str, str]) -> bool:
    """Write the files; whether the folder was made for them."""
    targets = {paths.confined(folder, name, field=f"files.{name}"): text for name, text in files.items()}
    if any(target == folder.resolve() for target in targets):
        raise InvalidArgument("files", "a file needs a name; nothing was queued")
    made = not folder.exists()
    try:
        for target, text in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    except OSError as error:
        if made:
            shutil.rmtree(folder, ignore_errors=True)
        raise Conflict(
            f"the files of the task could not be written ({error.strerror}); nothing was queued. "
            "Free some space in the data folder or choose other names."
        ) from None
    return made


def _check(gateway: Gateway, service: Description, new: NewTask) -> None:
    """Refuse a training whose arguments or files cannot work, in the words that the trainer itself would use.

    One that names files of its service's storage is looked at by its instance, which is the first to have them.
    """
    if new.kind != "command" or gateway.settings.sd_scripts_dir:
        return
    argv = new.argv if new.argv is not None else words(new.data)
    arguments = training_arguments(argv) if argv else None
    if arguments is None or argv is None:
        return
    data_dir = gateway.settings.data_dir
    if service.storage and names_a_mount(mounts_of(service, data_dir), argv, paths.job_dir(data_dir, new.id)):
        return
    # Only those who submit trainings pay for reading the table of arguments.
    from backend.training import checks
    from backend.training.arguments import parse

    checks.check(parse(arguments, data_dir=data_dir))


async def again(gateway: Gateway, caller: Caller, service: Description, task: Task) -> Task:
    """A new task with the snapshot of an old one, in a job folder of its own."""
    new_id = str(uuid.uuid4())
    data_dir = gateway.settings.data_dir
    old, new = str(paths.job_dir(data_dir, task.id)), str(paths.job_dir(data_dir, new_id))

    def moved(text: str) -> str:
        return text.replace(old, new)

    files = await asyncio.to_thread(_snapshot, Path(old))
    return await store_task(
        gateway,
        caller,
        service,
        NewTask(
            id=new_id,
            service=task.service,
            kind=task.kind,
            data=task.data if task.argv is not None else moved(task.data.decode("utf-8", "replace")).encode(),
            argv=tuple(moved(word) for word in task.argv) if task.argv is not None else None,
            environment={name: moved(text) for name, text in task.environment.items()},
            path=task.path,
            tags={name: text for name, text in task.tags.items() if name != "requestId"},
            priority=task.priority,
            user=task.user,
            name=task.name,
            details={**task.details, "retry_of": task.id},
        ),
        {name: moved(text) for name, text in files.items()},
    )


def _snapshot(folder: Path) -> dict[str, str]:
    """The texts that a task was submitted with: what lies in its job folder itself, without its log."""
    if not folder.is_dir():
        return {}
    found = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != "log.txt" and path.stat().st_size <= _TEXT_FILE:
            try:
                found[path.name] = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
    return found
