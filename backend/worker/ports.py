"""Ports of this host: which one an app is given, and whether it is the app that listens there."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator

import psutil

from backend.processes import group_members

HOST = "127.0.0.1"
_HOSTS = (HOST, "::1")
"""What an app may listen on: some take `localhost` for the second alone."""
_TRIES = 5


def choose(wanted: int) -> int:
    """`wanted` when nobody listens there, else a port that is free at the moment."""
    for port in (wanted, *_TRIES * (0,)):
        with contextlib.suppress(OSError):
            found = _bound(socket.AF_INET, "", port)
            if _can_be_had(socket.AF_INET6, "::", found):
                return found
    raise OSError("no port is free on this host")


def _can_be_had(family: socket.AddressFamily, host: str, port: int) -> bool:
    """Whether nobody listens there; so it is where there is no such family."""
    try:
        _bound(family, host, port)
    except OSError as error:
        return error.errno != errno.EADDRINUSE
    return True


def _bound(family: socket.AddressFamily, host: str, port: int) -> int:
    with socket.socket(family) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # As servers do: a connection of the app before that has not died down is no reason against a port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])


def connect(port: int, seconds: float) -> socket.socket:
    """A connection to a port of this host, over IPv6 where nobody listens on the other.

    Raises:
        OSError: it is not taken; what IPv4 said.
    """
    faults: list[OSError] = []
    for host in _HOSTS:
        try:
            return socket.create_connection((host, port), timeout=seconds)
        except OSError as error:
            faults.append(error)
            if not isinstance(error, ConnectionRefusedError):
                break
    raise faults[0]


def accepts(port: int, seconds: float) -> bool:
    """Whether a connection to a port of this host is taken."""
    try:
        connect(port, seconds).close()
    except OSError:
        return False
    return True


def listener(group: int, candidates: tuple[int, ...]) -> int | None:
    """The first of the ports that a process of the group, or one started by it, listens on."""
    listening = {port for _, port in listened(group)}
    return next((port for port in candidates if port in listening), None)


def listened(group: int) -> set[tuple[str, int]]:
    """The addresses and ports on which a process of the group, or one started by it, listens."""
    found = set()
    for process in _processes(group):
        with contextlib.suppress(psutil.Error, OSError):
            found |= {
                (connection.laddr.ip, connection.laddr.port)
                for connection in process.net_connections(kind="tcp")
                if connection.status == psutil.CONN_LISTEN
            }
    return found


def _processes(group: int) -> Iterator[psutil.Process]:
    """The processes of a group, and those that left it while their parents live."""
    pids = set(group_members(group))
    with contextlib.suppress(psutil.Error):
        pids |= {process.pid for process in psutil.Process(group).children(recursive=True)}
    for pid in pids - {os.getpid()}:
        with contextlib.suppress(psutil.Error):
            yield psutil.Process(pid)
