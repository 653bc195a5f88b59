"""Python packages of a service: an environment of its own, layered over the one that lorapool runs in.

    environments/<hash of the requirements>/     a virtual environment that also sees lorapool's packages

What is installed there comes first, what it does not hold is lorapool's; so a service adds a package, or has another
version of one, without touching the other services. Each list of requirements is installed once on a machine. The
built-in trainer runs in lorapool's own process and does not see it; commands, apps and init commands do.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sys
import sysconfig
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from backend.storage.records import held

ENVIRONMENTS = "environments"
BIN = "LORAPOOL_BIN"
"""Variable with the folder of the `python` that a service's programs use; it comes first in their PATH."""

_DONE, _REQUIREMENTS = "complete", "requirements.txt"
_LOOK = 0.2


def folder(data_dir: Path, lines: Sequence[str]) -> Path:
    """Where these requirements are installed, for this interpreter."""
    said = "\n".join([sys.version, sys.prefix, *lines])
    return data_dir / ENVIRONMENTS / hashlib.sha256(said.encode()).hexdigest()[:16]


@contextlib.contextmanager
def held_for(environment: Path, give_up: Callable[[], bool]) -> Iterator[bool]:
    """Hold an environment while it is made: one instance makes it, the others wait. False when they gave up."""
    environment.parent.mkdir(parents=True, exist_ok=True)
    while not give_up():
        with held(environment.with_suffix(".lock"), wait=False) as mine:
            if mine:
                yield True
                return
        time.sleep(_LOOK)
    yield False


def is_complete(environment: Path) -> bool:
    """Whether everything was installed."""
    return (environment / _DONE).exists()


def begin(environment: Path, lines: Sequence[str]) -> None:
    """Make the environment anew, with nothing in it but the sight of lorapool's packages."""
    shutil.rmtree(environment, ignore_errors=True)
    venv.EnvBuilder(system_site_packages=True, symlinks=True).create(environment)
    layout = {"base": str(environment), "platbase": str(environment)}
    own = Path(sysconfig.get_path("purelib", "venv", layout))
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (own / "lorapool-below.pth").write_text("\n".join(ours) + "\n", encoding="utf-8")
    (environment / _REQUIREMENTS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def command(environment: Path) -> tuple[str, ...]:
    """What installs the requirements."""
    return (
        *(str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"),
        *("--no-input", "-r", str(environment / _REQUIREMENTS)),
    )


def completed(environment: Path) -> None:
    """Note that everything was installed."""
    (environment / _DONE).touch()


def variables(environment: Path) -> dict[str, str]:
    """What makes programs use it."""
    return {BIN: str(environment / "bin"), "VIRTUAL_ENV": str(environment)}
