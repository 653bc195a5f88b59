"""The rigs of the launchers that need no engine: in memory, and on this host."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from backend import paths
from backend.pool import templates
from backend.pool.launcher import Launcher
from backend.pool.local import LocalLauncher
from backend.pool.templates import Templates
from backend.processes import wait_until
from backend.settings import Settings
from tests.support.fake_launcher import FakeLauncher
from tests.support.launcher_rig import PATIENCE, PlayedRig, Rig

LEASE = 2.0


class FakeRig(PlayedRig):
    """The launcher in memory."""

    def __init__(self, url: str) -> None:
        self._engine: set[str] = set()
        self._fake: FakeLauncher
        super().__init__(url)

    def make(self) -> Launcher:
        self._fake = FakeLauncher(engine=self._engine, on_change=self.changed.set)
        return self._fake

    def traces(self) -> set[str]:
        return set(self._engine)

    def crash(self, instance: str) -> None:
        self._fake.end(instance)

    def obeys(self, instance: str) -> None:
        super().obeys(instance)
        self._fake.end(instance, "it left")

    @contextmanager
    def refused(self) -> Iterator[None]:
        self._fake.refusal = "there is nothing to start it on"
        yield
        self._fake.refusal = ""

    @contextmanager
    def congested(self) -> Iterator[None]:
        self._fake.congestion = "every place is taken"
        yield
        self._fake.congestion = ""


class LocalRig(Rig):
    """Real instances on this host."""

    can_wait = False

    def __init__(self, url: str) -> None:
        self._data = Path(tempfile.mkdtemp(prefix="lp-"))  # short: for the sockets
        paths.create(self._data)
        self._url = url
        self._preload, templates.TRAINING = templates.TRAINING, ("backend.worker.guard",)
        super().__init__(url)

    def make(self) -> Launcher:
        settings = Settings(
            data_dir=self._data, redis_url=self._url, token="t", lease_seconds=LEASE, stop_grace=1.0
        )
        self._templates = Templates(self._data, self._data / paths.LOGS)
        return LocalLauncher(settings, self._templates, self.changed.set)

    def traces(self) -> set[str]:
        return {name for name, _ in self._processes()}

    def crash(self, instance: str) -> None:
        for name, process in self._processes():
            if name == instance:
                process.send_signal(signal.SIGKILL)

    def _processes(self) -> Iterator[tuple[str, psutil.Process]]:
        """Instances by their open logs, which bear their names."""
        for process in psutil.process_iter():
            try:
                if process.cwd() != str(self._data):
                    continue
                open_files = {Path(file.path).stem for file in process.open_files()}
                for said in open_files:
                    if said.startswith("instance-"):
                        yield said.removeprefix("instance-"), process
            except (psutil.Error, OSError):
                continue

    @contextmanager
    def refused(self) -> Iterator[None]:
        self._templates.close()
        yield
        self.look()

    def close(self) -> None:
        try:
            super().close()
        finally:
            templates.TRAINING = self._preload
            assert wait_until(lambda: not self.traces(), PATIENCE)
            shutil.rmtree(self._data, ignore_errors=True)
