"""Which instance leaves next after its service was updated. Pure.

One after another: an idle one leaves at once, a busy one takes nothing new and leaves when its work has ended. An
instance that a training fills has no free place to lose, so once a new one has proved that it comes up, all of
those may stop taking more; instances that answer queries go one at a time.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from backend.instance import Instance, InstanceState

_UP = (InstanceState.IDLE, InstanceState.BUSY)


def outdated(instance: Instance, version: str) -> bool:
    """Whether it takes tasks and was started by another description. One that does not say by which is let be."""
    return instance.state in _UP and instance.version not in ("", version)


def next_to_leave(here: Sequence[Instance], version: str, full: Set[str]) -> Instance | None:
    """The instance that should drain now, None when none should at present.

    Args:
        here: the service's instances that are not gone.
        version: that of the description which holds.
        full: ids of instances that have no free place until what they run has ended.
    """
    old = [instance for instance in here if outdated(instance, version)]
    leaving = [
        instance
        for instance in here
        if instance.state is InstanceState.DRAINING and instance.version not in ("", version)
    ]
    on_the_way = any(instance.state is InstanceState.STARTING for instance in here)
    if not old or on_the_way or not all(instance.tasks for instance in leaving):
        return None
    first = min(old, key=lambda instance: (len(instance.tasks), instance.created_at))
    if not leaving or not first.tasks:
        return first
    proved = any(instance.state in _UP and instance.version == version for instance in here)
    return next((instance for instance in old if instance.id in full), None) if proved else None
