"""One run of a program: started through the template, guarded, read, told to stop, and seen to its end."""

from __future__ import annotations

import json
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend import records
from backend.pool.template import fork_child
from backend.processes import group_members, signal_group, wait_until
from backend.records import Record
from backend.worker.lines import Interpreter
from backend.worker.reporter import Reporter

_CHUNK = 1 << 16
_LAST_WORDS = 1.0  # how long a group that outlives its leader is still listened to


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: an exit code, or a signal, or neither when its guard was killed with it."""

    exit_code: int | None = None
    signal: int | None = None


class Program:
    """A running program. One thread calls `run`; any thread may call `stop` and `save`."""

    def __init__(
        self,
        template: Path,
        argv: Sequence[str],
        *,
        entry: str | None,
        environment: Mapping[str, str],
        cwd: Path,
        deadline: float,
    ) -> None:
        out_read, out_write = os.pipe()
        progress_read, progress_write = os.pipe()
        status_read, status_write = os.pipe()
        life_read, self._life = os.pipe()
        theirs = {"stdout": out_write, "progress": progress_write, "status": status_write, "life": life_read}
        self._ours = {"stdout": out_read, "progress": progress_read, "status": status_read}
        argument = {"argv": list(argv), "entry": entry}
        try:
            self.place = fork_child(
                template,
                "backend.worker.guard:run",
                argument,
                environment=environment,
                cwd=cwd,
                descriptors=theirs,
                deadline=deadline,
            )
        except BaseException:
            self._close()
            raise
        finally:
            for descriptor in theirs.values():
                os.close(descriptor)
        self._kill_at: float | None = None
        self._lock = threading.Lock()
        self._over = False
        self._wake_read, self._wake_write = os.pipe()

    @property
    def group(self) -> int:
        """The process group of the run."""
        return self.place.pid

    def stop(self, grace: float) -> None:
        """Ask the run to end, and kill what is left of it after `grace` seconds."""
        self._ask(signal.SIGTERM, grace)

    def save(self, grace: float) -> None:
        """Ask the run to save its state and end, and kill what is left of it after `grace` seconds."""
        self._ask(signal.SIGUSR1, grace)

    def _ask(self, sig: signal.Signals, grace: float) -> None:
        with self._lock:
            if self._over:  # the group's number may be another's by now
                return
            signal_group(self.group, sig)
            self._end_within(grace)
            os.write(self._wake_write, b".")

    def _end_within(self, grace: float) -> None:
        at = time.monotonic() + grace
        self._kill_at = at if self._kill_at is None else min(self._kill_at, at)

    def run(self, interpreter: Interpreter, reporter: Reporter, heard: Callable[[Record], None]) -> Ending:
        """Read the run until it ends and nothing of its group is left.

        Raises:
            StaleAttempt, StoreUnavailable: from the reporter; the group has been killed by then.
        """
        try:
            return self._read(interpreter, reporter, heard)
        finally:
            with self._lock:
                self._over = True
                self._close()
                os.close(self._wake_read)
                os.close(self._wake_write)
            wait_until(lambda: not group_members(self.group), 5.0)

    def _read(self, interpreter: Interpreter, reporter: Reporter, heard: Callable[[Record], None]) -> Ending:
        ending: Ending | None = None
        progress = b""
        with selectors.DefaultSelector() as selector:
            for name, descriptor in self._ours.items():
                selector.register(descriptor, selectors.EVENT_READ, name)
            selector.register(self._wake_read, selectors.EVENT_READ, "wake")
            while {key.data for key in selector.get_map().values()} & {"stdout", "status"}:
                for key, _ in selector.select(self._patience(reporter)):
                    chunk = os.read(key.fd, _CHUNK)
                    if not chunk:
                        selector.unregister(key.fd)
                        if key.data == "status" and ending is None:
                            ending = Ending()
                        continue
                    match key.data:
                        case "wake":
                            pass
                        case "stdout":
                            reporter.say(*interpreter.feed(chunk))
                        case "progress":
                            *lines, progress = (progress + chunk).split(b"\n")
                            said = [record for line in lines if (record := records.decode(line))]
                            for record in said:
                                heard(record)
                            reporter.say([], said)
                        case "status":
                            ending = Ending(**json.loads(chunk.split(b"\n")[0]))
                            selector.unregister(key.fd)
                            self._end_within(_LAST_WORDS)
                if reporter.due_in == 0.0:
                    reporter.flush()
                if self._kill_at is not None and time.monotonic() >= self._kill_at:
                    self._let_go()
        reporter.say(*interpreter.close())
        reporter.flush()
        return ending or Ending()

    def _patience(self, reporter: Reporter) -> float | None:
        waits = [
            reporter.due_in,
            None if self._kill_at is None else max(0.0, self._kill_at - time.monotonic()),
        ]
        return min((wait for wait in waits if wait is not None), default=None)

    def _let_go(self) -> None:
        """Close the life pipe: the guard kills the group. Should the guard be gone already, do it ourselves."""
        if self._life >= 0:
            os.close(self._life)
            self._life = -1
        signal_group(self.group, signal.SIGKILL)
        self._kill_at = None

    def _close(self) -> None:
        if self._life >= 0:
            os.close(self._life)
            self._life = -1
        for descriptor in self._ours.values():
            os.close(descriptor)
        self._ours = {}
