"""Processes and process groups of this host: who they are, whether they live, how they end.

A pid is never trusted alone: it is compared with the start time that the operating system gives, so that a reused
pid is not taken for the process that had it before.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable

import psutil

from backend.instance import Place

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(sig: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """A `preexec_fn`: the kernel sends `sig` to this process when its parent ends, however that ends.

    Linux only; elsewhere children must notice by the end of a pipe.
    """

    def set_signal() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, int(sig), 0, 0, 0)

    return set_signal


def here(pid: int | None = None) -> Place:
    """Where the process `pid` (this one by default) is."""
    pid = os.getpid() if pid is None else pid
    return Place(socket.gethostname(), pid, psutil.Process(pid).create_time())


def alive(place: Place) -> bool:
    """Whether exactly this process still runs on this host. A zombie does not; one of another host may not be asked."""
    if place.host != socket.gethostname():
        raise ValueError(f"process {place.pid} is on {place.host}, not here")
    try:
        process = psutil.Process(place.pid)
        same = abs(process.create_time() - place.started_at) < 0.02
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def group_members(pgid: int) -> list[int]:
    """Pids of the living processes of a group; zombies do not count."""
    members = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == pgid and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process.pid)
        except (ProcessLookupError, PermissionError, psutil.Error):
            continue
    return members


def signal_group(pgid: int, sig: signal.Signals) -> bool:
    """Send `sig` to every process of a group; False when there is none."""
    try:
        os.killpg(pgid, sig)
    except ProcessLookupError:
        return False
    except PermissionError:
        # macOS answers this for a group of which only zombies are left.
        return False
    return True


def end_group(pgid: int, *, grace: float) -> bool:
    """End a whole process group: SIGTERM, `grace` seconds, SIGKILL; True once nobody of it is left."""
    signal_group(pgid, signal.SIGTERM)
    if wait_until(lambda: not group_members(pgid), grace):
        return True
    signal_group(pgid, signal.SIGKILL)
    return wait_until(lambda: not group_members(pgid), 5.0)


def wait_until(condition: Callable[[], bool], seconds: float, *, every: float = 0.02) -> bool:
    """Poll `condition` until it holds; False when it did not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every)
    return True
