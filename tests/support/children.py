"""What children of a template do in tests: they are named in requests as `tests.support.children:…`."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def report(argument: Mapping[str, Any], descriptors: Mapping[str, int]) -> int:
    """Write what this process is into the descriptor `out`, one line of JSON."""
    said = {
        "argument": dict(argument),
        "descriptors": sorted(descriptors),
        "environment": dict(os.environ),
        "cwd": str(Path.cwd()),
        "pid": os.getpid(),
        "parent": os.getppid(),
        "session": os.getsid(0),
        "stdin": os.read(0, 10).decode(),
        "term": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
    }
    os.write(descriptors["out"], json.dumps(said).encode() + b"\n")
    print("said on stdout")
    print("said on stderr", file=sys.stderr)
    return 0


def wait(argument: Mapping[str, Any], descriptors: Mapping[str, int]) -> int:
    """Say that it runs, then wait for the end of the descriptor `until`."""
    os.write(descriptors["out"], b"up\n")
    os.read(descriptors["until"], 1)
    os.write(descriptors["out"], b"over\n")
    return 0


def fail(argument: Mapping[str, Any], descriptors: Mapping[str, int]) -> int:
    """End with an error."""
    raise RuntimeError("on purpose")


def speak(argv: list[str]) -> int:
    """An entry of a run: as many progress records as the first argument says, then a result, then the end."""
    with os.fdopen(int(os.environ["PROGRESS_FD"]), "w") as records:
        for number in range(int(argv[0])):
            records.write(json.dumps({"type": "progress", "step": number, "total": int(argv[0])}) + "\n")
        records.write(json.dumps({"type": "result", "output": "/x"}) + "\n")
    print("name", sys.argv[0])
    return 7


def hold(argv: list[str]) -> int:
    """Start a program, say which group it has, and stay: until this process is killed."""
    from tests.support.voices import Listener

    program = Listener(Path(argv[0])).start(argv[1:])
    print(program.group, flush=True)
    signal.pause()
    return 0
