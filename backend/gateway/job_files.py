"""What one task has left in the data folder: what it is and how much room it takes, and removing it.

That is its job folder, and for a query what it has drawn in `outputs/`. The finished LoRA under `loras/` is apart: it
is what the training was for, so nothing here removes it unless that is asked for by itself.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath, PurePosixPath

from backend import paths
from backend.links import OUTPUTS
from backend.storage.retention import Kind, kind_of
from backend.task import Task
from backend.views import RoomPart
from backend.worker.result_file import mark_of

LORAS = "loras"
"""The kind of LoRAs and checkpoints in a job folder; the others are those of `retention`."""

KINDS = (LORAS, Kind.PICTURES, Kind.STATES, Kind.LOGS, Kind.JOBS)


def published(data_dir: Path, task: Task, owners: Mapping[str, str]) -> Path | None:
    """The finished LoRA of a task under `loras/`; None when there is none (any more).

    A task says itself what it has made, so its word is believed only of a file with its mark that is its user's or,
    without an owner, nobody's.
    """
    if not task.output:
        return None
    said = PurePath(task.output)
    file = data_dir / paths.LORAS / said.name
    marked = said.parent.name == paths.LORAS and said.stem.endswith(f"-{mark_of(task.id)}")
    if not marked or file.is_symlink() or not file.is_file():
        return None
    owner = owners.get(place_of(file), "")
    return file if owner in ("", task.user) else None


def place_of(lora: Path) -> str:
    """The place of a LoRA, as owners are kept for it."""
    return f"{paths.LORAS}/{lora.name}"


def named_place(task: Task) -> str:
    """The place that a task's own word for its LoRA would have."""
    return f"{paths.LORAS}/{PurePath(task.output).name}"


def parts(data_dir: Path, task_id: str, lora: Path | None) -> list[RoomPart]:
    """What lies in the folders of a task, by kind. A file that is the LoRA under `loras/` takes no room of its own."""
    kept = _identity(lora) if lora is not None else None
    found: dict[str, tuple[int, int]] = {}
    for folder in _folders(data_dir, task_id):
        for file in _files(folder):
            try:
                status = file.lstat()
            except FileNotFoundError:
                continue
            size = 0 if (status.st_dev, status.st_ino) == kept else status.st_size
            kind = kind_of(PurePosixPath(file.relative_to(folder))) or LORAS
            count, total = found.get(kind, (0, 0))
            found[kind] = (count + 1, total + size)
    return [RoomPart(kind, *found[kind]) for kind in KINDS if kind in found]


def remove(data_dir: Path, task_id: str) -> None:
    """Remove the folders of a task; links in them are not followed. Raises OSError when something stays."""
    for folder in _folders(data_dir, task_id):
        while folder.is_dir():
            # Somebody else may be at it, too: what is not there any more is no trouble.
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(folder)


def _folders(data_dir: Path, task_id: str) -> list[Path]:
    folders = (paths.job_dir(data_dir, task_id), data_dir / OUTPUTS / task_id)
    return [folder for folder in folders if folder.is_dir() and not folder.is_symlink()]


def _files(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):
        yield from (Path(where, name) for name in names)


def _identity(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_dev, status.st_ino
