"""The front ends that belong to services: `front_end.script` of a `ScalableJobService`, kept running beside them.

Each is bound to its service by the service's own token: it sees the tasks of that service and no others, and no
other front end may touch them. Beside that it has the credential with which it may say who somebody is, should a proxy
before it ask people.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

from backend.child import Child
from backend.errors import LorapoolError, StoreUnavailable
from backend.service import FrontEnd, ServiceType
from backend.settings import SECRETS, Settings
from backend.store import services
from backend.store.connection import Store
from backend.store.services import Deployed

_LOOK_EVERY = 1.0
_GOODBYE = 5.0
_SHELL_SIGNS = frozenset("|&;<>()$`\\\"'*?[]#~=%!{}\n")
_PROGRAM = "kohya_gui"


def command(script: str) -> tuple[str, ...]:
    """The words of a script that is one plain command; a shell for anything else."""
    if not _SHELL_SIGNS & set(script):
        return tuple(shlex.split(script))
    return ("/bin/sh", "-c", script)


def environment(deployed: Deployed, settings: Settings) -> dict[str, str]:
    """What a front end is told: where its service is, with the service's token and never the administrator's."""
    own = {name: value for name, value in os.environ.items() if name not in SECRETS}
    programs = f"{Path(sys.executable).parent}{os.pathsep}{own.get('PATH', os.defpath)}"
    return own | {
        "PATH": programs,
        "LORAPOOL_DATA_DIR": str(settings.data_dir),
        "LORAPOOL_ENDPOINT": settings.endpoint,
        "LORAPOOL_SERVICE": deployed.description.name,
        "LORAPOOL_TOKEN": deployed.token,
        "LORAPOOL_FRONT_END_TOKEN": deployed.front_end_token,
    }


def front_end_of(deployed: Deployed) -> FrontEnd | None:
    """The front end that should run for a service, None where it has none or is stopped.

    Of a service that an older lorapool deployed it waits for the credential that the gateway gives it.
    """
    described = deployed.description
    if described.type is not ServiceType.SCALABLE_JOB_SERVICE or deployed.stopped:
        return None
    if not deployed.front_end_token:
        return None
    return described.front_end if described.front_end is not None and described.front_end.script else None


class FrontEnds:
    """Keeps one process for each service that has a front end. `tend` is called often, from one thread."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say
        self._store = Store(settings.redis_url)
        self._running: dict[str, tuple[object, Child]] = {}
        self._looked = float("-inf")

    def tend(self) -> None:
        """Start what is new, replace what has changed, end what is gone, start again what died."""
        if time.monotonic() - self._looked >= _LOOK_EVERY:
            self._looked = time.monotonic()
            try:
                self._follow(self._deployed())
            except StoreUnavailable:
                pass  # what runs goes on; the next look finds the store again
            except LorapoolError as error:
                self._say(f"the front ends of services are left as they are: {error}")
        for _, child in self._running.values():
            child.tend(self._say)

    def stop(self) -> None:
        """End all of them."""
        for name in list(self._running):
            self._end(name)
        self._store.close()

    def _deployed(self) -> dict[str, Deployed]:
        names = self._store.run(services.names())
        found = self._store.run_all([services.get(name) for name in names])
        return {deployed.description.name: deployed for deployed in found}

    def _follow(self, deployed: dict[str, Deployed]) -> None:
        for name in [name for name in self._running if name not in deployed]:
            self._end(name)
        for name, service in deployed.items():
            front_end = front_end_of(service)
            version = (front_end, service.token, service.front_end_token)
            if name in self._running and self._running[name][0] != version:
                self._end(name)
            if front_end is not None and name not in self._running:
                self._running[name] = (version, self._child(service, front_end))

    def _child(self, service: Deployed, front_end: FrontEnd) -> Child:
        name = service.description.name
        self._say(f"starting the front end of {name}, on port {front_end.port}")
        log = self._settings.data_dir / "logs" / f"front-end-{name}.log"
        return Child(
            f"front end of {name}",
            command(front_end.script),
            environment(service, self._settings),
            log,
            folder=_program_folder(),
            only=True,
            whole_group=True,
        )

    def _end(self, name: str) -> None:
        _, child = self._running.pop(name)
        child.stop(_GOODBYE)


def _program_folder() -> Path | None:
    """Where `python kohya_gui.py`, as descriptions say it, finds its program."""
    found = importlib.util.find_spec(_PROGRAM)
    return Path(found.origin).parent if found is not None and found.origin else None
