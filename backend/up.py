"""`lorapool up`: everything on one box. Starts store, gateway, supervisor and front end, and restarts what dies.

The children are told when this process ends, however it ends (by the kernel on Linux), and stop in order then: the
front end, the supervisor (which lets trainings save and go back to the queue), the gateway, the store.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from backend import logs, paths, ports
from backend.child import Child, own_command
from backend.deploy import deploy, scaling_warnings, storage_warnings
from backend.errors import Conflict, LorapoolError
from backend.front_ends import FrontEnds, front_end_of
from backend.pool.devices import default_capacity
from backend.service import Description, default_description, parse
from backend.settings import Settings, administrator_token
from backend.signal_safe import SignalSafeEvent
from backend.store import services
from backend.store.connection import Store
from backend.store.embedded import EmbeddedStore

READY_DEADLINE = 60.0
_CHECK_EVERY = 0.1


@dataclass(frozen=True, slots=True)
class FrontEndHere:
    """The front end that `up` serves itself. An empty `host` is that of the gateway."""

    port: int
    host: str = ""
    root_path: str = ""
    username: str = ""
    password: str = ""

    def child(self, settings: Settings) -> Child:
        """Its process. The password goes by environment: everybody can read an argument list."""
        arguments = ["gui", "--port", str(self.port), "--host", self.host or settings.host]
        if self.root_path:
            arguments += ["--root-path", self.root_path]
        secret = {"LORAPOOL_UI_USERNAME": self.username, "LORAPOOL_UI_PASSWORD": self.password}
        environment = settings.environment() | (secret if self.username else {})
        log = settings.data_dir / "logs" / "front-end.log"
        return Child("front end", own_command(*arguments), environment, log)


class Deployment:
    """One box. `run` blocks until SIGTERM or Ctrl-C."""

    def __init__(
        self, settings: Settings, descriptions: list[Path], *, front_end: FrontEndHere | None
    ) -> None:
        self.settings = settings.resolved()
        paths.create(self.settings.data_dir)
        (self.settings.data_dir / "logs").mkdir(exist_ok=True)
        self._descriptions = [_read(path) for path in descriptions]
        self._front_end = front_end
        self._front_ends: FrontEnds | None = None
        self._embedded = None if self.settings.redis_url else EmbeddedStore(self.settings.data_dir)
        self._children: list[Child] = []
        self._announced: Path | None = None
        self._stopping = SignalSafeEvent()

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
        ports_of_services = self._deploy()
        environment = self.settings.environment()
        logs = self.settings.data_dir / "logs"
        for name in ("gateway", "supervisor"):
            self._children.append(Child(name, own_command(name), environment, logs / f"{name}.log"))
        if self._front_end is not None:
            if self._front_end.port in ports_of_services:
                say(f"port {self._front_end.port} is that of a service's own front end; no other is started")
            else:
                self._children.append(self._front_end.child(self.settings))
        for child in self._children:
            say(f"starting the {child.name}")
            child.start()
        self._await_gateway()
        self._front_ends = FrontEnds(self.settings, say)

    def _deploy(self) -> set[int]:
        """Deploy what was given, or a first service; the ports on which front ends of services will listen."""
        store = Store(self.settings.redis_url)
        try:
            wanted = self._descriptions
            if not wanted and not store.run(services.names()):
                wanted = [parse(default_description(most=default_capacity())).description]
            for description in wanted:
                deploy(store, description)
                for warning in storage_warnings(description, self.settings, os.environ):
                    say(f"{description.name}: {warning}")
            deployed = store.run_all([services.get(name) for name in store.run(services.names())])
        finally:
            store.close()
        return {front_end.port for each in deployed if (front_end := front_end_of(each)) is not None}

    def _refuse_taken_port(self) -> None:
        taken = [(self.settings.host, self.settings.port, "--port")]
        if self._front_end is not None:
            host = self._front_end.host or self.settings.host
            taken.append((host, self._front_end.port, "--ui-port (--server_port)"))
        for host, port, option in taken:
            reason = ports.why_not(host, port)
            if reason:
                raise Conflict(
                    f"port {port} on {host} cannot be used ({reason}). "
                    f"Nothing was started; choose another with {option}."
                )

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
        if self._front_ends is not None:
            self._front_ends.tend()
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
        if self._front_ends is not None:
            self._front_ends.stop()
        for name in ("front end", "supervisor", "gateway"):
            for child in self._children:
                if child.name == name:
                    child.stop(self.settings.save_grace + 15.0 if name == "supervisor" else 8.0)
        if self._embedded is not None:
            self._embedded.stop()
        say("stopped")


def say(text: str) -> None:
    """A line for the person at the terminal; standard output is kept for what scripts read."""
    print(logs.line("lorapool", text), file=sys.stderr, flush=True)


def _read(path: Path) -> Description:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise LorapoolError(f"cannot read {path}: {error.strerror}. Nothing was started.") from None
    parsed = parse(text)
    for warning in (*parsed.warnings, *scaling_warnings(parsed.description)):
        say(f"{path}: {warning}")
    return parsed.description
