"""Ending an instance of this host and all that it runs, whoever asks."""

from __future__ import annotations

import os
import signal

import psutil

from backend.instance import Place
from backend.processes import alive, group_members, is_same, signal_group, wait_until

_KILL_DEADLINE = 5.0
_GUARD_KILLS = 2.0


def end_process(place: Place | None, run_group: int, run_started_at: float) -> bool:
    """SIGKILL to an instance; then see that its run's whole group is gone. Whether nothing is left."""
    if place is not None and alive(place):
        os.kill(place.pid, signal.SIGKILL)
        wait_until(lambda: not alive(place), _KILL_DEADLINE)
    if run_group and _led_by(run_group, run_started_at):
        # The guard kills the group when its instance is gone; should the guard itself be stopped, do it here.
        if not wait_until(lambda: not group_members(run_group), _GUARD_KILLS):
            signal_group(run_group, signal.SIGKILL)
        wait_until(lambda: not group_members(run_group), _KILL_DEADLINE)
    left = run_group and _led_by(run_group, run_started_at) and group_members(run_group)
    return (place is None or not alive(place)) and not left


def _led_by(group: int, started_at: float) -> bool:
    """Whether a group is still the one that was noted.

    Its leader is that very process, or is gone with members left: while it has members, no other group can take its
    number.
    """
    try:
        return is_same(group, started_at)
    except psutil.NoSuchProcess:
        return bool(group_members(group))
    except psutil.Error:
        return False
