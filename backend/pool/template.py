"""The template process: it imports what children will need once, then forks them in milliseconds.

It has a single thread, touches no accelerator and keeps no state, so a fork of it is safe at any time. A request
comes over a unix socket as one JSON object with open descriptors beside it; the answer names the child's pid and
start time. The child leads a session of its own and calls the function that the request names.

    request   {"target": "package.module:function", "argument": {…}, "environment": {…}, "cwd": "…",
               "descriptors": ["stdout", "life"]}
    answer    {"pid": 4711, "started_at": 53.49} or {"error": "…"}

Only this user can reach the socket: its folder is closed to others.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import psutil

from backend.errors import LorapoolError, RunFailed
from backend.instance import Place
from backend.processes import live_as_child, start_time

_MOST = 1 << 20
_LOOK_EVERY = 0.2
_PARENT_GONE = 0  # standard input: its end means that whoever started the template is gone


class TemplateUnavailable(LorapoolError):
    """The template process does not answer; what runs already goes on."""


def fork_child(
    path: Path,
    target: str,
    argument: Mapping[str, Any],
    *,
    environment: Mapping[str, str],
    cwd: Path,
    descriptors: Mapping[str, int],
    deadline: float,
    give_up: Callable[[], bool] = lambda: False,
) -> Place:
    """Ask the template behind the socket `path` for a child that calls `target(argument, descriptors)`.

    The child gets a copy of each descriptor, under a number of its own; the caller keeps its own.

    Raises:
        TemplateUnavailable: no answer within `deadline` seconds, or before `give_up` said so (a template that still
            imports answers late). A child that comes after all finds its pipes closed.
        RunFailed: the request is too long; it never will be answered.
    """
    request = {
        "target": target,
        "argument": argument,
        "environment": environment,
        "cwd": str(cwd),
        "descriptors": list(descriptors),
    }
    body = json.dumps(request).encode()
    if len(body) > _MOST:
        raise RunFailed(f"its command line and variables have {len(body)} bytes, over the limit of {_MOST}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(deadline)
        try:
            connection.connect(str(path))
            numbers = array.array("i", descriptors.values())
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)] if numbers else []
            connection.sendmsg([len(body).to_bytes(4, "big")], ancillary)
            connection.sendall(body)
            answer = _await_answer(connection, deadline, give_up)
        except OSError as error:
            raise TemplateUnavailable(f"the template process at {path} does not answer: {error}") from error
    if not answer:
        raise TemplateUnavailable(f"the template process at {path} ended before it answered")
    child = json.loads(answer)
    if "error" in child:
        raise TemplateUnavailable(f"the template process at {path} could not fork: {child['error']}")
    return Place(socket.gethostname(), child["pid"], child["started_at"])


def _await_answer(connection: socket.socket, deadline: float, give_up: Callable[[], bool]) -> bytes:
    answer = b""
    end = time.monotonic() + deadline
    connection.settimeout(_LOOK_EVERY)
    while not answer.endswith(b"\n"):
        try:
            chunk = connection.recv(4096)
        except TimeoutError:
            if give_up() or time.monotonic() > end:
                raise
            continue
        if not chunk:
            break
        answer += chunk
    return answer


def bind(path: Path) -> socket.socket:
    """The listening socket of a template. Its owner binds it, so that requests wait rather than fail, whether the
    template still imports or is being replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(128)
    return listener


def serve(listener: socket.socket, preload: Sequence[str]) -> NoReturn:
    """Import what `preload` names (`package.module`, or `package.module:preload` to call it), then fork on request.

    Ends when its standard input does.
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the children
    for name in preload:
        _resolve(name)
    # Objects that live for ever are moved out of the collector's sight, so that a child's first
    # collection does not copy every page that it shares with this process.
    gc.collect()
    gc.freeze()
    while True:
        readable, _, _ = select.select([listener.fileno(), _PARENT_GONE], [], [])
        if _PARENT_GONE in readable and not os.read(_PARENT_GONE, 1):
            os._exit(0)
        if listener.fileno() in readable:
            connection, _ = listener.accept()
            with connection:
                _answer(listener, connection)


def _resolve(name: str) -> Any:
    module, _, function = name.partition(":")
    found = importlib.import_module(module)
    if not function:
        return found
    target = getattr(found, function)
    return target() if function == "preload" else target


def _answer(listener: socket.socket, connection: socket.socket) -> None:
    connection.settimeout(5.0)
    received: list[int] = []
    try:
        request = _receive(connection, received)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            listener.close()
            connection.close()
            live_as_child(partial(_become, request, received))
        try:
            began = start_time(pid)
        except psutil.NoSuchProcess:
            began = 0.0  # it has ended already; its pipes say so
        connection.sendall(json.dumps({"pid": pid, "started_at": began}).encode() + b"\n")
    except Exception as error:
        traceback.print_exc()
        with contextlib.suppress(OSError):
            connection.sendall(json.dumps({"error": repr(error)}).encode() + b"\n")
    finally:
        for descriptor in received:
            os.close(descriptor)


def _receive(connection: socket.socket, received: list[int]) -> dict[str, Any]:
    room = socket.CMSG_SPACE(16 * array.array("i").itemsize)
    head, ancillary, _, _ = connection.recvmsg(4, room)
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
            received.extend(numbers)
    length = int.from_bytes(head, "big")
    if len(head) != 4 or length > _MOST:
        raise ValueError("not a request of ours")
    body = b""
    while len(body) < length:
        chunk = connection.recv(length - len(body))
        if not chunk:
            raise ValueError("a request that broke off")
        body += chunk
    request: dict[str, Any] = json.loads(body)
    return request


def _become(request: dict[str, Any], received: list[int]) -> int:
    """The child: its own session, default signals, the environment it was given; then the target."""
    os.setsid()
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(sig, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    descriptors = dict(zip(request["descriptors"], received, strict=True))
    for name in ("stdout", "stderr"):
        if name in descriptors:
            os.dup2(descriptors[name], 1 if name == "stdout" else 2)
            os.close(descriptors.pop(name))
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    gc.unfreeze()
    return int(_resolve(request["target"])(request["argument"], descriptors) or 0)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
