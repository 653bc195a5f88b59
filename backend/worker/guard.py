"""The guard of a run: a small process that leads the run's process group and sees to its end.

    agent ── life pipe ──▶ guard ── fork ──▶ the run (a call into Python, or any program)

The guard waits for one of two things. The run ends: the guard says how, on the status pipe. The life pipe ends,
because the agent closed it or died however suddenly: the guard kills the whole group, itself included. So nothing
of a run outlives its agent, on any Unix, whatever the run has started.

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
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from backend.records import PROGRESS_FD


def run(argument: Mapping[str, Any], descriptors: Mapping[str, int]) -> NoReturn:
    """Fork the run and guard it.

    `argument` has `argv`, and `entry` (`package.module:function`, called with the arguments behind the program's
    name) when the run is a call into Python. `descriptors` are `life`, `status` and `progress`.
    """
    os.dup2(1, 2)  # one stream, in the order in which it was written
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: None)  # meant for the run; the guard stays to see it end
    signal.signal(signal.SIGUSR1, lambda *_: None)
    child = os.fork()
    if child == 0:
        os.close(wake_read)
        os.close(wake_write)
        _run(argument, descriptors)
    os.close(descriptors["progress"])
    os.close(1)
    os.close(2)
    _wait(child, wake_read, descriptors["life"], descriptors["status"])


def _wait(child: int, wake: int, life: int, status: int) -> NoReturn:
    ended = False
    while True:
        readable, _, _ = select.select([life] if ended else [life, wake], [], [])
        if life in readable:
            os.killpg(0, signal.SIGKILL)
        os.read(wake, 4096)
        pid, code = os.waitpid(child, os.WNOHANG)
        if pid == child:
            ended = True
            how = (
                {"signal": os.WTERMSIG(code)} if os.WIFSIGNALED(code) else {"exit_code": os.WEXITSTATUS(code)}
            )
            with contextlib.suppress(OSError):
                os.write(status, json.dumps(how).encode() + b"\n")


def _run(argument: Mapping[str, Any], descriptors: Mapping[str, int]) -> NoReturn:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for sig in (signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(sig, signal.SIG_DFL)
        os.close(descriptors["life"])
        os.close(descriptors["status"])
        os.set_inheritable(descriptors["progress"], True)
        os.environ[PROGRESS_FD] = str(descriptors["progress"])
        code = (
            _call(argument["entry"], argument["argv"]) if argument.get("entry") else _exec(argument["argv"])
        )
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _call(entry: str, argv: Sequence[str]) -> int:
    sys.argv = list(argv)
    # Lines must leave when they are printed, though standard output is a pipe.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    module, _, function = entry.partition(":")
    return int(getattr(importlib.import_module(module), function)(list(argv[1:])) or 0)


def _exec(argv: Sequence[str]) -> NoReturn:
    try:
        os.execvpe(argv[0], list(argv), dict(os.environ))
    except OSError as error:
        print(f"error: cannot start {argv[0]!r}: {error.strerror}", flush=True)
        os._exit(127)
