"""What is wanted of each pod, and what is to be done for it now. Pure: the launcher's loop knows clock and network.

Level-triggered, as Kubernetes' own controllers are: a wish stands until what is seen agrees with it, so that nothing is
lost when a call fails, an answer does not come, or the API server is away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from backend.instance import Instance
from backend.pool.kubernetes.api import Json

NOW = 1
"""Seconds of grace for what is to end at once. Not 0: that would forget the pod while its processes may still run."""

FORCE_AFTER = 60.0
"""Seconds beyond its grace after which a pod whose node does not say that it has ended is forgotten all the same.

By then its instance has lost its lease, and has ended what it ran by itself.
"""

FIRST_RETRY, LONGEST_RETRY = 0.5, 15.0

IDLE_AFTER = 30.0
"""Seconds without a task after which an instance is marked idle: marks do not flutter between two tasks."""

BUSY_MARKS: dict[str, str | None] = {
    "controller.kubernetes.io/pod-deletion-cost": "1000",
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
IDLE_MARKS: dict[str, str | None] = {
    "controller.kubernetes.io/pod-deletion-cost": "0",
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "true",
    "karpenter.sh/do-not-disrupt": None,
}
"""Annotations by which autoscalers and controllers know whether a pod may be moved. None: it is not there."""


@dataclass(slots=True)
class Wish:
    """What is wanted of one instance's pod, which is called `name`.

    `pod` is to be created, None when it exists; `asked`: the server has been asked to, so it may exist; `grace`: it is
    to be deleted with so many seconds, None: it may stay; `told`: with how many it was deleted last, at `told_at`.
    Times are monotonic.
    """

    name: str
    pod: Json | None = None
    asked: bool = False
    grace: int | None = None
    told: int | None = None
    told_at: float = 0.0
    retry_at: float = 0.0
    failures: int = 0
    word: str = ""

    def leave(self, grace: int) -> None:
        """It is to end, within `grace` seconds at the latest; what was not created yet never will be."""
        self.grace = grace if self.grace is None else min(grace, self.grace)
        self.pod = None

    def failed(self, now: float, word: str, after: float = 0.0) -> None:
        """A call did not get through: the next try comes later and later."""
        self.retry_at = now + max(after, min(LONGEST_RETRY, FIRST_RETRY * 2**self.failures))
        self.failures += 1
        self.word = word

    def done(self) -> None:
        """A call got through."""
        self.failures, self.retry_at, self.word = 0, 0.0, ""


@dataclass(frozen=True, slots=True)
class Create:
    """Create the pod of a wish."""

    instance: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a pod; `uid` '' when it was never seen."""

    instance: str
    name: str
    uid: str
    grace: int


@dataclass(frozen=True, slots=True)
class Mark:
    """Change annotations of a pod."""

    instance: str
    name: str
    marks: dict[str, str | None]


Action: TypeAlias = Create | Delete | Mark


def due(
    wishes: Mapping[str, Wish],
    pods: Mapping[str, Json],
    present: Mapping[str, Instance],
    now: float,
    wall: float,
) -> list[Action]:
    """What is to be done now.

    `pods` are those that are there, by instance; `present` the instances as the store knows them. `now` is monotonic,
    `wall` the time since the epoch.
    """
    found = (_due(name, wish, pods.get(name), now) for name, wish in wishes.items() if wish.retry_at <= now)
    actions = [action for action in found if action is not None]
    for name, pod in pods.items():
        known = wishes.get(name)
        leaving = "deletionTimestamp" in pod["metadata"] or (known is not None and known.grace is not None)
        if leaving or name not in present or (known is not None and known.retry_at > now):
            continue
        marks = changed_marks(pod, present[name], wall)
        if marks:
            actions.append(Mark(name, pod["metadata"]["name"], marks))
    return actions


def _due(name: str, wish: Wish, pod: Json | None, now: float) -> Action | None:
    if wish.grace is None:
        return Create(name) if wish.pod is not None else None
    if pod is None and not wish.asked:
        return None
    uid = "" if pod is None else str(pod["metadata"]["uid"])
    if wish.told is None or wish.told > wish.grace:
        return Delete(name, wish.name, uid, wish.grace)
    overdue = pod is not None and wish.told > 0 and now - wish.told_at > wish.told + FORCE_AFTER
    return Delete(name, wish.name, uid, 0) if overdue else None


def changed_marks(pod: Json, instance: Instance, wall: float) -> dict[str, str | None]:
    """The annotations of a pod that do not say what its instance does."""
    if instance.tasks:
        wanted = BUSY_MARKS
    elif instance.idle_since is not None and wall - instance.idle_since < IDLE_AFTER:
        return {}
    else:
        wanted = IDLE_MARKS
    present = pod["metadata"].get("annotations", {})
    return {name: value for name, value in wanted.items() if present.get(name) != value}
