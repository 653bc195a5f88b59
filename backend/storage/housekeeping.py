"""Keeps the disk of a data folder from filling: removes what the retention setting no longer keeps.

What belongs to a task that waits or runs is never touched, nor anything that was written to within the last hour.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from backend.links import OUTPUTS
from backend.paths import JOBS, LOGS
from backend.storage.retention import Kind, Leftover, Limit, kind_of, too_much
from backend.store import services, tasks
from backend.store.connection import Store

GB = 1 << 30
_JUST_NOW = 3600.0
_OWN_LOGS = ("gateway.log", "supervisor.log", "front-end.log")
"""Logs that processes hold open: removing one would free nothing, and hide what is written from then on."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What went of one kind, or would go: files (or states) and their bytes."""

    kind: Kind
    count: int
    bytes: int


def at_work(store: Store) -> set[str]:
    """Ids of the tasks of all services that have not ended."""
    found: set[str] = set()
    for service in store.run(services.names()):
        found |= {*store.run(tasks.waiting(service)), *store.run(tasks.active(service))}
    return found


def leftovers(data_dir: Path, spared: Collection[str], now: float) -> Iterator[Leftover]:
    """Everything in a data folder that belongs to a kind, but for what belongs to tasks that have not ended."""
    for top in (JOBS, OUTPUTS):
        for folder in _folders(data_dir / top):
            if folder.name in spared:
                continue
            for each in _of_job(folder):
                kind = Kind.PICTURES if top == OUTPUTS else each.kind
                if now - each.modified > _JUST_NOW:
                    yield Leftover(each.path, kind, each.size, each.modified)
    for file in sorted((data_dir / LOGS).glob("*.log*")):
        status = file.stat()
        if file.name not in _OWN_LOGS and not file.is_symlink() and now - status.st_mtime > _JUST_NOW:
            yield Leftover(file, Kind.LOGS, status.st_size, status.st_mtime)


def _folders(top: Path) -> list[Path]:
    try:
        return sorted(each for each in top.iterdir() if each.is_dir() and not each.is_symlink())
    except FileNotFoundError:
        return []


def _of_job(folder: Path) -> Iterator[Leftover]:
    """Files of one job folder; a training's state counts, and goes, as a whole. Links are not followed."""
    for where, inner, names in os.walk(folder):
        for name in [name for name in inner if name.endswith("-state")]:
            inner.remove(name)
            state = Path(where, name)
            sizes = [file.stat() for file in state.rglob("*") if file.is_file()]
            newest = max((status.st_mtime for status in sizes), default=state.stat().st_mtime)
            yield Leftover(state, Kind.STATES, sum(status.st_size for status in sizes), newest)
        for name in names:
            file = Path(where, name)
            kind = kind_of(PurePosixPath(file.relative_to(folder)))
            if kind is None or file.is_symlink():
                continue
            with contextlib.suppress(FileNotFoundError):
                status = file.stat()
                yield Leftover(file, kind, status.st_size, status.st_mtime)


def clean(
    data_dir: Path, rules: Mapping[Kind, Limit], spared: Collection[str], *, dry_run: bool
) -> list[Cleaned]:
    """Remove what is too much; what went of each kind. Folders that are empty then go, too."""
    now = time.time()
    counts: dict[Kind, tuple[int, int]] = {}
    for each in too_much(leftovers(data_dir, spared, now), rules, now):
        if not dry_run:
            _remove(each.path, data_dir)
        count, size = counts.get(each.kind, (0, 0))
        counts[each.kind] = (count + 1, size + each.size)
    return [Cleaned(kind, *counts[kind]) for kind in Kind if kind in counts]


def _remove(path: Path, data_dir: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder.parent == data_dir or folder == data_dir:
            return
        try:
            folder.rmdir()
        except OSError:
            return


def free_bytes(data_dir: Path) -> int:
    """Bytes free on the disk of a data folder."""
    return shutil.disk_usage(data_dir).free


def too_full(data_dir: Path, least: float, *, before: bool) -> str:
    """Why no task is begun: less than `least` GB are free; empty when there are more.

    Once it was too full (`before`), a tenth more has to be free again, so that it does not come and go.
    """
    free = free_bytes(data_dir)
    if free >= least * GB * (1.1 if before else 1.0):
        return ""
    return (
        f"the disk of the data folder has {free / GB:.1f} GB free, less than the {least:g} GB that are to stay free "
        "(LORAPOOL_LEAST_FREE_GB): no task is begun until there is room. "
        "`lorapool clean --dry-run --keep states=14d` says what may go"
    )
