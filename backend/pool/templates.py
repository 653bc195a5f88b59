"""The two template processes of a host, started, watched and replaced.

The plain one is ready in half a second and forks instances and ordinary commands; the training one has torch,
diffusers, transformers and peft imported and forks training runs.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from backend.pool.devices import threading_environment
from backend.pool.template import bind
from backend.processes import die_with_parent

PLAIN = ("backend.worker.agent", "backend.worker.guard", "backend.worker.rq_worker")
TRAINING = ("backend.worker.guard", "backend.training.preload:preload")


@dataclass
class _Template:
    name: str
    preload: tuple[str, ...]
    path: Path
    listener: socket.socket
    process: subprocess.Popen[bytes] | None = None
    parent_end: IO[bytes] | None = None


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        **threading_environment(),
        "TOKENIZERS_PARALLELISM": "false",
        # macOS refuses to fork a process that has touched some of its frameworks unless told so.
        "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
    }


class Templates:
    """Owner of both; `tend` replaces one that died. Children it has forked go on without it."""

    def __init__(self, folder: Path, log_dir: Path) -> None:
        self._log_dir = log_dir
        wanted = (("plain", PLAIN), ("training", TRAINING))
        self._all = [
            _Template(name, preload, folder / f"{name}.sock", bind(folder / f"{name}.sock"))
            for name, preload in wanted
        ]

    @property
    def plain(self) -> Path:
        """Socket of the template for instances and commands."""
        return self._all[0].path

    @property
    def training(self) -> Path:
        """Socket of the template for training runs."""
        return self._all[1].path

    def tend(self) -> None:
        """Start what does not run."""
        for template in self._all:
            if template.process is None or template.process.poll() is not None:
                self._start(template)

    def _start(self, template: _Template) -> None:
        self._log_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._log_dir / f"template-{template.name}.log").open("ab") as log:
            template.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "backend.pool.template",
                    str(template.listener.fileno()),
                    *template.preload,
                ],
                pass_fds=(template.listener.fileno(),),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        template.parent_end = template.process.stdin

    def close(self) -> None:
        """End both."""
        for template in self._all:
            if template.process is not None and template.process.poll() is None:
                template.process.kill()
                template.process.wait()
            if template.parent_end is not None:
                template.parent_end.close()
            template.listener.close()
