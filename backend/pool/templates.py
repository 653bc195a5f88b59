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
    listener: socket.socket | None = None
    inode: int = 0
    process: subprocess.Popen[bytes] | None = None

    def bind(self) -> socket.socket:
        """The socket at `path`; a new one where another supervisor has taken the path meanwhile."""
        if self.listener is not None and self._holds_path():
            return self.listener
        self.close()
        self.listener = bind(self.path)
        self.inode = self.path.stat().st_ino
        return self.listener

    def _holds_path(self) -> bool:
        try:
            return self.path.stat().st_ino == self.inode
        except FileNotFoundError:
            return False

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            if self.process.stdin is not None:
                self.process.stdin.close()
            self.process = None
        if self.listener is not None:
            self.listener.close()
            self.listener = None
            if self._holds_path():
                self.path.unlink()


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        **threading_environment(),
        "TOKENIZERS_PARALLELISM": "false",
        # macOS refuses to fork a process that has touched some of its frameworks unless told so.
        "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
    }


class Templates:
    """Owner of both; `tend` starts them, and replaces one that died. Children it has forked go on without it.

    Their sockets are always the same for a `folder`, so that instances find the templates of the supervisor that
    leads; one that does not lead must not tend them.
    """

    def __init__(self, folder: Path, log_dir: Path) -> None:
        self._log_dir = log_dir
        wanted = (("plain", PLAIN), ("training", TRAINING))
        self._all = [_Template(name, preload, folder / f"{name}.sock") for name, preload in wanted]

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
            listener = template.bind()
            if template.process is None or template.process.poll() is not None:
                self._start(template, listener)

    def _start(self, template: _Template, listener: socket.socket) -> None:
        if template.process is not None and template.process.stdin is not None:
            template.process.stdin.close()
        self._log_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._log_dir / f"template-{template.name}.log").open("ab") as log:
            template.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "backend.pool.template",
                    str(listener.fileno()),
                    *template.preload,
                ],
                pass_fds=(listener.fileno(),),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    def close(self) -> None:
        """End both."""
        for template in self._all:
            template.close()
