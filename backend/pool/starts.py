"""The ordering of instances of one service: what was ordered and is not up yet, and the pause after a failure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from backend.errors import LorapoolError
from backend.instance import Instance
from backend.pool.clock import Clock
from backend.pool.launcher import Launcher, Order
from backend.service import Description
from backend.store import instances
from backend.store.connection import Store

log = logging.getLogger("lorapool.supervisor")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Seconds without a new start after one that failed; doubled with each failure in a row."""


class Starts:
    """`failures` in a row, `blocked`: why none is started at present, `after`: until when (monotonic)."""

    def __init__(
        self, service: str, store: Store, launcher: Launcher, clock: Clock, new_id: Callable[[], str]
    ) -> None:
        self.failures = 0
        self.blocked = ""
        self.after = 0.0
        self._service = service
        self._store = store
        self._launcher = launcher
        self._clock = clock
        self._new_id = new_id
        self._ordered: dict[str, float] = {}
        self._tried = ""

    @property
    def awaited(self) -> bool:
        """Whether one was ordered that is not up yet."""
        return bool(self._ordered)

    def forgive(self, version: str) -> None:
        """A new description is tried at once, whatever came of the last one."""
        if self._tried != version:
            self._tried = version
            self.failures, self.after, self.blocked = 0, 0.0, ""

    def held_up(self) -> str:
        """What keeps the instances that were ordered and are not up yet; each reason once."""
        said = self._launcher.progress()
        return "; ".join(dict.fromkeys(said[name].text for name in self._ordered if name in said))

    def order(self, count: int, description: Description, free: list[str] | None, taken: list[str]) -> None:
        """Start up to `count` instances on `free` devices; what they are given is added to `taken`.

        None is where devices are not counted: the CPU of this host, or what the engine chooses.
        """
        uncounted = "cpu" if self._launcher.host else ""
        for _ in range(count):
            if self._clock.monotonic() < self.after:
                return
            device = uncounted if free is None else free.pop(0) if free else None
            if device is None or not self._start(description, device):
                return
            taken.append(device)

    def _start(self, description: Description, device: str) -> bool:
        name = self._new_id()
        now = self._clock.time()
        created = instances.create(
            name,
            self._service,
            slots=description.rpc.worker_threads,
            launcher=self._launcher.name,
            host=self._launcher.host,
            device=device,
            created_at=now,
        )
        self._store.run_all(created)
        try:
            self._launcher.start(Order(name, self._service, device, description))
        except (LorapoolError, OSError) as error:
            self._failed(f"an instance could not be started: {error}")
            self._store.run(instances.gone(name, str(error), counted=False, max_delivery=0))
            return False
        self._ordered[name] = now
        return True

    def forget(self, instance: str) -> None:
        """It is not wanted any more: its end is no failure."""
        self._ordered.pop(instance, None)

    def settled(self, present: Mapping[str, Instance]) -> list[float]:
        """How long those took, in seconds, that have come up since the last call; those that ended have failed."""
        took = []
        for name, ordered in list(self._ordered.items()):
            instance = present.get(name)
            if instance is None:
                self._failed(f"an instance ended before it was ready: {self._last_words(name)}")
            elif instance.ready_at is not None:
                took.append(max(0.0, instance.ready_at - ordered))
                self.failures, self.blocked = 0, ""
            else:
                continue
            del self._ordered[name]
        return took

    def _last_words(self, instance: str) -> str:
        gone = instances.assemble(instance, self._store.run_all(instances.details(instance)))
        return gone.reason if gone is not None and gone.reason else "its log says why"

    def _failed(self, why: str) -> None:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self.failures)
        self.failures += 1
        self.after = self._clock.monotonic() + pause
        self.blocked = f"{why}; the next start is tried in {pause:.0f} s"
        log.warning("service %s: %s", self._service, self.blocked)
