"""A run of a program as a test sees it: its lines and records as they came."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from backend.processes import wait_until
from backend.records import Record
from backend.worker.lines import PlainLines
from backend.worker.program import Ending, Program

PATIENCE = 60.0


class Listener:
    """Starts a program through a template, and listens to it in a thread."""

    due_in = None

    def __init__(self, template: Path, *, cwd: Path = Path("/")) -> None:
        self._template = template
        self._cwd = cwd
        self._thread: threading.Thread | None = None
        self.program: Program | None = None
        self.lines: list[str] = []
        self.records: list[Record] = []
        self.ending: Ending | None = None
        self.error: BaseException | None = None
        self.on_line: Callable[[str], None] = lambda line: None

    def start(
        self, argv: Sequence[str], *, entry: str | None = None, environment: Mapping[str, str] | None = None
    ) -> Program:
        """Start it without listening."""
        self.program = Program(
            self._template,
            argv,
            entry=entry,
            environment={"PATH": os.environ["PATH"], **(environment or {})},
            cwd=self._cwd,
            deadline=PATIENCE,
            give_up=lambda: False,
        )
        return self.program

    def listen(
        self, *argv: str, entry: str | None = None, environment: Mapping[str, str] | None = None
    ) -> Program:
        """Start it and listen in a thread."""
        program = self.start(argv, entry=entry, environment=environment)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return program

    def _run(self) -> None:
        assert self.program is not None
        try:
            self.ending = self.program.run(PlainLines(), self, lambda record: None)
        except BaseException as error:
            self.error = error

    def run(
        self, *argv: str, entry: str | None = None, environment: Mapping[str, str] | None = None
    ) -> Ending:
        """Run a program to its end."""
        self.listen(*argv, entry=entry, environment=environment)
        return self.wait()

    def shell(self, command: str) -> Program:
        """Run a shell command and listen."""
        return self.listen("/bin/sh", "-c", command)

    def wait(self) -> Ending:
        assert self._thread is not None
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), f"it did not end; it said {self.lines}"
        if self.error is not None:
            raise self.error
        assert self.ending is not None
        return self.ending

    def await_line(self, text: str) -> str:
        """The first line with this in it."""
        assert wait_until(lambda: any(text in line for line in self.lines), PATIENCE), self.lines
        return next(line for line in self.lines if text in line)

    def say(self, lines: list[str], records: list[Record]) -> None:
        for line in lines:
            self.on_line(line)
        self.lines += lines
        self.records += records

    def flush(self) -> None:
        """Lines are here when they are said."""
