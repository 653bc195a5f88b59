"""The data folder, and the one place where a path that a user named becomes a real one.

datasets/  models/  loras/  jobs/<task id>/  mounts/  store/  logs/
"""

from __future__ import annotations

import os
from pathlib import Path

from backend.errors import PathOutsideDataFolder

DATASETS, MODELS, LORAS, JOBS, STORE, LOGS = "datasets", "models", "loras", "jobs", "store", "logs"
MOUNTS = "mounts"
"""What stands behind `storage[]` of descriptions; made when it is needed."""
ALSO_ALLOWED = "LORAPOOL_FOLDERS"
"""Variable of a run with the folders besides the data folder that its service's description lends it."""
ENDPOINT = "endpoint"
"""A file that is there while a deployment is up: the address of its gateway."""


def confined(data_dir: Path, path: str | Path, *, field: str | None = None) -> Path:
    """The absolute path that `path` names, links resolved, proved to lie in `data_dir`.

    A relative path starts at the data folder. The file need not exist. `field` is the form key or argument
    that named it, for the message.

    Raises:
        PathOutsideDataFolder: it points elsewhere, directly, by `..`, or through a link, or no file can have that name.
    """
    text = str(path)
    if not _possible(text):
        raise PathOutsideDataFolder(text, field)
    root = data_dir.resolve()
    try:
        resolved = (root / Path(text).expanduser()).resolve()
    except (RuntimeError, OSError):
        raise PathOutsideDataFolder(text, field) from None
    lent = [Path(each) for each in os.environ.get(ALSO_ALLOWED, "").split(os.pathsep) if each]
    if not any(each == resolved or each in resolved.parents for each in (root, *lent)):
        raise PathOutsideDataFolder(text, field)
    return resolved


_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes; Linux's NAME_MAX and PATH_MAX


def _possible(text: str) -> bool:
    """Whether a file system could hold such a path at all; asking it about another raises instead of answering."""
    try:
        whole = os.fsencode(text)
    except UnicodeEncodeError:
        return False
    longest = max(len(name) for name in whole.split(b"/"))
    return b"\0" not in whole and longest <= _LONGEST_NAME and len(whole) <= _LONGEST_PATH


def create(data_dir: Path) -> None:
    """Make the data folder and its parts; those of the store and of the processes' logs are for this user alone."""
    for name in (DATASETS, MODELS, LORAS, JOBS):
        (data_dir / name).mkdir(parents=True, exist_ok=True)
    for name in (STORE, LOGS):
        (data_dir / name).mkdir(mode=0o700, exist_ok=True)
        (data_dir / name).chmod(0o700)


def job_dir(data_dir: Path, task_id: str) -> Path:
    """The folder of one task: its snapshot, its log, what it made."""
    return data_dir / JOBS / task_id


def stored_token(data_dir: Path) -> str:
    """The administrator's token of a deployment on this machine; empty when there is none that may be read."""
    try:
        return (data_dir / "token").read_text().strip()
    except OSError:
        return ""
