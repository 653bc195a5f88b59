"""Runs a program in a network of its own, joined to the host by one port: Linux namespaces.

An app that insists on a port could otherwise run only once on a host. Here each has that port to itself:

    host   127.0.0.1:HOST_PORT ──▶ 127.0.0.1:APP_PORT   of the program      (open once the program listens there)
    host   127.0.0.1:BACK_PORT ◀── 127.0.0.1:BACK_PORT  of the program      (where it reports progress)

The program sees no other network. One thread of this process lives in the new namespace and opens the sockets that
belong there; a socket stays in its namespace whoever uses it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

HOST = "127.0.0.1"
# By path, and without this folder in the import path: the working folder is the app's.
_SELF = (sys.executable, "-P", str(Path(__file__).resolve()))
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
_CHUNK = 1 << 16
_PROBE_EVERY, _CONNECT_SECONDS = 0.05, 5.0


def available() -> bool:
    """Whether this system lets this user have a network namespace; asked of a child, which changes nothing here."""
    if sys.platform != "linux":
        return False
    return subprocess.run(_SELF, capture_output=True).returncode == 0


def wrapped(argv: Sequence[str], *, host_port: int, app_port: int, back_port: int) -> tuple[str, ...]:
    """The command line that runs `argv` in a network of its own."""
    return (*_SELF, str(host_port), str(app_port), str(back_port), *argv)


def _unshare(flag: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(flag) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _own_users() -> None:
    """A user namespace in which this user may make networks. To be called while there is a single thread."""
    uid, gid = os.getuid(), os.getgid()
    _unshare(_CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _enter() -> None:
    """Move the calling thread into a new network and bring its loopback up."""
    _unshare(_CLONE_NEWNET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def _relay(listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
    """Pass each connection on."""
    while True:
        here, _ = listener.accept()
        try:
            there = connect()
        except OSError:
            here.close()
            continue
        threading.Thread(target=_carry, args=(here, there), daemon=True).start()


def _carry(here: socket.socket, there: socket.socket) -> None:
    """Both ways of one connection, until both are over."""
    with here, there:
        back = threading.Thread(target=_pass, args=(there, here), daemon=True)
        back.start()
        _pass(here, there)
        back.join()


def _pass(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(_CHUNK):
            target.sendall(data)
    except OSError:
        # Nobody takes any more: whoever sends is to see that, and not to wait for ever.
        with contextlib.suppress(OSError):
            source.shutdown(socket.SHUT_RD)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _run(host_port: int, app_port: int, back_port: int, argv: Sequence[str]) -> int:
    inside = ThreadPoolExecutor(1)
    inside.submit(_enter).result()
    back = inside.submit(socket.create_server, (HOST, back_port)).result()
    program = inside.submit(subprocess.Popen, list(argv)).result()
    # The group is told to end; this process stays to see the program do so.
    signal.signal(signal.SIGTERM, lambda *_: None)

    def app() -> socket.socket:
        try:
            connection = inside.submit(socket.create_connection, (HOST, app_port), _CONNECT_SECONDS).result()
        except ConnectionRefusedError:  # what some take `localhost` for
            connection = inside.submit(socket.create_connection, ("::1", app_port), _CONNECT_SECONDS).result()
        connection.settimeout(None)
        return connection

    def join() -> None:
        while program.poll() is None:
            with contextlib.suppress(OSError):
                app().close()
                break
            time.sleep(_PROBE_EVERY)
        _relay(socket.create_server((HOST, host_port)), app)

    def back_home() -> socket.socket:
        return socket.create_connection((HOST, back_port))

    threading.Thread(target=join, daemon=True).start()
    threading.Thread(target=_relay, args=(back, back_home), daemon=True).start()
    code = program.wait()
    return code if code >= 0 else 128 - code


def main() -> NoReturn:
    """With arguments, run the program; without any, only say whether it could be done."""
    try:
        if os.geteuid() != 0:
            _own_users()
        if len(sys.argv) == 1:
            _enter()
            os._exit(0)
        host_port, app_port, back_port = (int(word) for word in sys.argv[1:4])
        code = _run(host_port, app_port, back_port, sys.argv[4:])
    except OSError as error:
        print(f"error: cannot run it in a network of its own: {error.strerror or error}", flush=True)
        code = 1
    os._exit(code)


if __name__ == "__main__":
    main()
