"""Ports of this host that lorapool itself listens on: whether one can be had, and one that is free."""

from __future__ import annotations

import socket


def why_not(host: str, port: int) -> str:
    """Why nothing can listen there now, as the system words it; empty when it can."""
    with socket.socket() as probe:
        # As servers do: connections that have not died down yet are no reason against a port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def any_free(host: str = "127.0.0.1") -> int:
    """A port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
