"""`lorapool up`: everything on one box. Starts store, gateway, supervisor and front end, and restarts what dies.

The children are told when this process ends, however it ends (by the kernel on Linux), and stop in order then: the
front end, the supervisor (which lets trainings save and go back to the queue), the gateway, the store.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from backend import paths
from backend.deploy import deploy, scaling_warnings
from backend.errors import Conflict, LorapoolError
from backend.pool.devices import default_capacity
from backend.processes import die_with_parent
from backend.service import Description, default_description, parse
from backend.settings import Settings, administrator_token
from backend.store import services
from backend.store.connection import Store
from backend.store.embedded import EmbeddedStore

READY_DEADLINE = 60.0
_CHECK_EVERY = 0.1
_LONGEST_PAUSE = 10.0
_STEADY = 30.0


@dataclass
class Child:
    """One process that `up` keeps running. A quick death makes the next start wait a little longer."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_after: float = 0.0
    pause: float = field(default=0.0)

    def start(self) -> None:
        """Start it; what it prints goes to its log."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "backend.cli", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        self.started_at = time.monotonic()

    def tend(self, say: Callable[[str], None]) -> None:
        """Start it again when it has died."""
        if self.process is not None and self.process.poll() is not None:
            steady = time.monotonic() - self.started_at > _STEADY
            self.pause = 0.0 if steady else min(_LONGEST_PAUSE, self.pause * 2 or 0.1)
            say(f"the {self.name} ended ({self.process.returncode}); starting it again. Its log: {self.log}")
            self.process = None
            self.start_after = time.monotonic() + self.pause
        if self.process is None and time.monotonic() >= self.start_after:
            self.start()

    def stop(self, deadline: float) -> None:
        """SIGTERM, then SIGKILL after `deadline` seconds."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Deployment:
    """One box. `run` blocks until SIGTERM or Ctrl-C."""

    def __init__(self, settings: Settings, descriptions: list[Path], *, ui_port: int | None) -> None:
        self.settings = settings.resolved()
        paths.create(self.settings.data_dir)
        (self.settings.data_dir / "logs").mkdir(exist_ok=True)
        self._descriptions = [_read(path) for path in descriptions]
        self._ui_port = ui_port
        self._embedded = None if self.settings.redis_url else EmbeddedStore(self.settings.data_dir)
        self._children: list[Child] = []
        self._announced: Path | None = None
        self._stopping = threading.Event()

    @property
    def url(self) -> str:
        """Where the gateway answers on this machine."""
        host = "127.0.0.1" if self.settings.host in ("0.0.0.0", "::", "") else self.settings.host
        return f"http://{host}:{self.settings.port}"

    def run(self, on_ready: Callable[[], None] | None = None) -> int:
        """Start everything, say `ready`, keep it running, stop it in order; the exit code."""
        for sig in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sig, lambda *_: self._stopping.set())
        try:
            self._start()
            if not self._stopping.is_set():
                self._announce()
                print(f"ready: {self.url}", flush=True)
                if on_ready is not None:
                    threading.Thread(target=on_ready, daemon=True).start()
            while not self._stopping.wait(_CHECK_EVERY):
                self._tend()
        finally:
            self._stop()
        return 0

    def stop(self) -> None:
        """Make `run` return."""
        self._stopping.set()

    def _announce(self) -> None:
        self._announced = self.settings.data_dir / paths.ENDPOINT
        self._announced.write_text(f"{self.url}\n")

    def _start(self) -> None:
        self._refuse_taken_port()
        if self._embedded is not None:
            say("starting the store")
            self._embedded.start()
            self.settings = self.settings.model_copy(update={"redis_url": self._embedded.url})
        token = administrator_token(self.settings.data_dir)
        self.settings = self.settings.model_copy(update={"token": token, "endpoint": self.url})
        self._deploy()
        environment = self.settings.environment()
        logs = self.settings.data_dir / "logs"
        commands: list[tuple[str, tuple[str, ...]]] = [
            ("gateway", ("gateway",)),
            ("supervisor", ("supervisor",)),
        ]
        if self._ui_port is not None:
            commands.append(
                ("front end", ("gui", "--port", str(self._ui_port), "--host", self.settings.host))
            )
        for name, arguments in commands:
            child = Child(name, arguments, environment, logs / f"{name.replace(' ', '-')}.log")
            self._children.append(child)
            say(f"starting the {name}")
            child.start()
        self._await_gateway()

    def _deploy(self) -> None:
        store = Store(self.settings.redis_url)
        try:
            wanted = self._descriptions
            if not wanted and not store.run(services.names()):
                wanted = [parse(default_description(most=default_capacity())).description]
            for description in wanted:
                deploy(store, description)
        finally:
            store.close()

    def _refuse_taken_port(self) -> None:
        import socket

        for port in [self.settings.port, *([self._ui_port] if self._ui_port else [])]:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((self.settings.host, port))
                except OSError as error:
                    raise Conflict(
                        f"port {port} on {self.settings.host} cannot be used ({error.strerror}). "
                        "Nothing was started; choose others with --port and --ui-port."
                    ) from None

    def _await_gateway(self) -> None:
        deadline = time.monotonic() + READY_DEADLINE
        while not self._stopping.is_set():
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/healthz", timeout=2.0).status_code == 200:
                    return
            if time.monotonic() > deadline:
                raise LorapoolError(
                    f"the gateway did not answer within {READY_DEADLINE:.0f} s; see "
                    f"{self.settings.data_dir / 'logs' / 'gateway.log'}"
                )
            self._tend()
            time.sleep(_CHECK_EVERY / 2)

    def _tend(self) -> None:
        if self._embedded is not None and not self._embedded.running:
            say("the store ended; starting it again")
            self._embedded.start()
        for child in self._children:
            child.tend(say)
        self._bury_orphans()

    def _bury_orphans(self) -> None:
        """As the first process of a container we inherit what loses its parent; a zombie would stay for ever."""
        if os.getpid() != 1:
            return
        own = {child.process.pid for child in self._children if child.process is not None}
        for process in psutil.Process().children():
            with contextlib.suppress(psutil.Error, ChildProcessError):
                if process.pid not in own and process.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(process.pid, os.WNOHANG)

    def _stop(self) -> None:
        say("stopping; trainings save their state and go back to the queue")
        if self._announced is not None:
            self._announced.unlink(missing_ok=True)
        for name in ("front end", "supervisor", "gateway"):
            for child in self._children:
                if child.name == name:
                    child.stop(self.settings.save_grace + 15.0 if name == "supervisor" else 8.0)
        if self._embedded is not None:
            self._embedded.stop()
        say("stopped")


def say(text: str) -> None:
    """A line for the person at the terminal; standard output is kept for what scripts read."""
    print(f"lorapool: {text}", file=sys.stderr, flush=True)


def _read(path: Path) -> Description:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise LorapoolError(f"cannot read {path}: {error.strerror}. Nothing was started.") from None
    parsed = parse(text)
    for warning in (*parsed.warnings, *scaling_warnings(parsed.description)):
        say(f"{path}: {warning}")
    return parsed.description
