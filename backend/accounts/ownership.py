"""Whose a file of the data folder is.

Data sets, LoRAs, job folders and outputs have owners; what is below one is its owner's too. A data set or LoRA
without an owner is everybody's to read; a job folder without one is the operators' alone. Models are everybody's.
Nothing else of the data folder is anybody's but an administrator's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from backend.accounts.account import Role
from backend.accounts.rights import Caller
from backend.paths import DATASETS, JOBS, LORAS, MODELS

OUTPUTS = "outputs"
SHARED = (DATASETS, LORAS)
"""Folders of which what has no owner is everybody's to read."""

Owners = Mapping[str, str]
"""Place (`datasets/cats`, `loras/x.safetensors`, `jobs/<task>`) -> the account's name."""


def place(path: str) -> str:
    """The place that decides about a path of the data folder, '' when it is none that has an owner."""
    parts = PurePosixPath(path).parts
    if len(parts) < 2 or ".." in parts or parts[0] not in (DATASETS, LORAS, JOBS, OUTPUTS):
        return ""
    top = JOBS if parts[0] == OUTPUTS else parts[0]
    return f"{top}/{parts[1]}"


def may_read(caller: Caller, path: str, owners: Owners) -> bool:
    """Whether a path, relative to the data folder and with its links resolved, is this one's to read."""
    if caller.role is Role.ADMIN:
        return True
    parts = PurePosixPath(path).parts
    if parts[:1] == (MODELS,) and ".." not in parts:
        return True
    found = place(path)
    owner = owners.get(found, "")
    return bool(found) and (owner == caller.user if owner else parts[0] in SHARED)


def may_change(caller: Caller, path: str, owners: Owners) -> bool:
    """The same for changing it: one's own, and nothing that is everybody's."""
    if caller.role is Role.ADMIN:
        return True
    found = place(path)
    return caller.writes and bool(found) and owners.get(found, "") == caller.user != ""
