"""The supervisor: one loop over all services of a deployment. Of several, one leads.

It wakes on events (a put, a finish, a ready instance, one that is gone, a changed description), at the moments that
its own decisions name, and, as a safety net, every second.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import socket
import time

from backend import logs
from backend.errors import InvalidArgument, NotFound, StoreUnavailable
from backend.instance import Instance, InstanceState, Place
from backend.pool import launchers
from backend.pool.events import Events
from backend.pool.garbage import Garbage
from backend.pool.janitor import Janitor
from backend.pool.launcher import Launcher
from backend.pool.learnt import Learnt
from backend.pool.pool import Pool, read_instances
from backend.pool.reaper import Reaper
from backend.pool.roster import Roster
from backend.pool.stopwatch import Stopwatch
from backend.processes import alive, here
from backend.settings import Settings
from backend.signal_safe import SignalSafeEvent
from backend.store import instances, pools, services, tasks
from backend.store.connection import Store

log = logging.getLogger("lorapool.supervisor")

TICK = 1.0
LEAD_SECONDS = 6.0
IDLE_HANDS = 2
"""So many tasks in a row that it was given and did not begin, and an instance is replaced."""

_PAUSE = 0.2
_SHORTEST_WAIT = 0.02
_FORGET_EVERY, _FORGET_AT_ONCE = 60.0, 200
_DAY = 86_400.0


class Supervisor:
    """`run` blocks until `stop` is called from a signal or another thread. `launcher`: if not the settings' own."""

    def __init__(self, settings: Settings, launcher: Launcher | None = None) -> None:
        self.settings = settings
        self.store = Store(settings.redis_url)
        self._wake = SignalSafeEvent()
        self._stopping = SignalSafeEvent()
        self._hurry = SignalSafeEvent()
        self._events = Events(self.store, self._wake)
        self._launcher = launcher or launchers.make(settings, self.store, self._wake.set)
        self._reaper = Reaper(
            self.store,
            self._launcher,
            start_deadline=settings.start_deadline,
            grace=settings.lease_seconds * 1.2,
        )
        self._stopwatch = Stopwatch(self.store)
        self._roster = Roster(self.store)
        self._janitor = Janitor(settings, Store(settings.redis_url))
        self._pools: dict[str, Pool] = {}
        self._faults: dict[str, str] = {}
        self._me = json.dumps([here().host, here().pid, here().started_at])
        self._leading = False
        self._forget_at = 0.0
        self._hurried: set[str] = set()

    def stop(self) -> None:
        """End the loop; instances are asked to save, hand back and end. Said again: they are not waited for."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """Lead when it is our turn, until told to stop."""
        self._events.start()
        self._janitor.start()
        garbage = Garbage()
        away = False
        while not self._stopping.is_set():
            try:
                if self._lead():
                    self._pass()
                    self._foresee()
                if not self._wake.is_set():
                    garbage.tend()
                if away:
                    log.info("the store is back")
                away = False
            except StoreUnavailable as error:
                if not away:
                    log.warning("%s", error)
                away = True
                self._reaper.store_was_away()
                self._events.miss()
                self._stopping.wait(_PAUSE)
            self._wake.wait(self._patience())
            self._wake.clear()
        self._janitor.stop()
        self._end_instances()
        self._events.close()
        self._launcher.close()
        self.store.close()

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
        self._leading = leading
        self._janitor.lead(leading)
        return leading

    def _pass(self) -> None:
        happened = self._events.times()
        changed = self._events.changed()
        self._deploy()
        found = self._roster.update(None if changed is None else self._touched())
        self._launcher.tend(found)
        idle_hands = {
            name for pool in self._pools.values() for name, n in pool.idle_hands.items() if n >= IDLE_HANDS
        }
        lost = self._reaper.reap(found, self._limits(), idle_hands)
        buried = [instance for instance in found if instance.id in lost]
        if buried:
            found = self._roster.update(())
        taken = [instance.device for instance in found if instance.host == socket.gethostname()]
        for pool in self._pools.values():
            began = time.monotonic()
            # What goes back with a lost instance is first in line again, and must be so in this pass.
            back = {task for i in buried if i.service == pool.name for task in i.tasks}
            self._step(pool, found, taken, None if changed is None else changed.get(pool.name, set()) | back)
            self._stopwatch.passed(pool.name, time.monotonic() - began, happened)
        self._end_orphans(found)
        self._end_long_drains(found)
        self._forget_old_tasks()
        self._stopwatch.flush()

    def _step(self, pool: Pool, found: list[Instance], taken: list[str], changed: set[str] | None) -> None:
        """One service's pass. What is wrong with one service must not keep the others waiting."""
        try:
            pool.step(found, taken, changed)
        except StoreUnavailable:
            raise
        except InvalidArgument as error:
            self._fault(pool.name, str(error))
        except Exception as error:
            pool.lost()
            if self._fault(pool.name, repr(error)):
                log.exception("service %s", pool.name)
        else:
            self._faults.pop(pool.name, None)

    def _foresee(self) -> None:
        """Go on with the forecasts until something happens, at least a little with each that is under way."""
        until = time.monotonic() + TICK
        under_way = [pool.forecast for pool in self._pools.values() if pool.forecast.under_way]
        while under_way:
            for forecast in under_way:
                forecast.go_on()
            if self._wake.is_set() or time.monotonic() > until:
                return
            under_way = [forecast for forecast in under_way if forecast.under_way]

    def _fault(self, service: str, what: str) -> bool:
        """Say what is wrong with a service, once; whether it is new."""
        if self._faults.get(service) == what:
            return False
        self._faults[service] = what
        log.error("service %s is not served at present: %s", service, what)
        return True

    def _touched(self) -> set[str]:
        """Instances that changed since the last pass, by others' doing or its own."""
        changed = self._events.instances()
        for pool in self._pools.values():
            changed |= pool.touched
            pool.touched = set()
        return changed

    def _limits(self) -> dict[str, int]:
        return {name: pool.description.queue.max_delivery for name, pool in self._pools.items()}

    def _deploy(self) -> None:
        names = self.store.run(services.names())
        for name in names:
            try:
                deployed = self.store.run(services.get(name))
            except NotFound:
                continue  # it is being removed at this moment
            except InvalidArgument as error:
                self._fault(name, str(error))
                continue
            pool = self._pools.get(name)
            if pool is None:
                learnt = Learnt(self.store.run(pools.load(name)))
                pool = Pool(name, self.store, self._launcher, deployed.description, learnt)
                self._pools[name] = pool
            pool.description, pool.stopped = deployed.description, deployed.stopped
        for name in set(self._pools) - set(names):
            del self._pools[name]

    def _end_orphans(self, found: list[Instance]) -> None:
        """Instances of a service that was removed leave; its tasks are being stopped."""
        for instance in found:
            if instance.service not in self._pools and instance.state is not InstanceState.DRAINING:
                reason = "its service was removed"
                self.store.run(instances.enter(instance.id, InstanceState.DRAINING, reason=reason))

    def _end_long_drains(self, found: list[Instance]) -> None:
        """Instances that have drained for longer than they may save what they run and hand it back."""
        deadline = self.settings.drain_deadline
        for instance in found:
            if instance.state is not InstanceState.DRAINING or instance.id in self._hurried:
                continue
            if deadline and time.time() - (instance.draining_since or math.inf) > deadline:
                self._hurried.add(instance.id)
                log.info(
                    "instance %s has drained for %.0f s: it hands back what it runs", instance.id, deadline
                )
                self._launcher.stop(instance)
        self._hurried &= {instance.id for instance in found}

    def _forget_old_tasks(self) -> None:
        if time.monotonic() < self._forget_at:
            return
        days, kept = self.settings.keep_days, self.settings.keep_tasks
        count = self.store.run(tasks.expire(days * _DAY, _FORGET_AT_ONCE, kept=kept))
        if count:
            log.info("forgot the oldest %d tasks that have ended", count)
        self._forget_at = time.monotonic() + (0.0 if count == _FORGET_AT_ONCE else _FORGET_EVERY)

    def _patience(self) -> float:
        times = [pool.wake_at for pool in self._pools.values() if pool.wake_at is not None]
        return max(_SHORTEST_WAIT, min([TICK, *(at - time.time() for at in times)]))

    def _end_instances(self) -> None:
        """Ask the instances of this supervisor to leave; what has not left when the grace is over is killed.

        Where another supervisor follows, they are left to it.
        """
        try:
            if self.settings.end_instances:
                self._see_them_out()
            if self._leading:
                for pool in self._pools.values():
                    pool.save()
            self.store.run(instances.resign(self._me))
        except StoreUnavailable as error:
            log.warning("stopped without the store: %s", error)

    def _see_them_out(self) -> None:
        deadline = time.monotonic() + self.settings.save_grace
        asked: set[str] = set()
        while left := [i for i in read_instances(self.store) if self._launcher.holds(i.id)]:
            for instance in left:
                if instance.id not in asked:
                    self._launcher.stop(instance)
                    asked.add(instance.id)
            self._reaper.reap(left, self._limits())
            if self._hurry.is_set() or time.monotonic() > deadline:
                self._kill(left)
                break
            self._hurry.wait(_PAUSE / 4)

    def _kill(self, left: list[Instance]) -> None:
        for instance in left:
            self._launcher.kill(instance)
            reason = "it had to leave at once"
            self.store.run(instances.gone(instance.id, reason, counted=False, max_delivery=0))


def _is_dead(leader: str) -> bool:
    host, pid, started_at = json.loads(leader)
    return host == socket.gethostname() and not alive(Place(host, pid, started_at))


def serve(settings: Settings) -> int:
    """Run a supervisor until SIGTERM or SIGINT."""
    logs.configure("supervisor", settings.log_format)
    supervisor = Supervisor(settings)
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, lambda *_: supervisor.stop())
    supervisor.run()
    return 0
