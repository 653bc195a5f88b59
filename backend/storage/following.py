"""What a run writes, on its way to an object store, or to the gateway, while the run goes on.

A thread looks at the folders of a run again and again and sends each file that is new and at rest. Should the store be
away the files wait, and the run does not notice. What a run has to send is noted on the disk first, so that it is not
forgotten when the instance dies: `carry_on` sends what was left behind.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.errors import LorapoolError, StorageUnavailable
from backend.paths import MOUNTS
from backend.service import ObjectPlace
from backend.storage import credentials
from backend.storage.gateway import GatewayStore, Ticket
from backend.storage.objects import ObjectStore
from backend.storage.records import STATE, Records, held
from backend.storage.source import Source, Unwanted
from backend.storage.upload import Changed, is_sent, send

LOOK_EVERY = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
RESENT_EVERY, RESENT_PER_MB = 10.0, 10.0
"""A file that grows is sent anew after so many seconds, and so many more for each megabyte of it."""
_PENDING = "pending"
_STATES = "-state"
"""Ending of the folders in which trainings save how far they are. A bucket, which would keep them all, gets them when
the run is over; the gateway as they come, so that another box can go on from there."""
_SKIPPED = (".tmp", ".part", ".lock")
MAPPED = "mapped"
"""Folder in a job folder with copies of the task's own files in which paths are mapped: of use on one box alone."""


@dataclass(frozen=True, slots=True)
class Root:
    """A folder, or a single file, of a run and where its files go: below `prefix` of the place."""

    local: Path
    prefix: str

    def files(self, *, states: bool, mapped: bool) -> Iterator[tuple[Path, str]]:
        """Its files with their paths in the store; links are not followed."""
        if self.local.is_file():
            yield self.local, f"{self.prefix}{self.local.name}"
            return
        for folder, inner, names in os.walk(self.local):
            inner[:] = sorted(
                name
                for name in inner
                if not name.startswith(".")
                and (states or not name.endswith(_STATES))
                and (mapped or name != MAPPED)
            )
            for name in sorted(names):
                file = Path(folder, name)
                if not name.endswith(_SKIPPED) and not file.is_symlink():
                    yield file, f"{self.prefix}{file.relative_to(self.local).as_posix()}"


class Following:
    """Sends what appears below some folders. `notes` are lines for the log of the run, each given once."""

    def __init__(self, data_dir: Path, task: str, store: Source, state: Path, roots: list[Root]) -> None:
        self.roots = roots
        self.sent = 0
        self._store = store
        self._records = Records(state)
        self._pending = data_dir / MOUNTS / STATE / _PENDING / f"{task}.json"
        self._notes: list[str] = []
        self._lock = threading.Lock()
        self._wake, self._over = threading.Event(), threading.Event()
        self._last: dict[str, tuple[int, int]] = {}
        self._sent_at: dict[str, float] = {}
        self._there: dict[str, Path] = {}
        self._refused: dict[str, Path] = {}
        self._done, self._total = 0, 0
        self._tell: Callable[[float], None] = lambda _: None
        self._away_since: float | None = None
        self._looked_for = 0.0  # seconds that the last look took: large folders are looked at less often
        self._moved_at = time.monotonic()
        self._wanted: Callable[[], bool] = lambda: True
        self._thread = threading.Thread(target=self._live, name="uploads", daemon=True)

    @property
    def url(self) -> str:
        """Where the files go."""
        return self._store.url

    @property
    def refused(self) -> list[Path]:
        """Files that the store does not want: another attempt has overtaken this one, or they would replace others."""
        return list(self._refused.values())

    def start(self) -> None:
        """Note what there is to send, and begin."""
        self._pending.parent.mkdir(parents=True, exist_ok=True)
        noted = {
            "state": str(self._records.folder),
            "place": self._store.noted(),
            "roots": [[str(root.local), root.prefix] for root in self.roots],
        }
        fresh = self._pending.with_suffix(".tmp")
        fresh.write_text(json.dumps(noted), encoding="utf-8")
        fresh.replace(self._pending)
        self._thread.start()

    def notes(self) -> list[str]:
        """What the log of the run should say."""
        with self._lock:
            said, self._notes = self._notes, []
        return said

    def has(self, file: Path) -> bool:
        """Whether the store has a file, or all of a folder, as it is here now, or it is here no more."""
        for root in self.roots:
            if not file.is_relative_to(root.local):
                continue
            inside = [
                (each, path)
                for each, path in root.files(states=True, mapped=False)
                if each == file or each.is_relative_to(file)
            ]
            return all(is_sent(self._records.get(path), each.stat()) for each, path in inside)
        return False

    def finish(
        self,
        patience: float,
        give_up: Callable[[], bool],
        tell: Callable[[float], None] = lambda _: None,
    ) -> list[Path]:
        """Send the rest, as long as the store takes something every `patience` seconds; what was not sent.

        `tell` hears now and then, in this thread, how far that is: a share of one.
        """
        self._stop_thread()
        self._wanted = lambda: not give_up()
        self._moved_at = time.monotonic()
        self._done = 0
        self._total = sum(_size(file) for file, _ in self._due(final=True))
        self._tell = tell
        pause = FIRST_PAUSE
        while left := self._sweep(final=True):
            if give_up() or time.monotonic() - self._moved_at > patience:
                return left
            if self._away_since is None:
                pause = FIRST_PAUSE
            tell(self._share())
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        return []

    def _share(self) -> float:
        return min(1.0, self._done / self._total) if self._total else 1.0

    def close(self) -> list[Path]:
        """A last look, for what was written since; what is not sent after it is carried on by somebody else."""
        self._stop_thread()
        left = self._sweep(final=True)
        if not left:
            self._pending.unlink(missing_ok=True)
        return left

    def _stop_thread(self) -> None:
        self._over.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _live(self) -> None:
        pause = FIRST_PAUSE
        with held(self._pending.with_suffix(".lock"), wait=True):
            while not self._over.is_set():
                self._sweep(final=False)
                away = self._away_since is not None
                pause = min(pause * 2, LONGEST_PAUSE) if away else FIRST_PAUSE
                self._wake.wait(pause if away else max(LOOK_EVERY, 5 * self._looked_for))

    def _sweep(self, *, final: bool) -> list[Path]:
        """Send what can be sent; what is left of it."""
        left: list[Path] = []
        away = False
        for file, path in self._due(final=final):
            if away or (self._over.is_set() and not final):
                left.append(file)
                continue
            try:
                if not send(
                    self._store, self._records, file, path, moved=self._moved, give_up=self._broken_off(final)
                ):
                    left.append(file)
                    continue
                self._sent_at[path] = time.monotonic()
                self._there[path] = file
                self.sent += 1
                self._back()
            except Unwanted as error:
                self._refused[path] = file
                self._note(f"— {file.name} was not taken: {error} —")
            except (Changed, FileNotFoundError):
                if file.exists():
                    left.append(file)
            except StorageUnavailable as error:
                if error.refused and self._store.leads:
                    # Waiting would be for ever.
                    self._refused[path] = file
                    self._note(f"— {file.name} was not taken: {error} —")
                    continue
                away = True
                left.append(file)
                self._gone(error)
        if self._store.leads and not away:
            self._remove_what_is_gone()
        return left

    def _remove_what_is_gone(self) -> None:
        """What the run has sent and removed since, as the older ones of its states, would pile up there."""
        for path, file in list(self._there.items()):
            if file.exists():
                continue
            try:
                self._store.remove(path)
            except Unwanted:
                pass
            except StorageUnavailable as error:
                self._gone(error)
                return
            del self._there[path]

    def _broken_off(self, final: bool) -> Callable[[], bool]:
        return (lambda: not self._wanted()) if final else self._over.is_set

    def _due(self, *, final: bool) -> list[tuple[Path, str]]:
        """Files that the store lacks, small ones first; while the run goes on only those that are at rest."""
        found = []
        began = time.monotonic()
        for root in self.roots:
            for file, path in root.files(states=final or self._store.leads, mapped=not self._store.leads):
                if path in self._refused:
                    continue
                try:
                    status = file.stat()
                except OSError:
                    continue
                if is_sent(self._records.get(path), status):
                    continue
                seen = (status.st_size, status.st_mtime_ns)
                rests = self._last.get(path) == seen
                self._last[path] = seen
                grows = path in self._sent_at and (
                    time.monotonic() - self._sent_at[path]
                    < RESENT_EVERY + RESENT_PER_MB * status.st_size / (1 << 20)
                )
                # What is written line by line never rests: it goes as it is, now and then.
                if final or (not grows and (rests or file.suffix == ".txt")):
                    found.append((status.st_size, file, path))
        self._looked_for = time.monotonic() - began
        return [(file, path) for _, file, path in sorted(found)]

    def _moved(self, count: int) -> None:
        if count:
            self._moved_at = time.monotonic()
            self._back()
            self._done += count
            self._tell(self._share())

    def _gone(self, error: StorageUnavailable) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            self._note(
                f"— {error}; the run goes on, what it writes waits on this machine and is sent later —"
            )

    def _back(self) -> None:
        if self._away_since is not None:
            self._away_since = None
            self._note(f"— {self.url} takes files again —")

    def _note(self, line: str) -> None:
        with self._lock:
            self._notes.append(line)


def carry_on(data_dir: Path, environment: Mapping[str, str], give_up: Callable[[], bool]) -> dict[str, int]:
    """Try once to send what runs left behind on this machine: task -> files that still wait.

    What belongs to a run that goes on is left to that.
    """
    waiting: dict[str, int] = {}
    for noted in sorted((data_dir / MOUNTS / STATE / _PENDING).glob("*.json")):
        if give_up():
            break
        with held(noted.with_suffix(".lock"), wait=False) as free:
            if free and (left := _carry_one_on(data_dir, noted, environment)):
                waiting[noted.stem] = left
    return waiting


def pending(data_dir: Path) -> dict[str, ObjectPlace]:
    """Which runs of this machine have, or may have, something to send, and where to."""
    found = {}
    for noted in sorted((data_dir / MOUNTS / STATE / _PENDING).glob("*.json")):
        try:
            found[noted.stem] = ObjectPlace(**json.loads(noted.read_text(encoding="utf-8"))["place"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def _carry_one_on(data_dir: Path, noted: Path, environment: Mapping[str, str]) -> int:
    try:
        said = json.loads(noted.read_text(encoding="utf-8"))
        roots = [Root(Path(local), prefix) for local, prefix in said["roots"]]
        state = Path(said["state"])
        store = _opened(said["place"], data_dir, environment)
    except (OSError, ValueError, KeyError, TypeError):
        noted.unlink(missing_ok=True)  # a run that was killed before it noted anything
        return 0
    except LorapoolError:
        return 1
    if store is None:
        return 1
    try:
        return len(Following(data_dir, noted.stem, store, state, roots).close())
    except LorapoolError:
        return 1
    finally:
        store.close()


def _opened(place: Any, data_dir: Path, environment: Mapping[str, str]) -> Source | None:
    """The store that a note names; None without the credentials for it."""
    if Ticket.is_noted(place):
        return GatewayStore.from_environment(Ticket.of(place), environment)
    found = credentials.find(ObjectPlace(**place), data_dir, environment)
    return None if found is None else ObjectStore(ObjectPlace(**place), found)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
