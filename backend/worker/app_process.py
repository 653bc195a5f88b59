"""The inference app of an instance: started, waited for, restarted when it dies, ended with its instance.

    starting ──▶ ready ──▶ down ──▶ starting …      after START_ATTEMPTS starts in a row that came to nothing: given up

An app is a program of its own, in any language, that answers HTTP on the port it is told. It runs as a guarded
process group, so that nothing of it outlives the instance, however that ends.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import stat
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backend.errors import LorapoolError
from backend.records import Record
from backend.service import Container
from backend.worker import app_command, own_network, ports
from backend.worker.lines import PlainLines
from backend.worker.program import Ending, Program

START_ATTEMPTS = 3
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
"""Seconds before a dead app is started again; doubled with each death, back to the first when it lived `STEADY`."""

STEADY = 30.0
SILENCE = 5.0
"""Seconds for which an app may refuse connections before it is taken for dead and restarted."""

_PROBE_EVERY, _PROBE_SECONDS = 0.05, 2.0
_UNLOAD_SECONDS = 30.0
_MOST_NAMED = 3

RESUME_AFTER = 0.5
"""Seconds from the end of a command until the app is started again, if no other command has begun by then."""
_LARGEST_LOG = 64 << 20
_IN_USE = re.compile(r"address already in use|EADDRINUSE", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AppSettings:
    """What an app is started with. Times are seconds; `start_deadline` is for one start.

    `back_port` is the port of the instance that the app must be able to reach; `training_template` forks the
    built-in app, with all that it imports; `unload_path` is where the app is told to give its memory back.
    """

    container: Container
    health_check_path: str
    template: Path
    data_dir: Path
    start_deadline: float
    stop_grace: float
    back_port: int = 0
    training_template: Path | None = None
    unload_path: str = ""


class AppProcess:
    """Safe to share between threads. `changed` is called, by a thread of its own, when any of its state changes.

    `ready` says that the app takes requests on `port`; `fault` is why it does not; `given_up` that it is not
    started again. A `lazy` one is started by the first that waits for it; `warm` is what it was told to load at once.
    """

    def __init__(self, settings: AppSettings, changed: Callable[[], None]) -> None:
        self._settings = settings
        self._changed = changed
        self._state = threading.Condition()
        self._closing = threading.Event()
        self._program: Program | None = None
        self._doubted = threading.Event()
        self._insists = False  # on the port of its description, though that was taken
        self._wanted = threading.Event()
        self._at_rest = threading.Event()  # nothing of it runs
        self._resumption: threading.Timer | None = None
        self._at_rest.set()
        self.warm: tuple[str, ...] = ()
        self._thread = threading.Thread(target=self._live, name="app", daemon=True)
        self.lazy = settings.container.built_in
        self.port: int | None = None
        self.fault = "the app is starting"
        self.given_up = False

    @property
    def ready(self) -> bool:
        return self.port is not None

    def start(self) -> None:
        """Begin to start it, unless it is lazy; `changed` tells the rest."""
        if not self.lazy:
            self._wanted.set()
        self._thread.start()

    def wait_ready(self, seconds: float, give_up: Callable[[], bool]) -> int | None:
        """The port of the app once it is ready; None when it was not in time, or when nobody wants it any more."""
        if self.lazy:
            seconds = self._settings.start_deadline
        self._wanted.set()
        deadline = time.monotonic() + seconds
        with self._state:
            while self.port is None and not self.given_up and not give_up():
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._state.wait(min(left, 0.2))
            return self.port

    def doubt(self) -> None:
        """The app did not take a connection: it is not ready until it does again, or has been restarted."""
        with self._state:
            self.port, self.fault = None, "the app takes no connections at present"
        self._doubted.set()

    def free(self) -> None:
        """Have the app give the device's memory back, for a command: it is told to unload, or else ended."""
        if self._resumption is not None:
            self._resumption.cancel()
        port = self.port
        if port is not None and self._settings.unload_path and unloaded(port, self._settings.unload_path):
            return
        self._wanted.clear()
        with self._state:
            program = self._program
        if program is not None:
            program.stop(self._settings.stop_grace)
        self._at_rest.wait(self._settings.stop_grace + 10.0)

    def take_up(self, warm: tuple[str, ...]) -> None:
        """The device is the app's again: start it where `free` ended it, with what it had loaded.

        In a moment: another command may follow at once.
        """
        if not self._wanted.is_set() and (warm or not self.lazy):
            self.warm = warm
            self._resumption = threading.Timer(RESUME_AFTER, self._wanted.set)
            self._resumption.daemon = True
            self._resumption.start()

    @property
    def resting(self) -> bool:
        """Whether a command has, or has just had, its place."""
        return not self._wanted.is_set()

    def close(self) -> None:
        """End the app and wait for its end."""
        self._closing.set()
        self._wanted.set()
        with self._state:
            program = self._program
        if program is not None:
            program.stop(self._settings.stop_grace)
        if self._thread.is_alive():
            self._thread.join(self._settings.stop_grace + 10.0)

    def _live(self) -> None:
        failures, pause = 0, FIRST_PAUSE
        while not self._closing.is_set():
            if not self._wanted.is_set():
                self._wanted.wait()
                failures, pause = 0, FIRST_PAUSE
                if not self._closing.is_set():
                    self._set(None, "the app is starting")
                continue
            began = time.monotonic()
            self._at_rest.clear()
            came_up, fault = self._once()
            self._at_rest.set()
            if self._closing.is_set():
                return
            if not self._wanted.is_set():
                self._set(None, "a command has the instance")
                continue
            failures = 0 if came_up else failures + 1
            pause = FIRST_PAUSE if came_up and time.monotonic() - began > STEADY else pause
            if failures == START_ATTEMPTS:
                self._set(None, f"the app did not come up in {failures} starts: {fault}", given_up=True)
                return
            self._set(None, f"{fault}; it is started again")
            self._closing.wait(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)

    def _once(self) -> tuple[bool, str]:
        """Start it and stay until it ends: whether it was ready in between, and why it ended."""
        settings = self._settings
        try:
            port = ports.choose(settings.container.port or 0)
            program = self._start(port)
        except (LorapoolError, OSError) as error:
            return False, f"the app could not be started: {error}"
        over, echo = threading.Event(), _Echo()
        watch = _Watch(self, program, port, over)
        thread = threading.Thread(target=watch.run, name="app-watch", daemon=True)
        thread.start()
        try:
            ending = program.run(PlainLines(), echo, _no_record)
        finally:
            program.close()
            over.set()
            thread.join()
            with self._state:
                self._program = None
        self._insists = self._insists or (echo.in_use and port != settings.container.port)
        return watch.came_up, watch.fault or _ended(ending, echo.last)

    def _start(self, port: int) -> Program:
        settings = self._settings
        alone = self._insists and own_network.available()
        told = settings.container.port or port if alone else port
        argv = app_command.command_line(settings.container, told)
        if alone:
            argv = own_network.wrapped(argv, host_port=port, app_port=told, back_port=settings.back_port)
        _print(f"starting the app on port {port}: {' '.join(argv)}")
        built_in = settings.container.built_in and settings.training_template is not None
        program = Program(
            settings.training_template if built_in and settings.training_template else settings.template,
            argv,
            entry=app_command.BUILT_IN if built_in else None,
            environment=app_command.environment(
                settings.container, told, os.environ, data_dir=settings.data_dir, warm=self.warm
            ),
            cwd=settings.data_dir,
            deadline=settings.start_deadline,
            give_up=self._unwanted,
        )
        with self._state:
            self._program = program
        if self._unwanted():
            program.stop(0.0)
        return program

    def _unwanted(self) -> bool:
        return self._closing.is_set() or not self._wanted.is_set()

    def _set(self, port: int | None, fault: str, *, given_up: bool = False) -> None:
        with self._state:
            self.port, self.fault, self.given_up = port, fault, given_up
            self._state.notify_all()
        _print(fault or f"the app is ready on port {port}")
        self._changed()


class _Watch:
    """Looks after one start of an app: until it is ready, and again whenever that is doubted."""

    def __init__(self, app: AppProcess, program: Program, port: int, over: threading.Event) -> None:
        self._app = app
        self._program = program
        self._given = port
        self._over = over
        self.came_up = False
        self.fault = ""

    def run(self) -> None:
        settings = self._app._settings
        port = self._wait(settings.start_deadline)
        if port is None:
            told = f"the app did not {self._sign()} within {settings.start_deadline:.0f} s"
            self._end(told + self._elsewhere())
            return
        while not self._over.is_set():
            self.came_up = True
            self._app._doubted.clear()
            self._app._set(port, "")
            while not self._app._doubted.wait(0.5):
                if self._over.is_set():
                    return
            self._app._set(None, "the app takes no connections at present")
            again = self._wait(SILENCE)
            if again is None:
                self._end(f"the app took no connections for {SILENCE:.0f} s")
                return
            port = again

    def _end(self, fault: str) -> None:
        if not self._over.is_set():
            self.fault = fault
            self._program.stop(self._app._settings.stop_grace)

    def _wait(self, seconds: float) -> int | None:
        """The port on which the app answers; None when it does not in time, or is over."""
        deadline, pause = time.monotonic() + seconds, _PROBE_EVERY
        while not self._over.wait(pause) and time.monotonic() < deadline:
            port = self._answers()
            if port is not None:
                return port
            pause = min(0.5, pause * 1.3)
        return None

    def _answers(self) -> int | None:
        """Where the app answers: on the port it was given, or on the one that its description names.

        That it is this very app, and no other program that has the port, is part of the question.
        """
        named = self._app._settings.container.port or self._given
        open_ports = tuple(
            port for port in dict.fromkeys((self._given, named)) if ports.accepts(port, _PROBE_SECONDS)
        )
        port = ports.listener(self._program.group, open_ports) if open_ports else None
        path = self._app._settings.health_check_path
        return port if port is None or not path or healthy(port, path) else None

    def _elsewhere(self) -> str:
        """Where it listens instead, for whoever has to mend it."""
        found = sorted(f"{address} port {port}" for address, port in ports.listened(self._program.group))
        return f"; it listens on {', '.join(found[:_MOST_NAMED])}" if found else ""

    def _sign(self) -> str:
        path = self._app._settings.health_check_path
        listen = f"listen on port {self._given} (PORT in its environment)"
        return f"{listen} and answer {path} well" if path else listen


def healthy(port: int, path: str) -> bool:
    """Whether the app answers its health check with a status below 400."""
    connection = http.client.HTTPConnection(ports.HOST, port)
    try:
        connection.sock = ports.connect(port, _PROBE_SECONDS)
        connection.request("GET", "/" + path.lstrip("/"))
        return connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def unloaded(port: int, path: str) -> bool:
    """Whether the app says that it has given its memory back."""
    connection = http.client.HTTPConnection(ports.HOST, port)
    try:
        connection.sock = ports.connect(port, _UNLOAD_SECONDS)
        connection.request("POST", "/" + path.lstrip("/"), b"")
        return 200 <= connection.getresponse().status < 300
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class _Echo:
    """What the app prints goes to the log of the instance."""

    due_in = None

    def __init__(self) -> None:
        self.last = ""
        self.in_use = False

    def say(self, lines: list[str], records: list[Record]) -> None:
        for line in lines:
            self.last = line.strip() or self.last
            self.in_use = self.in_use or bool(_IN_USE.search(line))
            _print(line)

    def flush(self) -> None:
        """Lines have left when they were said."""


def _print(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        out = sys.stdout.fileno()
        status = os.fstat(out)
        if stat.S_ISREG(status.st_mode) and status.st_size > _LARGEST_LOG:
            os.ftruncate(out, 0)
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} app: {line}", flush=True)


def _no_record(record: Record) -> None:
    """An app has no progress of its own; its queries do."""


def _ended(ending: Ending, last_line: str) -> str:
    if ending.exit_code is not None:
        how = f"the app ended with exit code {ending.exit_code}"
    elif ending.signal is not None:
        how = f"the app was killed by signal {ending.signal}"
    else:
        how = "the app was killed together with its guard"
    return f"{how}: {last_line}" if last_line else how
