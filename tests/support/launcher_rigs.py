"""The rigs of the launchers: in memory, on this host, on a Ray cluster."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from backend import paths
from backend.pool import templates
from backend.pool.devices import gpus
from backend.pool.launcher import Launcher
from backend.pool.local import LocalLauncher
from backend.pool.ray.launcher import RayLauncher
from backend.pool.templates import Templates
from backend.processes import wait_until
from backend.settings import Settings
from tests.support.fake_launcher import FakeLauncher
from tests.support.launcher_rig import PATIENCE, PlayedRig, Rig
from tests.support.ray_cluster import RayCluster

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


class HostRig(Rig):
    """Real instances, all on this host: their working folder is the data folder, and each has a log of its own open."""

    def __init__(self, url: str) -> None:
        self._data = Path(tempfile.mkdtemp(prefix="lp-"))  # short: for the sockets
        paths.create(self._data)
        self._settings = Settings(
            data_dir=self._data, redis_url=url, token="t", lease_seconds=LEASE, stop_grace=1.0
        )
        super().__init__(url)

    def traces(self) -> set[str]:
        return {name for name, _ in self._processes()}

    def crash(self, instance: str) -> None:
        for name, process in self._processes():
            if name == instance:
                process.send_signal(signal.SIGKILL)

    def _processes(self) -> Iterator[tuple[str, psutil.Process]]:
        for process in psutil.process_iter():
            try:
                if process.cwd() != str(self._data):
                    continue
                for name in {Path(file.path).stem for file in process.open_files()}:
                    if name.startswith("instance-"):
                        yield name.removeprefix("instance-"), process
            except (psutil.Error, OSError):
                continue

    def close(self) -> None:
        try:
            super().close()
        finally:
            assert wait_until(lambda: not self.traces(), PATIENCE)
            shutil.rmtree(self._data, ignore_errors=True)


class LocalRig(HostRig):
    """The launcher of one host."""

    can_wait = False

    def __init__(self, url: str) -> None:
        self._preload, templates.TRAINING = templates.TRAINING, ("backend.worker.guard",)
        super().__init__(url)

    @property
    def devices(self) -> int | None:
        return len(gpus()) or None

    def make(self) -> Launcher:
        self._templates = Templates(self._data, self._data / paths.LOGS)
        return LocalLauncher(self._settings, self._templates, self.changed.set)

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


class RayRig(HostRig):
    """The launcher of a Ray cluster: a head and a second node, both on this host."""

    devices = 2

    def __init__(self, url: str) -> None:
        self.cluster = RayCluster(1, 1)
        self._before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = self.cluster.python_path
        super().__init__(url)

    def make(self) -> Launcher:
        settings = self._settings.model_copy(update={"ray_address": self.cluster.address})
        self._ray = RayLauncher(settings, lambda: "contract", self.changed.set)
        self._ray.tend([])
        assert wait_until(lambda: self._ray.connected, PATIENCE)
        return self._ray

    def traces(self) -> set[str]:
        return super().traces() | self._ray.actors

    def node_of(self, instance: str) -> str:
        """The node on which an instance is."""
        return self._ray.node_of(instance)

    def abandon(self) -> None:
        for driver in psutil.Process().children():
            if "backend.pool.ray.driver" in driver.cmdline():
                driver.kill()
        self._ray.close()

    @contextmanager
    def refused(self) -> Iterator[None]:
        """No node has what is asked for: it says so, and nothing is started."""
        with self.congested():
            yield

    @contextmanager
    def congested(self) -> Iterator[None]:
        self.describe(ray={"resources": {"a thing that no node has": 1}})
        yield
        self.describe()

    def close(self) -> None:
        try:
            super().close()
        finally:
            del os.environ["PYTHONPATH"]
            if self._before is not None:
                os.environ["PYTHONPATH"] = self._before
            self.cluster.close()
