"""A store, supervisors and instances as real processes, without a gateway; and the world of a service in them.

The training template is left almost empty, so that a supervisor starts in a moment; trainings are for other tests.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from backend import paths
from backend.processes import wait_until
from backend.store import instances, tasks
from backend.store.connection import Store
from backend.store.embedded import EmbeddedStore
from backend.task import Task, TaskState
from tests.support.store_world import World

ROOT = Path(__file__).parents[2]
PATIENCE = 90.0

_LIGHT = "import backend.pool.templates as t; t.TRAINING = ('backend.worker.guard',); "
_SUPERVISOR = (
    _LIGHT + "from backend.pool.supervisor import serve; from backend.settings import read; serve(read())"
)
_WORKER = (
    _LIGHT + "import sys; from backend.pool.by_hand import serve; from backend.settings import read; "
    "raise SystemExit(serve(read(), sys.argv[1]))"
)


class PoolBox:
    """`close` leaves no process behind, and says so if there is one."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        self.data_dir = data_dir
        paths.create(data_dir)
        self.server = EmbeddedStore(data_dir)
        self.server.start()
        self._environment = environment
        self._log = data_dir.parent / f"{data_dir.name}.log"
        self._worlds: list[PoolWorld] = []
        self.processes: list[subprocess.Popen[bytes]] = []

    def supervisor(self, first: str = "", **environment: str) -> subprocess.Popen[bytes]:
        """Start a supervisor; `first` is code that its process runs before."""
        return self._start(first + _SUPERVISOR, environment)

    def worker(self, service: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start an instance by hand."""
        return self._start(_WORKER, environment, service)

    def _start(self, code: str, environment: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("LORAPOOL_", "REDIS_URL"))}
        given = {
            "LORAPOOL_DATA_DIR": str(self.data_dir),
            "REDIS_URL": self.server.url,
            "LORAPOOL_TOKEN": "the-administrator-s-token",
            "LORAPOOL_LEASE_SECONDS": "5",
            "LORAPOOL_STOP_GRACE": "1",
        }
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", code, *arguments],
                cwd=ROOT,
                env={**plain, **given, **self._environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def world(self, **description: Any) -> PoolWorld:
        """A service of its own."""
        world = PoolWorld(self, **{"autoscaler": {"min": 0, "max": 1}, **description})
        self._worlds.append(world)
        return world

    @property
    def log(self) -> str:
        """What supervisors have said."""
        return self._log.read_text() if self._log.exists() else ""

    def present(self) -> dict[int, str]:
        """Every process of this pool that lives, but the store: pid -> command line."""
        found = {}
        for process in psutil.process_iter():
            try:
                mine = process.environ().get("LORAPOOL_DATA_DIR") == str(self.data_dir)
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = " ".join(process.cmdline())
            except (psutil.Error, OSError):
                continue
        return found

    def stop(self, process: subprocess.Popen[bytes], sig: signal.Signals = signal.SIGTERM) -> int:
        """Signal a process and wait for its end; the exit code."""
        if process.poll() is None:
            process.send_signal(sig)
        return process.wait(PATIENCE)

    def close(self) -> None:
        try:
            for process in self.processes:
                self.stop(process)
            assert wait_until(lambda: not self.present(), 30.0), f"processes are left: {self.present()}"
        finally:
            for world in self._worlds:
                world.close()
            self.server.stop()


class PoolWorld(World):
    """A service whose instances are real."""

    def __init__(self, box: PoolBox, **description: Any) -> None:
        super().__init__(box.server.url, **description)
        self.box = box

    def submit(self, command: str, **fields: Any) -> str:
        """A shell command; the task's id."""
        return self.put(data=command.encode(), **fields)

    def result(self, task: str) -> Task:
        """The task when it has ended."""
        assert wait_until(lambda: self.read(task).final, PATIENCE), f"{self.read(task)}\n{self.box.log}"
        return self.read(task)

    def running_task(self, task: str, line: str = "up") -> Task:
        """The task when it has printed a line."""
        assert wait_until(lambda: line in self.log(task) or self.read(task).final, PATIENCE), (
            f"{self.read(task)}\n{self.box.log}"
        )
        found = self.read(task)
        assert found.state is TaskState.RUNNING, found
        return found

    def says_more(self, task: str) -> None:
        """Wait until the task has said something new, or has ended."""
        seen = self.read(task).log_lines
        assert wait_until(lambda: self.read(task).log_lines > seen or self.read(task).final, PATIENCE)

    def read(self, task: str) -> Task:
        """The task, though the store may be away for a moment."""
        return patient(self.store, task)

    def here(self) -> list[str]:
        """The service's instances that are not gone."""
        found = self.store.run(instances.ids())
        return [name for name in found if self.find(name).service == self.service]

    def one_here(self) -> str:
        """The service's only instance, when it is up."""
        assert wait_until(lambda: any(self.find(name).ready_at for name in self.here()), PATIENCE), (
            self.box.log
        )
        (name,) = self.here()
        return name

    def pid(self, instance: str) -> int:
        place = self.find(instance).place
        assert place is not None
        return place.pid


def patient(store: Store, task: str) -> Task:
    """A task, read again while the store is away."""
    from backend.worker.patience import patiently

    return patiently(lambda: store.run(tasks.get(task)), lambda: False)
