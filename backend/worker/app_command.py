"""How the app of a service is started: its command line and its variables. Pure."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from backend.service import Container
from backend.settings import SECRETS
from backend.storage.packages import BIN
from backend.worker.command import words

PORT = "PORT"
"""Name of the variable that tells an app where to listen."""

WARM = "LORAPOOL_WARM"
"""Name of the variable with a JSON list of what the app should load at once: what it had before a command."""

BUILT_IN = "backend.inference.__main__:main"
"""Where the built-in app begins."""


def command_line(container: Container, port: int) -> tuple[str, ...]:
    """What is started: `command` (by a shell only where it needs one), else `script` by a shell; `{port}` filled in."""
    if container.built_in:
        return ("lorapool-inference", "--port", str(port))
    text = (container.command or container.script).replace("{port}", str(port))
    plain = words(text.encode()) if container.command else None
    return plain or ("/bin/sh", "-c", text)


def environment(
    container: Container,
    port: int,
    base: Mapping[str, str],
    *,
    data_dir: Path,
    warm: Sequence[str] = (),
) -> dict[str, str]:
    """The variables of an app: the instance's without its secrets, the description's, and the port to use."""
    inherited = {name: value for name, value in base.items() if name not in SECRETS}
    # What a pod was given from a Secret is among the inherited ones.
    own = {each.name: each.value for each in container.env if each.value_from is None}
    # Where a machine has no `python` of its own, the one that runs this is meant.
    service = [base[BIN]] if base.get(BIN) else []
    path = os.pathsep.join([*service, inherited.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    return {
        **inherited,
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        "LORAPOOL_DATA_DIR": str(data_dir),
        WARM: json.dumps(list(warm)),
        **own,
        PORT: str(port),
    }
