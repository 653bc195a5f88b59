"""The supervisor: one loop over all services of a deployment. Of several, one leads.

It wakes on events (a put, a finish, a ready instance, one that is gone, a changed description), at the moments that
its own decisions name, and, as a safety net, every second.
"""

from __future__ import annotations

import json
import logging
import signal
import socket
import threading
import time

from backend.errors import InvalidArgument, LorapoolError, StoreUnavailable
from backend.instance import Instance, Place
from backend.paths import STORE
from backend.pool.learnt import Learnt
from backend.pool.local import LocalLauncher
from backend.pool.pool import Pool, read_instances
from backend.pool.reaper import Reaper
from backend.pool.templates import Templates
from backend.processes import alive, here
from backend.settings import Settings
from backend.store import instances, pools, services
from backend.store.connection import UNAVAILABLE, Store
from backend.store.embedded import runtime_dir
from backend.store.keys import key

log = logging.getLogger("lorapool.supervisor")

TICK = 1.0
LEAD_SECONDS = 6.0
IDLE_HANDS = 2
"""So many tasks in a row that it was given and did not begin, and an instance is replaced."""

_PAUSE = 0.2


class Supervisor:
    """`run` blocks until `stop` is called from a signal or another thread."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.redis_url)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        templates = Templates(runtime_dir((settings.data_dir / STORE).resolve()), settings.data_dir / "logs")
        self._launcher = LocalLauncher(settings, templates, on_exit=self._wake.set)
        self._reaper = Reaper(
            self.store,
            self._launcher,
            start_deadline=settings.start_deadline,
            grace=settings.lease_seconds * 1.2,
        )
        self._pools: dict[str, Pool] = {}
        self._me = json.dumps([here().host, here().pid, here().started_at])
        self._leading = False

    def stop(self) -> None:
        """End the loop; instances are asked to save, hand back and end."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """Lead when it is our turn, until told to stop."""
        self._launcher.tend()
        threading.Thread(target=self._listen, name="events", daemon=True).start()
        away = False
        while not self._stopping.is_set():
            try:
                if self._lead():
                    self._launcher.tend()
                    self._pass()
                if away:
                    log.info("the store is back")
                away = False
            except StoreUnavailable as error:
                if not away:
                    log.warning("%s", error)
                away = True
                self._reaper.store_was_away()
                self._stopping.wait(_PAUSE)
            self._wake.wait(self._patience())
            self._wake.clear()
        self._end_instances()
        self._launcher.close()

    def _lead(self) -> bool:
        """Whether this one leads. A leader of this host that is dead is not waited for."""
        leading = self.store.run(instances.lead(self._me, LEAD_SECONDS))
        if not leading:
            leader = self.store.run(instances.leader())
            if leader is not None and _is_dead(leader):
                self.store.run(instances.resign(leader))
                leading = self.store.run(instances.lead(self._me, LEAD_SECONDS))
        if leading and not self._leading:
            log.info("this supervisor leads")
            self._reaper.adopt(read_instances(self.store))
        self._leading = leading
        return leading

    def _pass(self) -> None:
        self._deploy()
        found = read_instances(self.store)
        limits = {name: pool.description.queue.max_delivery for name, pool in self._pools.items()}
        idle_hands = {
            name for pool in self._pools.values() for name, n in pool.idle_hands.items() if n >= IDLE_HANDS
        }
        self._reaper.reap(found, limits, idle_hands)
        taken = [instance.device for instance in found]
        for pool in self._pools.values():
            try:
                pool.step(taken)
            except InvalidArgument as error:
                log.error("service %s: %s", pool.name, error)
        self._end_orphans(found)

    def _deploy(self) -> None:
        names = self.store.run(services.names())
        for name in names:
            deployed = self.store.run(services.get(name))
            pool = self._pools.get(name)
            if pool is None:
                learnt = Learnt(self.store.run(pools.load(name)))
                pool = Pool(name, self.store, self._launcher, deployed.description, learnt)
                self._pools[name] = pool
            pool.description, pool.stopped = deployed.description, deployed.stopped
        for name in set(self._pools) - set(names):
            del self._pools[name]

    def _end_orphans(self, found: list[Instance]) -> None:
        """Instances of a service that was deleted leave."""
        for instance in found:
            if instance.service not in self._pools:
                self._launcher.stop(instance)

    def _patience(self) -> float:
        times = [pool.wake_at for pool in self._pools.values() if pool.wake_at is not None]
        return max(0.0, min([TICK, *(at - time.time() for at in times)]))

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                with self.store.listen(key("events")) as messages:
                    while not self._stopping.is_set():
                        message = messages.get_message(timeout=TICK)
                        if message and json.loads(message["data"]).get("kind") != "output":
                            self._wake.set()
            except (*UNAVAILABLE, LorapoolError):
                time.sleep(_PAUSE)

    def _end_instances(self) -> None:
        """Ask every instance here to leave; what has not left when the grace is over is killed."""
        try:
            found = [i for i in read_instances(self.store) if i.launcher == self._launcher.name]
            for instance in found:
                self._launcher.stop(instance)
            deadline = time.monotonic() + self.settings.save_grace
            while (left := self._still(found)) and time.monotonic() < deadline:
                time.sleep(0.05)
            for instance in left:
                self._launcher.kill(instance)
                self.store.run(
                    instances.gone(instance.id, "it did not leave in time", counted=False, max_delivery=0)
                )
            for pool in self._pools.values():
                pool.save()
            self.store.run(instances.resign(self._me))
        except StoreUnavailable as error:
            log.warning("stopped without the store: %s", error)

    def _still(self, found: list[Instance]) -> list[Instance]:
        present = set(self.store.run(instances.ids()))
        return [instance for instance in found if instance.id in present]


def _is_dead(leader: str) -> bool:
    host, pid, started_at = json.loads(leader)
    return host == socket.gethostname() and not alive(Place(host, pid, started_at))


def serve(settings: Settings) -> int:
    """Run a supervisor until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s supervisor %(levelname)s %(message)s")
    supervisor = Supervisor(settings)
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, lambda *_: supervisor.stop())
    supervisor.run()
    return 0
