"""One template process with little in it, quick to start; its socket outlives it, as in a deployment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from backend.pool.template import bind

ROOT = Path(__file__).parents[2]
LIGHT = ("backend.worker.guard",)


class OneTemplate:
    """The socket waits from the beginning; `start` starts, and starts again, the process behind it."""

    def __init__(self, folder: Path, preload: tuple[str, ...] = LIGHT) -> None:
        self.path = folder / "t.sock"
        self.log = folder / "template.log"
        self.listener = bind(self.path)
        self.process: subprocess.Popen[bytes] | None = None
        self._preload = preload

    def start(self) -> OneTemplate:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "backend.pool.template", str(self.listener.fileno()), *self._preload],
                cwd=ROOT,
                pass_fds=(self.listener.fileno(),),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self.listener.close()
        self.path.unlink(missing_ok=True)
