"""The socket that the gateway listens on.

A websocket client pings; one that follows over plain HTTP never says a word, and neither does a network that has lost
it. So the kernel asks: a peer that is gone without a farewell is noticed within a minute, and what it held goes to
others.
"""

from __future__ import annotations

import socket

_IDLE, _EVERY, _TIMES = 20, 5, 4
_DEAD_AFTER = 1000 * (_IDLE + _EVERY * _TIMES)  # milliseconds


def prepare(listening: socket.socket) -> None:
    """Have the kernel probe quiet connections and send small answers at once; accepted connections inherit it."""
    # The event loop sets this by itself, but not on a socket that it was given.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Not every system has all of them.
    for name, value in (
        ("TCP_KEEPIDLE", _IDLE),
        ("TCP_KEEPINTVL", _EVERY),
        ("TCP_KEEPCNT", _TIMES),
        ("TCP_USER_TIMEOUT", _DEAD_AFTER),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            listening.setsockopt(socket.IPPROTO_TCP, option, value)
