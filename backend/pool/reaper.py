"""Notices instances that are no more, sees that nothing of them runs on, and gives their tasks back.

An instance is lost when its process is gone, when its lease is over, or when it did not come up in time. What it ran
is ended before its tasks go back, so that two runs never write into one job folder.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Set

from backend.instance import Instance, InstanceState
from backend.pool.clock import Clock, SystemClock
from backend.pool.launcher import Launcher
from backend.store import instances
from backend.store.connection import Store

log = logging.getLogger("lorapool.supervisor")


class Reaper:
    """For `grace` seconds after the store was away, or this process began, leases are not judged.

    They could not be renewed meanwhile.
    """

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        *,
        start_deadline: float,
        grace: float,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._store = store
        self._launcher = launcher
        self._start_deadline = start_deadline
        self._grace = grace
        self._judge_from = self._clock.monotonic() + grace

    def store_was_away(self) -> None:
        """Give every instance the time to renew its lease."""
        self._judge_from = self._clock.monotonic() + self._grace

    def reap(
        self, found: list[Instance], limits: Mapping[str, int], idle_hands: Set[str] = frozenset()
    ) -> list[str]:
        """Bury what is lost, and what begins none of its tasks. `limits` is the most deliveries of each service.

        Those that an earlier supervisor started are watched from here on. The answer names the buried.
        """
        buried = []
        ended = {exit.instance: exit.reason for exit in self._launcher.exits()}
        for instance in found:
            reason = ended.get(instance.id) or self._fault(instance)
            if instance.id in idle_hands:
                reason = "it does not begin the tasks that it is given"
            if reason:
                self._bury(instance, reason, limits.get(instance.service, 0))
                buried.append(instance.id)
        return buried

    def _bury(self, instance: Instance, reason: str, limit: int) -> None:
        """End what may be left of an instance, and give back what it held."""
        self._launcher.kill(instance)
        back = self._store.run(
            instances.gone(instance.id, f"instance {instance.id}: {reason}", counted=True, max_delivery=limit)
        )
        log.warning("instance %s is gone (%s); its tasks: %s", instance.id, reason, back or "none")

    def _fault(self, instance: Instance) -> str:
        if instance.state is InstanceState.STARTING:
            late = self._clock.time() - instance.created_at > self._start_deadline
            if not late:
                return ""
            why = self._launcher.held_up(instance.id)
            return f"it did not come up within {self._start_deadline:.0f} s{': ' if why else ''}{why}"
        if not self._launcher.adopt(instance):
            return "its process is gone"
        if instance.lease_left <= 0 and self._clock.monotonic() > self._judge_from:
            return "its lease is over: it stopped giving signs of life"
        return ""
