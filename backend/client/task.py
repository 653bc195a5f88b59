"""A task of a gateway: how it stands, what it says and writes, how it is ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from backend.client.connection import Connection
from backend.views import (
    FileView,
    GenerationView,
    LogPage,
    ProgressView,
    RoomView,
    ScalarPage,
    TaskView,
    read,
)

Event = tuple[str, Any]

_PAUSE = 0.25


@dataclass(frozen=True, slots=True)
class TaskHandle:
    """One task. Each property asks the gateway anew; `view` gets everything at once."""

    client: Connection
    id: str

    @property
    def _path(self) -> str:
        return f"tasks/{quote(self.id, safe='')}"

    def view(self) -> TaskView:
        """Everything about it."""
        return read(TaskView, self.client.get(self._path))

    @property
    def state(self) -> str:
        """waiting, assigned, running, succeeded, failed, cancelled or dead."""
        return self.view().state

    @property
    def reason(self) -> str:
        """Why it is in this state, in words."""
        return self.view().reason

    @property
    def position(self) -> int | None:
        """1 when it is next to start; None unless it waits."""
        return self.view().position

    @property
    def expected_start(self) -> float | None:
        """When it should start, in seconds since the epoch; None when that is not known."""
        return self.view().expected_start

    def progress(self) -> ProgressView | None:
        """Where it is."""
        return self.view().progress

    def logs(self, *, follow: bool = False, after: int = 0) -> Iterator[str]:
        """Its log, line by line, behind line number `after`; with `follow` until it has ended."""
        if not follow:
            while lines := (page := self.log(after)).lines:
                yield from (text for _, text in lines)
                after = page.next
            return
        for name, data in self.events(log=after):
            if name == "log":
                yield from (text for _, text in data["lines"])

    def log(self, after: int = 0, *, limit: int = 1000) -> LogPage:
        """One page of its log."""
        return read(LogPage, self.client.get(f"{self._path}/log", {"after": after, "limit": limit}))

    def scalars(self, after: int = 0) -> ScalarPage:
        """Points of its curve behind number `after`."""
        return read(ScalarPage, self.client.get(f"{self._path}/scalars", {"after": after}))

    def files(self) -> list[FileView]:
        """What it has written so far."""
        return [read(FileView, each) for each in self.client.get(f"{self._path}/files")["files"]]

    def download(self, path: str, to: str | Path) -> Path:
        """Fetch one of its files, named as `files` names it."""
        return self.client.download(f"{self._path}/files/{quote(path)}", Path(to))

    def download_log(self, to: str | Path) -> Path:
        """Fetch its whole log."""
        return self.client.download(f"{self._path}/log.txt", Path(to))

    def images(self) -> GenerationView:
        """What a query has drawn, with fresh links; raises NotFound when it has left nothing."""
        return read(GenerationView, self.client.get(f"{self._path}/images"))

    def wait(self, timeout: float | None = None) -> TaskView:
        """Until it has ended.

        Raises:
            TimeoutError: it has not within `timeout` seconds; it goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not (view := self.view()).final:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError(f"task {self.id} is {view.state} after {timeout:.0f} s; it goes on")
            time.sleep(_PAUSE if left is None else min(_PAUSE, left))
        return view

    def cancel(self, *, save: bool = False) -> TaskView:
        """End it; with `save` a training saves its state first. One that has ended stays as it is."""
        body = {"mode": "save" if save else "stop"}
        return read(TaskView, self.client.post(f"{self._path}/cancel", body, repeat=True))

    def retry(self) -> TaskHandle:
        """Queue a new task with the same snapshot."""
        return TaskHandle(self.client, self.client.post(f"{self._path}/retry")["id"])

    def room(self) -> RoomView:
        """What it has left on the disk, and how much room that takes."""
        return read(RoomView, self.client.get(f"{self._path}/room"))

    def delete(self, *, files: bool = False, lora: bool = False) -> RoomView:
        """Remove one that has ended: its record, log and curve; with `files` its job folder, too.

        With `lora` as well its finished LoRA in `loras/`, which stays otherwise. Returns what was removed of the disk.

        Raises:
            Conflict: it waits or runs.
            NotFound: it is not there (any more).
        """
        query = {"files": files, "lora": lora}
        return read(RoomView, self.client.delete(self._path, query))

    def set_priority(self, priority: int) -> TaskView:
        """Have it start sooner or later, while it waits."""
        body = {"priority": priority}
        return read(TaskView, self.client.post(f"{self._path}/priority", body, repeat=True))

    def events(self, *, log: int = 0, scalars: int = 0, files: int = 0) -> Iterator[Event]:
        """Its changes as (name, data) until it has ended, behind these cursors.

        `task` (a `TaskView`), `log`, `scalars` and `files` (as their pages), and at last `end`.
        """
        query = {"log": log, "scalars": scalars, "files": files}
        for name, data, _ in self.client.stream(f"{self._path}/events", query):
            yield name, read(TaskView, data) if name == "task" else data
