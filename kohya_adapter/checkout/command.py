"""How kohya_ss is started so that its trainings go to a pool: which Python, which words, which variables."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.errors import InvalidInput

PROGRAM = Path(__file__).with_name("pool_process.py")
_PYTHONS = ("venv/bin/python", ".venv/bin/python", "venv/Scripts/python.exe", ".venv/Scripts/python.exe")


@dataclass(frozen=True, slots=True)
class PoolOf:
    """Where trainings go: a service of a gateway. `maps` are `HERE=THERE`, folders that the pool has elsewhere."""

    endpoint: str
    token: str
    service: str
    user: str = ""
    priority: int = 0
    maps: tuple[str, ...] = ()


def start(
    checkout: Path, pool: PoolOf, flags: Sequence[str], *, python: str = ""
) -> tuple[list[str], dict[str, str]]:
    """The words and the variables of kohya_ss's process. `flags` are kohya_gui.py's own.

    Raises:
        InvalidInput: there is no kohya_ss, no token, or a map that cannot be read; nothing was started.
    """
    if not (checkout / "kohya_gui.py").is_file():
        raise InvalidInput(
            f"{checkout} holds no kohya_gui.py: name a checkout of kohya_ss. Nothing was started."
        )
    if not pool.token:
        raise InvalidInput(
            f"there is no token for the service at {pool.endpoint}: give --token or set LORAPOOL_TOKEN. "
            "Nothing was started."
        )
    for each in pool.maps:
        if not all(each.partition("=")):
            raise InvalidInput(f"--map {each!r}: HERE=THERE is expected. Nothing was started.")
    program = python or _python_of(checkout)
    return [program, str(PROGRAM), str(checkout.resolve()), *flags], _variables(pool)


def _python_of(checkout: Path) -> str:
    """The Python of the checkout's own environment where it has one, else this one."""
    return next((str(checkout / each) for each in _PYTHONS if (checkout / each).exists()), sys.executable)


def _variables(pool: PoolOf) -> dict[str, str]:
    """No secret stands in an argument list, which everybody on the machine can read."""
    own: Mapping[str, str] = {
        "LORAPOOL_ENDPOINT": pool.endpoint,
        "LORAPOOL_TOKEN": pool.token,
        "LORAPOOL_SERVICE": pool.service,
        "LORAPOOL_USER": pool.user,
        "LORAPOOL_PRIORITY": str(pool.priority),
        "LORAPOOL_MAP": "\n".join(pool.maps),
    }
    return {**os.environ, **own}
