"""Processes and process groups of this host: who they are, whether they live, how they end.

A pid is never trusted alone: it is compared with the start time that the operating system gives, so that a reused
pid is not taken for the process that had it before.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import psutil

from backend.instance import Place

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_START_TIME = 19  # of /proc/<pid>/stat, counted behind the name; see proc_pid_stat(5), field 22
_SAME_START = 0.005
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(sig: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """A `preexec_fn`: the kernel sends `sig` to this process when its parent ends, however that ends.

    Linux only; elsewhere children must notice by the end of a pipe.
    """

    def set_signal() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, int(sig), 0, 0, 0)

    return set_signal


def adopt_orphans() -> None:
    """Have what loses its parent below this process become a child of this one (Linux only)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def live_as_child(work: Callable[[], int]) -> NoReturn:
    """All that a forked child does: `work`, then the end with the exit code that it returns or asks for.

    Nothing of the parent's is run on the way out: no handler, no `finally`, no destructor.
    """
    code = 1
    try:
        code = work()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def start_time(pid: int) -> float:
    """When a process began, in seconds: since the boot on Linux, since the epoch elsewhere.

    Linux knows it in ticks since the boot, which no setting of the clock changes; a time since the epoch would move
    with the clock, and a living process be taken for another. Raises `psutil.NoSuchProcess`.
    """
    if sys.platform != "linux":
        return psutil.Process(pid).create_time()
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None
    return int(fields[_START_TIME]) / os.sysconf("SC_CLK_TCK")


def here(pid: int | None = None) -> Place:
    """Where the process `pid` (this one by default) is."""
    pid = os.getpid() if pid is None else pid
    return Place(socket.gethostname(), pid, start_time(pid))


def alive(place: Place) -> bool:
    """Whether exactly this process still runs on this host. A zombie does not; one of another host may not be asked."""
    if place.host != socket.gethostname():
        raise ValueError(f"process {place.pid} is on {place.host}, not here")
    try:
        return (
            is_same(place.pid, place.started_at)
            and psutil.Process(place.pid).status() != psutil.STATUS_ZOMBIE
        )
    except psutil.Error:
        return False


def is_same(pid: int, started_at: float) -> bool:
    """Whether the process `pid` is the one that began then. Raises `psutil.NoSuchProcess`."""
    return abs(start_time(pid) - started_at) < _SAME_START


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


def wait_until(condition: Callable[[], bool], seconds: float, *, every: float = 0.02) -> bool:
    """Poll `condition` until it holds; False when it did not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every)
    return True
