"""What a task needs of the data folder, and what of it the task may write: read from the task itself, by the gateway.

A box that does not see the folder fetches this before it begins, and is let at nothing else. What is meant by a name
(`moon` for the newest LoRA of that name) is settled here, where everything is in sight.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from backend import paths
from backend.errors import InvalidArgument, InvalidInput, PathOutsideDataFolder
from backend.inference import request
from backend.inference.catalog import Catalog
from backend.links import OUTPUTS
from backend.service import Description, Storage
from backend.storage.following import MAPPED
from backend.storage.gateway import Needs
from backend.storage.mounts import Mount, Mounts
from backend.task import Task
from backend.worker.command import words
from backend.worker.result_file import options
from backend.worker.texts import WRITTEN, command_texts, text_of, toml_texts, value_of

_TOOLS = ("python", "-m", "backend.tools")
_CLOSED = frozenset({paths.STORE, paths.LOGS, paths.MOUNTS, paths.ENDPOINT, "token"})
"""What of the data folder is the deployment's own; so is whatever begins with a dot."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What one task may use of the data folder: relative paths, of files or of folders with all that is in them.

    `creates` are folders in which it may make new files, and replace none.
    """

    needs: Needs
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    creates: tuple[str, ...] = ()

    def may_read(self, path: str) -> bool:
        """Whether a path may be read."""
        return is_open(path) and any(_within(path, each) for each in (*self.reads, *self.writes))

    def may_write(self, path: str, *, exists: bool) -> bool:
        """Whether a file may be written, which `exists` already or does not."""
        allowed = self.writes if exists else (*self.writes, *self.creates)
        return is_open(path) and any(_within(path, each) for each in allowed)


def is_open(path: str) -> bool:
    """Whether a relative path of the data folder is none of the deployment's own."""
    parts = PurePosixPath(path).parts
    return bool(parts) and parts[0] not in _CLOSED and not parts[0].startswith(".") and ".." not in parts


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def scope_of(task: Task, service: Description, data_dir: Path) -> Scope:
    """What a task may use. Reads its TOML files, and headers of LoRAs that it names."""
    own = (f"{paths.JOBS}/{task.id}", f"{OUTPUTS}/{task.id}")
    if task.kind == "query":
        needs = _of_query(task, service, data_dir)
        return Scope(needs, needs.files, own)
    argv = tuple(task.argv or words(task.data) or ())
    job_dir = paths.job_dir(data_dir, task.id)
    found = _Found(data_dir, job_dir)
    written = tuple(found.written(argv))
    reads = list(found.named(_texts(task, argv, job_dir)))
    creates: tuple[str, ...] = ()
    if argv[:3] == _TOOLS:
        reads += _of_tool(argv[3:], data_dir)
        creates = (paths.LORAS,)
        if "--overwrite" in argv:
            written = (*written, paths.LORAS)
        if of := value_of(argv, "task"):
            written = (*written, f"{paths.JOBS}/{of}/grid.png")
    outside = [
        each for each in dict.fromkeys(reads) if not any(_within(each, one) for one in (*own, *written))
    ]
    files = (*outside, *found.snapshot(written))
    return Scope(Needs(files), files, (*own, *written), creates)


def _texts(task: Task, argv: Sequence[str], job_dir: Path) -> list[str]:
    files = [
        Path(job_dir, value)
        for name in ("config_file", "dataset_config")
        if (value := options(argv, job_dir, (name,)).get(name, "") or value_of(argv, name))
    ]
    return [*command_texts(task), *(text for file in files for text in toml_texts(text_of(file)))]


class _Found:
    """Finds what texts name in a data folder."""

    def __init__(self, data_dir: Path, job_dir: Path) -> None:
        self._root = data_dir.resolve()
        self._job_dir = job_dir
        whole = Storage(mount_path=str(data_dir))
        self._mounts = Mounts((Mount(whole, self._root, self._root),))

    def named(self, texts: Iterable[str]) -> Iterator[str]:
        """What is there of what texts name: whole paths, and relative ones, which start at the folder."""
        given = list(texts)
        for _, path in self._mounts.named(given):
            yield from self._there(path)
        for text in given:
            value = text.partition("=")[2] if text.startswith("-") else text
            if "/" in value and not value.startswith("/"):
                yield from self._there(os.path.normpath(value))

    def _there(self, path: str) -> Iterator[str]:
        try:
            real = paths.confined(self._root, path).relative_to(self._root).as_posix()
        except PathOutsideDataFolder:
            return
        if is_open(path) and is_open(real) and path != paths.JOBS and (self._root / path).exists():
            yield path

    def written(self, argv: Sequence[str]) -> Iterator[str]:
        """Where a training writes: folders, but none of those that hold what is everybody's as a whole."""
        for value in options(argv, self._job_dir, WRITTEN).values():
            try:
                inner = paths.confined(self._root, self._job_dir / value).relative_to(self._root).as_posix()
            except PathOutsideDataFolder:
                continue
            if is_open(inner) and inner != paths.JOBS:
                yield inner

    def snapshot(self, written: Sequence[str]) -> Iterator[str]:
        """The files of the job folder that the task was given, or has left there outside of what it writes."""
        for folder, inner, names in os.walk(self._job_dir):
            here = Path(folder)
            inner[:] = [
                name
                for name in inner
                if name != MAPPED and self._relative(here / name) not in written and not name.startswith(".")
            ]
            for name in sorted(names):
                if not name.startswith(".") and not (here / name).is_symlink():
                    yield self._relative(here / name)

    def _relative(self, path: Path) -> str:
        return path.resolve().relative_to(self._root).as_posix()


def _of_tool(arguments: Sequence[str], data_dir: Path) -> Iterator[str]:
    """The files that a LoRA tool means, and for a grid the base model that its LoRAs name."""
    catalog = Catalog(data_dir)
    task = value_of(arguments, "task")
    model = [value_of(arguments, "model")]
    if task and is_open(f"{paths.JOBS}/{task}") and "/" not in task:
        yield from (f"{paths.JOBS}/{task}/output", f"{paths.JOBS}/{task}/prompts.txt")
        model += [lora.base_model for lora in _loras_below(catalog, data_dir, task)]
    for word in arguments[1:]:
        for name in (word, word.rpartition("=")[0]):
            try:
                lora = catalog.lora(name, "loras")
            except InvalidInput:
                continue
            model.append(lora.base_model)
            yield lora.path
    for name in dict.fromkeys(model) if arguments[:1] == ("grid",) else ():
        try:
            yield from _inside([catalog.model(name).file], data_dir)
        except InvalidInput:
            continue


def _loras_below(catalog: Catalog, data_dir: Path, task: str) -> Iterator[Any]:
    for file in sorted((paths.job_dir(data_dir, task) / "output").glob("*.safetensors")):
        yield catalog.lora(file.relative_to(data_dir).as_posix(), "loras")


def _of_query(task: Task, service: Description, data_dir: Path) -> Needs:
    app = service.app
    if app is None or not app.built_in:
        return Needs(tuple(_Found(data_dir, paths.job_dir(data_dir, task.id)).named(_json_texts(task.data))))
    try:
        said = request.parse(task.data)
        catalog = Catalog(data_dir)
        model = catalog.model(said.model)
        loras = [
            (catalog.lora(each.name, f"loras[{n}].name"), each.weight) for n, each in enumerate(said.loras)
        ]
    except InvalidInput as error:
        fault = {"error": type(error).__name__, "message": getattr(error, "message", str(error))}
        if isinstance(error, InvalidArgument):
            fault["field"] = error.field
        return Needs((), fault=json.dumps(fault, ensure_ascii=False))
    body = json.loads(task.data) | {"model": model.path}
    if loras:
        body["loras"] = [{"name": lora.path, "weight": weight} for lora, weight in loras]
    files = tuple(_inside([model.file, *(lora.file for lora, _ in loras)], data_dir))
    return Needs(files, json.dumps(body, ensure_ascii=False))


def _inside(files: Iterable[Path], data_dir: Path) -> Iterator[str]:
    """Files as relative paths; what comes with lorapool, and so is everywhere, is left out."""
    root = data_dir.resolve()
    for file in files:
        if file.is_relative_to(root):
            yield file.relative_to(root).as_posix()


def _json_texts(body: bytes) -> list[str]:
    """Every text of a JSON document; [] for what is none."""
    try:
        return list(_leaves(json.loads(body)))
    except (ValueError, RecursionError):
        return []


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _leaves(inner)
