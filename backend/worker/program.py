"""One run of a program: started through the template, guarded, read, told to stop, and seen to its end."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backend import records
from backend.pool.template import fork_child
from backend.processes import group_members, signal_group, wait_until
from backend.records import Record
from backend.worker.lines import Interpreter

_CHUNK = 1 << 16
_LAST_WORDS = 1.0  # how long a group that outlives its leader is still listened to
_GUARD_KILLS, _GONE = 2.0, 5.0
_LONGEST_RECORD = 1 << 20


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: an exit code, or a signal, or neither when its guard was killed with it."""

    exit_code: int | None = None
    signal: int | None = None


class Voice(Protocol):
    """Who passes on what a run says; see `Reporter`. `due_in` is the seconds until `flush` is to be called."""

    @property
    def due_in(self) -> float | None: ...

    def say(self, lines: list[str], records: list[Record]) -> None: ...

    def flush(self) -> None: ...


class Program:
    """A running program. One thread calls `run` and, in any case, `close`; any thread may call `stop` and `save`."""

    def __init__(
        self,
        template: Path,
        argv: Sequence[str],
        *,
        entry: str | None,
        environment: Mapping[str, str],
        cwd: Path,
        deadline: float,
        give_up: Callable[[], bool],
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
                give_up=give_up,
            )
        except BaseException:
            self._close()
            raise
        finally:
            for descriptor in theirs.values():
                os.close(descriptor)
        self._kill_at: float | None = None
        self._deaf_at: float | None = None  # a process that escaped the kill may hold the pipe for ever
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

    def run(self, interpreter: Interpreter, reporter: Voice, heard: Callable[[Record], None]) -> Ending:
        """Read the run until it ends and nothing of its group is left.

        Raises:
            StaleAttempt, StoreUnavailable: from the reporter; the group has been killed by then.
        """
        try:
            return self._read(interpreter, reporter, heard)
        finally:
            self.close()

    def close(self) -> None:
        """End what is left of the run, and see that it is gone. Safe to repeat."""
        with self._lock:
            if self._over:
                return
            self._over = True
            self._close()
            os.close(self._wake_read)
            os.close(self._wake_write)
        # The guard kills the group when the life pipe ends; should the guard itself be dead, do it here.
        if not wait_until(lambda: not group_members(self.group), _GUARD_KILLS):
            signal_group(self.group, signal.SIGKILL)
            wait_until(lambda: not group_members(self.group), _GONE)

    def _read(self, interpreter: Interpreter, reporter: Voice, heard: Callable[[Record], None]) -> Ending:
        ending: Ending | None = None
        progress = b""
        with selectors.DefaultSelector() as selector:
            for name, descriptor in self._ours.items():
                selector.register(descriptor, selectors.EVENT_READ, name)
            selector.register(self._wake_read, selectors.EVENT_READ, "wake")
            while {key.data for key in selector.get_map().values()} & {"stdout", "status"}:
                if self._deaf_at is not None and time.monotonic() >= self._deaf_at:
                    break
                for key, _ in selector.select(self._patience(reporter)):
                    chunk = os.read(key.fd, _CHUNK)
                    if not chunk:
                        selector.unregister(key.fd)
                        if key.data == "status":  # the guard is dead: nobody else sees to the end of the run
                            ending = Ending()
                            self._end_within(0.0)
                        continue
                    match key.data:
                        case "wake":
                            pass
                        case "stdout":
                            reporter.say(*interpreter.feed(chunk))
                        case "progress":
                            progress = _heard(progress + chunk, reporter, heard)
                        case "status":
                            ending = Ending(**json.loads(chunk.split(b"\n")[0]))
                            selector.unregister(key.fd)
                            self._end_within(_LAST_WORDS)
                if reporter.due_in == 0.0:
                    reporter.flush()
                if self._kill_at is not None and time.monotonic() >= self._kill_at:
                    self._let_go()
        _heard(progress + self._last_records(), reporter, heard)
        reporter.say(*interpreter.close())
        reporter.flush()
        return ending or Ending()

    def _last_records(self) -> bytes:
        """What stands in the progress pipe after the end."""
        os.set_blocking(self._ours["progress"], False)
        rest = b""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._ours["progress"], _CHUNK):
                rest += chunk
        return rest

    def _patience(self, reporter: Voice) -> float | None:
        ends = [at for at in (self._kill_at, self._deaf_at) if at is not None]
        waits = [max(0.0, at - time.monotonic()) for at in ends]
        return min((wait for wait in (reporter.due_in, *waits) if wait is not None), default=None)

    def _let_go(self) -> None:
        """Close the life pipe: the guard kills the group. Should the guard be gone already, do it ourselves."""
        if self._life >= 0:
            os.close(self._life)
            self._life = -1
        if not wait_until(lambda: not group_members(self.group), _GUARD_KILLS):
            signal_group(self.group, signal.SIGKILL)
        self._kill_at = None
        self._deaf_at = time.monotonic() + _GONE

    def _close(self) -> None:
        if self._life >= 0:
            os.close(self._life)
            self._life = -1
        for descriptor in self._ours.values():
            os.close(descriptor)
        self._ours = {}


def _heard(text: bytes, reporter: Voice, heard: Callable[[Record], None]) -> bytes:
    """Take the records of complete lines; what is left of the last one."""
    *lines, rest = text.split(b"\n")
    said = [record for line in lines if (record := records.decode(line))]
    for record in said:
        heard(record)
    reporter.say([], said)
    return rest if len(rest) <= _LONGEST_RECORD else b""
