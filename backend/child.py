"""A process that another one keeps running: started again when it dies, a little later when it dies at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backend.processes import die_with_parent

_LONGEST_PAUSE = 10.0
_STEADY = 30.0


def own_command(*arguments: str) -> tuple[str, ...]:
    """A command of lorapool as words that are run."""
    return (sys.executable, "-m", "backend.cli", *arguments)


@dataclass
class Child:
    """One process with a group of its own.

    `environment` is added to this process's own unless `only` is set. With `whole_group` what it has started is
    stopped with it, at once; lorapool's own processes see to theirs.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    folder: Path | None = None
    only: bool = False
    whole_group: bool = False
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_after: float = 0.0
    pause: float = field(default=0.0)

    def start(self) -> None:
        """Start it; what it prints goes to its log. Raises OSError when there is no such program."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.environment) if self.only else {**os.environ, **self.environment},
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        self.started_at = time.monotonic()

    def tend(self, say: Callable[[str], None]) -> None:
        """Start it again when it has died."""
        if self.process is not None and self.process.poll() is not None:
            self._wait_a_little()
            say(f"the {self.name} ended ({self.process.returncode}); starting it again. Its log: {self.log}")
            self.process = None
        if self.process is None and time.monotonic() >= self.start_after:
            try:
                self.start()
            except OSError as error:
                self.started_at = time.monotonic()
                self._wait_a_little()
                say(f"the {self.name} cannot be started: {error.strerror}: {error.filename}")

    def _wait_a_little(self) -> None:
        steady = time.monotonic() - self.started_at > _STEADY
        self.pause = 0.0 if steady else min(_LONGEST_PAUSE, self.pause * 2 or 0.1)
        self.start_after = time.monotonic() + self.pause

    def stop(self, deadline: float) -> None:
        """SIGTERM, then SIGKILL after `deadline` seconds."""
        if self.process is None or (self.process.poll() is not None and not self.whole_group):
            return
        self._tell(signal.SIGTERM)
        try:
            self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.process.kill()
        if self.whole_group:
            self._tell(signal.SIGKILL)
        self.process.wait()

    def _tell(self, sig: signal.Signals) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.whole_group:
                os.killpg(self.process.pid, sig)
            else:
                self.process.send_signal(sig)
