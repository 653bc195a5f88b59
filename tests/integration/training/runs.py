"""Training runs in processes of their own, forked from a preloaded one, and what they say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import backend.samples
from backend.records import Progress, Record, decode

MODEL = Path(backend.samples.__file__).parent / "tiny-shapes"
ROOT = Path(backend.samples.__file__).parents[2]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}


@dataclass
class Run:
    """A training run in a process of its own."""

    folder: Path
    pid: int
    answers: IO[str]
    code: int | None = field(default=None)

    @property
    def log(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def errors(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def records(self) -> list[Record]:
        lines = (self.folder / "records").read_text().splitlines()
        return [record for line in lines if (record := decode(line))]

    @property
    def losses(self) -> dict[int, float | None]:
        return {record.step: record.loss for record in self.records if isinstance(record, Progress)}

    def wait(self) -> int:
        """The exit code, once it has ended."""
        if self.code is None:
            self.code = int(self.answers.readline())
        return self.code

    def wait_for(self, seen: Callable[[list[Record]], Any], deadline: float = 60) -> None:
        """Until the records show something."""
        end = time.monotonic() + deadline
        while not ((self.folder / "records").exists() and seen(self.records)):
            assert time.monotonic() < end, f"not seen in time; the log is {self.log}"
            time.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


class Trainer:
    """Starts runs, one at a time, in processes forked from a preloaded one."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, folder: Path, *argv: str, env: dict[str, str] | None = None) -> Run:
        assert self._process.stdin is not None and self._process.stdout is not None
        folder.mkdir(parents=True, exist_ok=True)
        paths = {name: str(folder / name) for name in ("stdout", "stderr", "records")}
        self._process.stdin.write(json.dumps({"argv": argv, "env": env or {}, **paths}) + "\n")
        self._process.stdin.flush()
        return Run(folder, int(self._process.stdout.readline()), self._process.stdout)

    def run(self, folder: Path, *argv: str, env: dict[str, str] | None = None) -> Run:
        run = self.start(folder, *argv, env=env)
        run.wait()
        return run
