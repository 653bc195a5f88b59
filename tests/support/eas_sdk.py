"""The official client in processes of its own."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.support.gateway_box import DEADLINE, TOKEN, Box


class Program:
    """One running process that prints JSON lines."""

    def __init__(self, argv: list[str]) -> None:
        self.process = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._errors: list[str] = []
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._read, self._read_errors)
        ]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self._errors.extend(self.process.stderr)

    def next(self, seconds: float = DEADLINE) -> Any:
        """The next line; fails when there is none in time."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"the program printed nothing for {seconds} s") from None
        assert line is not None, "".join(self._errors) or "the program ended"
        return json.loads(line)

    def rest(self) -> list[Any]:
        """All lines until it ends."""
        found = []
        while (line := self._lines.get(timeout=DEADLINE)) is not None:
            found.append(json.loads(line))
        return found

    def finish(self, seconds: float) -> list[Any]:
        """Its lines, once it has ended well."""
        self.process.wait(seconds)
        found = self.rest()
        assert self.process.returncode == 0, "".join(self._errors)
        return found

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


class Sdk:
    """Runs functions of a program with the official client, each time as a process of its own."""

    def __init__(self, python: Path, program: Path, box: Box) -> None:
        self._command = [str(python), str(program)]
        self._box = box
        self._running: list[Program] = []

    def start(self, what: str, service: str, token: str = TOKEN, **options: Any) -> Program:
        argument = json.dumps({"endpoint": self._box.url, "service": service, "token": token, **options})
        self._running.append(Program([*self._command, what, argument]))
        return self._running[-1]

    def run(self, what: str, service: str, token: str = TOKEN, timeout: float = 120.0, **options: Any) -> Any:
        """Run one to its end; what it printed last."""
        return self.start(what, service, token, **options).finish(timeout)[-1]

    def close(self) -> None:
        for program in self._running:
            program.kill()
