"""How much memory the container that this runs in may still take. Linux's control groups, version 2 and 1. Bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_FILES = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)
_NO_LIMIT = 1 << 60


@dataclass(frozen=True, slots=True)
class Container:
    """`limit` is what it may take in all; `left` what of that is not taken, file caches not counted."""

    limit: int
    left: int


def container(groups: Path = _GROUPS) -> Container | None:
    """None where nothing is limited, or nobody says so."""
    for limit_file, used_file, details in _FILES:
        try:
            limit = int((groups / limit_file).read_text())  # "max" is no number
            used = int((groups / used_file).read_text())
            said = dict(line.split() for line in (groups / details).read_text().splitlines())
            cached = int(said.get("total_inactive_file", said.get("inactive_file", "0")))
        except (OSError, ValueError):
            continue
        if limit < _NO_LIMIT:
            return Container(limit, max(0, limit - max(0, used - cached)))
    return None
