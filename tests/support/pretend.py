"""An instance that a test plays itself: it takes tasks and speaks for them, without running anything."""

from __future__ import annotations

import time

from backend.processes import here
from backend.records import FileWritten, Progress, Record
from backend.store import instances, outputs, tasks
from backend.store.connection import Store
from backend.store.outputs import Holder
from backend.task import TaskState


class PretendInstance:
    """Registered, ready and leased; `take` starts a task."""

    def __init__(self, store: Store, service: str, name: str = "pretend") -> None:
        self.name = f"{service}-{name}"
        self._store = store
        self._batch = 0
        store.run_all(
            instances.create(
                self.name,
                service,
                slots=1,
                launcher="local",
                device="cpu",
                host="here",
                created_at=time.time(),
            )
        )
        store.run(instances.ready(self.name, here()))
        store.run(instances.renew(self.name, 600.0))

    def take(self, task: str) -> Holder:
        assert self._store.run(tasks.assign(task, self.name, 9)) == "ok"
        return Holder(task, self._store.run(tasks.claim(task, self.name)), self.name)

    def say(self, holder: Holder, *lines: str, records: tuple[Record, ...] = (), sink: str = "") -> None:
        self._batch += 1
        self._store.run(
            outputs.append(
                holder, lines, [outputs.spoken(record) for record in records], sink=sink, batch=self._batch
            )
        )

    def finish(self, holder: Holder, state: TaskState = TaskState.SUCCEEDED, reason: str = "") -> None:
        call = tasks.finish(holder, state, reason, exit_code=0)  # type: ignore[arg-type]
        assert self._store.run(call) is None


def progress(step: int, total: int = 10) -> Progress:
    return Progress(step=step, total=total, loss=1.0 / step)


def sample(path: str) -> FileWritten:
    return FileWritten(kind="sample", path=path, step=1)
