"""`lorapool worker`: an instance that somebody starts by hand, on this machine or on another one.

With the id of an instance that a launcher has ordered (`LORAPOOL_INSTANCE`) it is that one: so it runs in a pod.

It needs the store and the data folder of a deployment, and brings templates of its own. The supervisor gives it tasks
and may drain it like any other; starting and ending it is up to whoever ran the command.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import signal
import socket
import tempfile
import time
import uuid
from pathlib import Path

from backend import logs, paths
from backend.errors import Conflict, NotFound, StoreUnavailable
from backend.instance import Instance, InstanceState
from backend.pool import devices
from backend.pool.launcher import Order
from backend.pool.local import LocalLauncher
from backend.pool.pool import read_instances
from backend.pool.templates import Templates
from backend.service import Description
from backend.settings import Settings
from backend.signal_safe import SignalSafeEvent
from backend.store import instances, services
from backend.store.connection import Store
from backend.worker.agent import DRAINED, TOLD_TO_LEAVE
from backend.worker.patience import patiently

log = logging.getLogger("lorapool.worker")

LAUNCHER = "manual"
_TICK = 1.0
_PAUSE = 2.0


class Worker:
    """One instance and what it needs. `run` blocks until it has ended; after an update another one takes its place.

    `ordered` is the instance that a launcher has noted already, and that nothing follows here; '' for a new one.
    A `steady` one is on a box that may lose its network: an instance that was lost is followed by another.
    """

    def __init__(
        self, settings: Settings, service: str, device: str = "", *, ordered: str = "", steady: bool = False
    ) -> None:
        self._settings = settings
        self._service = service
        self._device = device
        self._ordered = ordered
        self._steady = steady
        self._store = Store(settings.redis_url)
        self._wake = SignalSafeEvent()
        self._stops = 0

    def stop(self) -> None:
        """Have the instance save, hand back and end; said again, it is killed."""
        self._stops += 1
        self._wake.set()

    def run(self) -> int:
        """Start the instance and stay until it has ended: drained, told to leave, or lost; the exit code.

        Raises:
            NotFound: there is no such service, or nobody has ordered this instance.
            Conflict: the service runs no tasks, there is no free device, or the instance is not wanted any more.
        """
        instance = self._take_up() if self._ordered else self._register(self._described())
        folder = Path(tempfile.mkdtemp(prefix="lorapool-worker-"))  # short: for sockets
        templates = Templates(folder, self._settings.data_dir / paths.LOGS)
        launcher = LocalLauncher(
            self._settings, templates, on_change=self._wake.set, name=instance.launcher, bound=True
        )
        try:
            launcher.tend([instance])
            code = self._live(launcher, instance)
            while self._is_followed(instance, code):
                instance = self._patient_register()
                if self._stops:
                    break
                code = self._live(launcher, instance)
            return code
        finally:
            launcher.close()
            shutil.rmtree(folder, ignore_errors=True)
            self._store.close()

    def _live(self, launcher: LocalLauncher, instance: Instance) -> int:
        """Start an instance and stay until it has ended; the exit code."""
        try:
            order = Order(instance.id, self._service, instance.device, self._described())
            launcher.start(order)
            log.info("instance %s of %s on %s", instance.id, self._service, instance.device)
            return self._attend(launcher, instance)
        finally:
            launcher.kill(instance)
            with contextlib.suppress(StoreUnavailable):  # then its lease says so
                self._store.run(
                    instances.gone(instance.id, "its worker ended", counted=False, max_delivery=0)
                )

    def _is_followed(self, instance: Instance, code: int) -> bool:
        """Whether another instance takes the place of one that has ended."""
        if self._was_updated(instance):
            log.info("%s was updated: another instance takes its place", self._service)
            return True
        if self._stops or not self._steady or not code:
            return False
        log.info("instance %s was lost: another one takes its place", instance.id)
        self._wake.wait(_PAUSE)
        return not self._stops

    def _patient_register(self) -> Instance:
        """A new instance, as soon as the store can be reached."""
        return patiently(lambda: self._register(self._described()), self._gives_up)

    def _gives_up(self) -> bool:
        return not self._steady or self._stops > 0

    def _was_updated(self, instance: Instance) -> bool:
        """Whether an instance left because another description holds by now, and nobody wants to stop here."""
        if self._stops or self._ordered:
            return False
        try:
            ended = self._read(instance.id)
            deployed = self._store.run(services.get(self._service))
        except (StoreUnavailable, NotFound):
            return False
        left = ended.reason == DRAINED and not deployed.stopped
        return left and ended.version not in ("", deployed.description.version)

    def _described(self) -> Description:
        return self._store.run(services.get(self._service)).description

    def _register(self, description: Description) -> Instance:
        if not description.type.runs_tasks:
            raise Conflict(f"{self._service} is a {description.type} service: it has no tasks to be run")
        name, host, now = uuid.uuid4().hex[:12], socket.gethostname(), time.time()
        device = self._device or self._free_device(host)
        self._store.run_all(
            instances.create(
                name,
                self._service,
                slots=description.rpc.worker_threads,
                launcher=LAUNCHER,
                host=host,
                device=device,
                created_at=now,
            )
        )
        return self._read(name)

    def _take_up(self) -> Instance:
        """Be the instance that was ordered: note where it is."""
        name, host = self._ordered, socket.gethostname()
        found = instances.assemble(name, self._store.run_all(instances.details(name)))
        if found is None:
            raise NotFound(f"nobody has ordered an instance {name}")
        if found.state is not InstanceState.STARTING:
            raise Conflict(f"instance {name} is not wanted any more: it is {found.state}")
        self._store.run(instances.note_host(name, host, self._device or self._free_device(host)))
        return self._read(name)

    def _free_device(self, host: str) -> str:
        taken = {instance.device for instance in read_instances(self._store) if instance.host == host}
        cards = devices.gpus()
        free = [card for card in cards if card not in taken]
        if cards and not free:
            raise Conflict(
                "every GPU here has an instance already; name a device to share one: --device cuda:0"
            )
        return free[0] if free else "cpu"

    def _attend(self, launcher: LocalLauncher, instance: Instance) -> int:
        obeyed = 0
        while True:
            launcher.tend([instance])
            if launcher.exits():
                return self._exit_code(instance)
            if self._stops > obeyed:
                obeyed = self._stops
                if obeyed > 1:
                    return 1
                launcher.stop(instance)
            self._wake.wait(_TICK)
            self._wake.clear()

    def _exit_code(self, instance: Instance) -> int:
        """0 when the instance said itself that it ends."""
        try:
            newest = self._read(instance.id)
        except StoreUnavailable as error:
            log.error("instance %s ended: %s", instance.id, error)
            return 1
        well = newest.state is InstanceState.GONE and newest.reason in (DRAINED, TOLD_TO_LEAVE)
        log.info("instance %s ended: %s", instance.id, newest.reason or "its log says why")
        return 0 if well else 1

    def _read(self, name: str) -> Instance:
        found = instances.assemble(name, self._store.run_all(instances.details(name)))
        assert found is not None
        return found


def serve(
    settings: Settings, service: str, device: str = "", *, ordered: str = "", steady: bool = False
) -> int:
    """Run a worker until its instance has ended, or SIGTERM or Ctrl-C; the exit code."""
    logs.configure("worker", settings.log_format, service=service)
    worker = Worker(settings, service, device, ordered=ordered, steady=steady)
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, lambda *_: worker.stop())
    return worker.run()
