"""The guard of a run: a small process that leads the run's process group and sees to its end.

    agent ── life pipe ──▶ guard ── fork ──▶ the run (a call into Python, or any program)

The guard waits for one of two things. The run ends: the guard says how, on the status pipe. The life pipe ends,
because the agent closed it or died however suddenly: the guard kills all that the run has started, itself included.
So nothing of a run outlives its agent, on any Unix. On Linux that holds for processes that left the group, too, as
the workers of `torchrun` do: they become the guard's own children when they lose their parent.

    status    {"exit_code": 1} or {"signal": 9}
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import psutil

from backend.processes import adopt_orphans, live_as_child
from backend.records import PROGRESS_FD

_MEANT_FOR_THE_RUN = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
"""Signals to the group that do not end the guard: it stays to see the run end."""

_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
"""A program that is exec'd would inherit that; `yes | head` relies on it not being so."""

_ROUNDS, _ROUND = 20, 0.1


def run(argument: Mapping[str, Any], descriptors: Mapping[str, int]) -> NoReturn:
    """Fork the run and guard it.

    `argument` has `argv`, and `entry` (`package.module:function`, called with the arguments behind the program's
    name) when the run is a call into Python. `descriptors` are `life`, `status` and `progress`.
    """
    os.dup2(1, 2)  # one stream, in the order in which it was written
    adopt_orphans()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for sig in (signal.SIGCHLD, *_MEANT_FOR_THE_RUN):
        signal.signal(sig, lambda *_: None)
    child = os.fork()
    if child == 0:
        os.close(wake_read)
        os.close(wake_write)
        live_as_child(partial(_run, argument, descriptors))
    os.close(descriptors["progress"])
    os.close(1)
    os.close(2)
    _wait(child, wake_read, descriptors["life"], descriptors["status"])


def _wait(child: int, wake: int, life: int, status: int) -> NoReturn:
    while True:
        readable, _, _ = select.select([life, wake], [], [])
        if life in readable:
            _kill_all()
        os.read(wake, 4096)
        for pid, code in _ended():
            if pid == child:
                with contextlib.suppress(OSError):
                    os.write(status, json.dumps(_how(code)).encode() + b"\n")


def _ended() -> Iterator[tuple[int, int]]:
    """Children that have ended, with their wait status."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended


def _how(code: int) -> dict[str, int]:
    return {"signal": os.WTERMSIG(code)} if os.WIFSIGNALED(code) else {"exit_code": os.WEXITSTATUS(code)}


def _kill_all() -> NoReturn:
    """Kill every descendant, wherever it went, then the group with this process in it."""
    me = psutil.Process()
    for _ in range(_ROUNDS):
        living = [process for process in me.children(recursive=True) if _lives(process)]
        if not living:
            break
        for process in living:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(living, timeout=_ROUND)
    os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _run(argument: Mapping[str, Any], descriptors: Mapping[str, int]) -> int:
    signal.set_wakeup_fd(-1)
    for sig in (signal.SIGCHLD, *_MEANT_FOR_THE_RUN):
        signal.signal(sig, signal.SIG_DFL)
    os.close(descriptors["life"])
    os.close(descriptors["status"])
    os.set_inheritable(descriptors["progress"], True)
    os.environ[PROGRESS_FD] = str(descriptors["progress"])
    if argument.get("entry"):
        return _call(argument["entry"], argument["argv"])
    _exec(argument["argv"])


def _call(entry: str, argv: Sequence[str]) -> int:
    sys.argv = list(argv)
    # Lines must leave when they are printed, though standard output is a pipe.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    module, _, function = entry.partition(":")
    return int(getattr(importlib.import_module(module), function)(list(argv[1:])) or 0)


def _exec(argv: Sequence[str]) -> NoReturn:
    for sig in _IGNORED_BY_PYTHON:
        signal.signal(sig, signal.SIG_DFL)
    try:
        os.execvpe(argv[0], list(argv), dict(os.environ))
    except (OSError, ValueError) as error:
        print(f"error: cannot start {argv[0]!r}: {getattr(error, 'strerror', None) or error}", flush=True)
        os._exit(127)
