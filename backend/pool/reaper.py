"""Notices instances that are no more, sees that nothing of them runs on, and gives their tasks back.

An instance is lost when its process is gone, when its lease is over, when it did not come up in time, or when nothing
of its start is anywhere. What it ran is ended before its tasks go back, so that two runs never write into one job
folder: by its launcher, or, where that cannot reach it, by the instance itself when its lease is over.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Set

from backend.instance import Instance, InstanceState
from backend.pool.clock import Clock, SystemClock
from backend.pool.launcher import Launcher, Progress
from backend.pool.lost_starts import LostStarts
from backend.store import instances
from backend.store.connection import Store

log = logging.getLogger("lorapool.supervisor")

_NEVER_BEGUN = "its start was ordered and never begun: the supervisor that ordered it ended in that moment"


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
        self._lost: dict[str, str] = {}
        self._noted: dict[str, str] = {}
        self._lost_starts = LostStarts()

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
        present = {instance.id for instance in found}
        self._lost = {name: why for name, why in self._lost.items() if name in present}
        self._lost |= {exit.instance: exit.reason for exit in self._launcher.exits()}
        self._lost |= dict.fromkeys(self._never_begun(found), _NEVER_BEGUN)
        progress = self._launcher.progress()
        for instance in found:
            at = progress.get(instance.id)
            if at is not None and instance.state is InstanceState.STARTING:
                self._note(instance.id, at.text)
            reason = self._lost.get(instance.id) or self._fault(instance, at)
            if instance.id in idle_hands:
                reason = "it does not begin the tasks that it is given"
            if reason and self._bury(instance, reason, limits.get(instance.service, 0)):
                buried.append(instance.id)
        self._noted = {name: text for name, text in self._noted.items() if name in progress}
        return buried

    def _note(self, instance: str, text: str) -> None:
        """Have everybody see what a start waits for."""
        if self._noted.get(instance) != text:
            self._noted[instance] = text
            self._store.run(instances.note_start(instance, text))

    def _bury(self, instance: Instance, reason: str, limit: int) -> bool:
        """End what may be left of an instance, and give back what it held; False when that must wait."""
        if not self._launcher.kill(instance) and instance.lease_left > 0:
            # It may be out of reach and alive: what it runs is its own until its lease is over. It is given nothing.
            self._lost[instance.id] = reason
            if instance.state is not InstanceState.DRAINING:
                self._store.run(instances.enter(instance.id, InstanceState.DRAINING, reason=reason))
            return False
        back = self._store.run(
            instances.gone(instance.id, f"instance {instance.id}: {reason}", counted=True, max_delivery=limit)
        )
        log.warning("instance %s is gone (%s); its tasks: %s", instance.id, reason, back or "none")
        return True

    def _fault(self, instance: Instance, at: Progress | None) -> str:
        if instance.state is InstanceState.STARTING:
            return self._late(instance, at)
        if not self._launcher.adopt(instance):
            return "its process is gone"
        if instance.lease_left <= 0 and self._clock.monotonic() > self._judge_from:
            return "its lease is over: it stopped giving signs of life"
        return ""

    def _never_begun(self, found: list[Instance]) -> set[str]:
        """Starts of which nothing is anywhere. One that has spoken has a lease, and is judged by that first."""
        judged = self._clock.monotonic() > self._judge_from
        starts = {
            each.id: not judged or each.lease_left > 0 or self._launcher.adopt(each)
            for each in found
            if each.state is InstanceState.STARTING
        }
        return self._lost_starts.judge(starts, self._clock.monotonic())

    def _late(self, instance: Instance, at: Progress | None) -> str:
        """Why a start has taken too long: each stage of it has the whole deadline, or what the launcher gives it."""
        deadline, began = self._start_deadline + instance.preparation, instance.created_at
        if at is not None:
            deadline, began = max(deadline, at.patience), max(began, at.since)
        if self._clock.time() - began <= deadline:
            return ""
        stage = f": {at.text}" if at is not None else ""
        return f"it did not come up within {deadline:.0f} s{stage}"
