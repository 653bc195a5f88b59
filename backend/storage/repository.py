"""A git repository as a folder: cloned once on a machine for each version that a description names."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from backend.errors import RunFailed
from backend.service import GitPlace
from backend.storage.records import held

CLONE_SECONDS = 1200.0
_LOOK = 0.2
_PROTOCOLS = "https:http:ssh:git:file"
"""What git may use; `ext` would run a command of the address."""


def clone(place: GitPlace, folder: Path, *, give_up: Callable[[], bool]) -> None:
    """Have the repository in `folder`. One process of the machine clones it, the others wait for that.

    Raises:
        RunFailed: it cannot be had.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    while not give_up():
        with held(folder.with_suffix(".lock"), wait=False) as mine:
            if mine:
                if not folder.exists():
                    _clone(place, folder)
                return
        time.sleep(_LOOK)


def _clone(place: GitPlace, folder: Path) -> None:
    fresh = folder.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    branch = ["--branch", place.branch] if place.branch else []
    shallow = [] if place.commit else ["--depth", "1"]
    _git("clone", "--quiet", *branch, *shallow, "--", place.repo, str(fresh))
    if place.commit:
        _git("-C", str(fresh), "checkout", "--quiet", "--detach", place.commit)
    fresh.rename(folder)


def _git(*words: str) -> None:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": _PROTOCOLS}
    try:
        done = subprocess.run(
            ["git", *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CLONE_SECONDS,
        )
    except FileNotFoundError:
        raise RunFailed("its storage names a git repository, and there is no git on this machine") from None
    except subprocess.TimeoutExpired:
        raise RunFailed(f"git {words[0]} took longer than {CLONE_SECONDS:.0f} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise RunFailed(f"the repository of its storage cannot be had: {last}")
