"""Inputs: from an object store, or the gateway, into the folder of its mount, once for all instances of a machine.

What is there and has not changed in the store is not fetched again; what a task has written there and the store has
not got yet is never written over, unless the store leads. Fetched files may take so much room together; those that no
running task has named go first, the longest unused before the others.
"""

from __future__ import annotations

import errno
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from backend.errors import RunFailed, StorageUnavailable
from backend.paths import MOUNTS
from backend.storage.mounts import Mount
from backend.storage.objects import Came, Remote
from backend.storage.records import STATE, Record, Records, held, md5_of, sha256_of
from backend.storage.source import Source

AT_ONCE = 8
SPARE = 1 << 30
"""Bytes of the disk that are left free when something is fetched."""
_PINS, _LOOK = "pins", 0.2
_TELL_EVERY = 1.0
_GB = 1 << 30


@dataclass
class Fetched:
    """What was done: files and bytes that came, files that were there, files that the store lacks or has otherwise.

    `wanted` is the bytes of all files that had to come.
    """

    files: int = 0
    bytes: int = 0
    wanted: int = 0
    there: int = 0
    kept: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


class NoRoom(RunFailed):
    """This machine's disk, or what fetched files may take of it, is too small for the inputs of a task."""


class Fetcher:
    """Fetches for one task, or one instance. `give_up` says that nobody wants it any more; `tell` hears, in the
    thread that calls `fetch`, how far it is: a share of one."""

    def __init__(
        self,
        mount: Mount,
        store: Source,
        *,
        budget: int,
        give_up: Callable[[], bool] = lambda: False,
        tell: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._mount = mount
        self._store = store
        self._records = Records(mount.state)
        self._budget = budget
        self._give_up = give_up
        self._tell = tell

    def fetch(self, names: Sequence[str]) -> Fetched:
        """Have what the store holds at these relative paths, or below them, in the folder of the mount.

        Raises:
            StorageUnavailable: the store does not answer; what has come is kept.
            NoRoom: there is no room for it.
        """
        done = Fetched()
        found = {remote.path: remote for name in sorted(set(names)) for remote in self._store.below(name)}
        for name in names:
            self._remove_what_is_gone(name, found)
        missing = [remote for remote in found.values() if not self._is_there(remote, done)]
        done.wanted = sum(remote.size for remote in missing)
        if missing:
            make_room(self._mount.state.parents[1], done.wanted, budget=self._budget)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            coming = [pool.submit(self._one, remote, done) for remote in missing]
            while wait(coming, _TELL_EVERY).not_done:
                self._tell(done.bytes / max(1, done.wanted))
            for each in coming:
                each.result()
        return done

    def _target(self, path: str) -> Path:
        target = self._mount.folder / path
        if ".." in Path(path).parts or not target.parent.resolve().is_relative_to(
            self._mount.folder.resolve()
        ):
            raise RunFailed(
                f"the object {path!r} has a name that leads out of its folder; it was not fetched"
            )
        return target

    def _is_there(self, remote: Remote, done: Fetched) -> bool:
        """Whether the file is there already, as the store has it or as a task has left it."""
        target, record = self._target(remote.path), self._records.get(remote.path)
        if not target.is_file():
            return False
        status = target.stat()
        if record is not None and record.etag and record.is_of(status):
            if record.etag != remote.etag and not self._holds_the_same(record.sha256, status.st_size, remote):
                return False
            self._records.put(replace(record, etag=remote.etag, used_at=time.time()))
        elif self._store.leads:
            sha256 = sha256_of(target) if status.st_size == remote.size else ""
            if not self._holds_the_same(sha256, status.st_size, remote):
                return False
            self._note(target, remote, sha256)
        elif status.st_size == remote.size and remote.md5 and md5_of(target) == remote.md5:
            self._note(target, remote, sha256_of(target))
        else:
            done.kept.append(remote.path)
            return True
        done.there += 1
        return True

    def _holds_the_same(self, sha256: str, size: int, remote: Remote) -> bool:
        """Whether a file that the store calls a new one has the bytes of the one here, as a touched or copied one."""
        if not self._store.leads or size != remote.size or not sha256:
            return False
        now, theirs = self._store.head(remote.path)
        return now.etag == remote.etag and theirs == sha256

    def _remove_what_is_gone(self, name: str, found: dict[str, Remote]) -> None:
        """A file that was fetched from a folder and is no longer in the store would go on being trained on."""
        for record in self._records.all():
            inside = not name or record.path == name or record.path.startswith(f"{name}/")
            if not inside or record.path in found or not record.fetched:
                continue
            file = Path(record.file)
            if file.is_file() and record.is_of(file.stat()):
                file.unlink()
            self._records.forget(record.path)

    def _one(self, remote: Remote, done: Fetched) -> None:
        while True:
            if self._give_up():
                raise StorageUnavailable(f"fetching from {self._store.url} was broken off")
            with self._records.locked(remote.path, wait=False) as mine:
                if mine:
                    self._bring(remote, done)
                    return
            time.sleep(_LOOK)

    def _bring(self, remote: Remote, done: Fetched) -> None:
        """Fetch one file, unless another instance has done so meanwhile."""
        with done.lock:
            if self._is_there(remote, done):
                return

        def moved(count: int) -> None:
            with done.lock:
                done.bytes += count
            if self._give_up():
                raise StorageUnavailable(f"fetching from {self._store.url} was broken off")

        target = self._target(remote.path)
        # Of this version of it: what has come before the link broke is not fetched twice.
        fresh = self._records.temporary(remote.path, remote.etag)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            came = self._store.download(remote, fresh, moved)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            fresh.unlink(missing_ok=True)
            raise NoRoom(f"the disk of this machine is full: {remote.path} could not be fetched") from None
        try:
            sha256 = self._proved(remote, fresh, came)
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)
        self._note(target, remote, sha256)
        with done.lock:
            done.files += 1

    def _proved(self, remote: Remote, file: Path, came: Came) -> str:
        """The SHA-256 of a file that came, once it is what the store says that it has."""
        sha256 = came.sha256 or sha256_of(file)
        good = file.stat().st_size == remote.size and (not remote.md5 or md5_of(file) == remote.md5)
        if good and not remote.md5:
            good = self._noted(remote, came) in ("", sha256)
        if not good:
            raise StorageUnavailable(f"{self._store.url}{remote.path} changed or was damaged on its way")
        return sha256

    def _noted(self, remote: Remote, came: Came) -> str | None:
        """The SHA-256 that the store has for this version of a file, '' where it has none; None: there is another."""
        if came.noted:
            return came.noted
        now, noted = self._store.head(remote.path)
        return noted if now.etag == remote.etag else None

    def _note(self, target: Path, remote: Remote, sha256: str) -> None:
        status = target.stat()
        self._records.put(
            Record(
                remote.path,
                str(target),
                status.st_size,
                status.st_mtime_ns,
                sha256=sha256,
                etag=remote.etag,
                fetched=True,
                used_at=time.time(),
            )
        )


def make_room(mounts: Path, need: int, *, budget: int) -> None:
    """Remove fetched files until `need` bytes more are within the budget and on the disk.

    Raises:
        NoRoom: even then they are not.
    """
    pinned = set(_pinned(mounts / STATE))
    fetched = [
        (folder, record)
        for folder in sorted((mounts / STATE).glob("*"))
        if folder.is_dir()
        for record in Records(folder).all()
        if record.fetched
    ]
    total = sum(record.size for _, record in fetched)

    def enough() -> bool:
        return total + need <= budget and shutil.disk_usage(mounts.parent).free >= need + SPARE

    for folder, record in sorted(fetched, key=lambda each: each[1].used_at):
        if enough():
            return
        if record.file in pinned or any(record.file.startswith(f"{each}/") for each in pinned):
            continue
        with Records(folder).locked(record.path, wait=False) as mine:
            file = Path(record.file)
            if mine and file.is_file() and record.is_of(file.stat()):
                file.unlink()
                Records(folder).forget(record.path)
                total -= record.size
    if not enough():
        free = shutil.disk_usage(mounts.parent).free
        raise NoRoom(
            f"its inputs need {need / _GB:.1f} GB more: {free / _GB:.1f} GB are free on the disk, and fetched files "
            f"may take {budget / _GB:.0f} GB together (LORAPOOL_STORAGE_CACHE_GB), of which tasks that run use "
            f"{total / _GB:.1f} GB"
        )


@contextmanager
def pinned(data_dir: Path, task: str, files: Sequence[Path]) -> Iterator[None]:
    """Keep files and folders from being removed for as long as this is held; a killed process holds nothing."""
    folder = data_dir / MOUNTS / STATE / _PINS
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / f"{task}.pin"
    with held(note, wait=True):
        note.write_text(json.dumps([str(file) for file in files]), encoding="utf-8")
        try:
            yield
        finally:
            note.unlink(missing_ok=True)


def _pinned(state: Path) -> Iterator[str]:
    for note in sorted((state / _PINS).glob("*.pin")):
        try:
            with held(note, wait=False) as nobody:
                if nobody:
                    note.unlink(missing_ok=True)
                else:
                    yield from json.loads(note.read_text(encoding="utf-8") or "[]")
        except (OSError, ValueError):
            continue
