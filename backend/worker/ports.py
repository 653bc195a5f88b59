"""Ports of this host: which one an app is given, and whether it is the app that listens there."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import psutil

from backend.processes import group_members

HOST = "127.0.0.1"


def choose(wanted: int) -> int:
    """`wanted` when nobody listens there, else a port that is free at the moment."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            # As servers do: a connection of the app before that has not died down is no reason against a port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
            found: int = probe.getsockname()[1]
            return found
    raise OSError("no port is free on this host")


def accepts(port: int, seconds: float) -> bool:
    """Whether a connection to a port of this host is taken."""
    try:
        socket.create_connection((HOST, port), timeout=seconds).close()
    except OSError:
        return False
    return True


def listener(group: int, candidates: tuple[int, ...]) -> int | None:
    """The first of the ports that a process of the group, or one started by it, listens on."""
    listening = set()
    for process in _processes(group):
        with contextlib.suppress(psutil.Error, OSError):
            listening |= {
                connection.laddr.port
                for connection in process.net_connections(kind="tcp")
                if connection.status == psutil.CONN_LISTEN
            }
    return next((port for port in candidates if port in listening), None)


def _processes(group: int) -> Iterator[psutil.Process]:
    """The processes of a group, and those that left it while their parents live."""
    pids = set(group_members(group))
    with contextlib.suppress(psutil.Error):
        pids |= {process.pid for process in psutil.Process(group).children(recursive=True)}
    for pid in pids - {os.getpid()}:
        with contextlib.suppress(psutil.Error):
            yield psutil.Process(pid)
