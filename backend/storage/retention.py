"""What is kept of what tasks leave behind, for how long and how much of it: pure.

    LORAPOOL_RETENTION="logs=90d,5GB pictures=180d states=14d,100GB jobs=0"

For each kind days, or bytes, or both; the oldest goes first. A kind that is not named, or is `0`, is kept for ever.
LoRA files, data sets and models belong to no kind: nothing here ever removes one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from backend.errors import InvalidArgument

_DAY = 86_400.0
_UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_PART = re.compile(r"(\d+(?:\.\d+)?)(d|[KMGT]?B)", re.IGNORECASE)
_FIELD = "LORAPOOL_RETENTION"

LORA_SUFFIXES = frozenset({".safetensors", ".ckpt", ".pt"})
PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif"})


class Kind(StrEnum):
    """Kinds of what is left behind: of tasks, and the logs of lorapool's own processes."""

    LOGS = "logs"
    PICTURES = "pictures"
    STATES = "states"
    JOBS = "jobs"


@dataclass(frozen=True, slots=True)
class Limit:
    """How much is kept; None is any amount. `age` in seconds, `size` in bytes."""

    age: float | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that may go: a file, or for a training's state its folder. `modified`: seconds since the epoch."""

    path: Path
    kind: Kind
    size: int
    modified: float


def limits(text: str) -> dict[Kind, Limit]:
    """Read the setting.

    Raises:
        InvalidArgument: it names no kind, or says what is neither days nor bytes.
    """
    found: dict[Kind, Limit] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        try:
            kind = Kind(name)
        except ValueError:
            known = ", ".join(Kind)
            raise InvalidArgument(_FIELD, f"{name!r} is no kind of file; they are {known}") from None
        found[kind] = _limit(value)
    return found


def _limit(value: str) -> Limit:
    age: float | None = None
    size: int | None = None
    for part in value.split(",") if value != "0" else ():
        match = _PART.fullmatch(part)
        if match is None:
            raise InvalidArgument(_FIELD, f"{part!r} is neither days (30d) nor a size (5GB)")
        number, unit = float(match[1]), match[2].upper()
        if unit == "D":
            age = number * _DAY
        else:
            size = int(number * _UNITS[unit])
    return Limit(age, size)


def kind_of(inside: PurePosixPath) -> Kind | None:
    """The kind of a file by its path in a job folder; None for what is never removed."""
    name = inside.name
    if any(part.endswith("-state") for part in inside.parts[:-1]):
        return Kind.STATES
    if inside.suffix.lower() in LORA_SUFFIXES:
        return None
    if inside.suffix.lower() in PICTURE_SUFFIXES:
        return Kind.PICTURES
    if name == "log.txt" or "tfevents" in name or inside.suffix == ".log":
        return Kind.LOGS
    return Kind.JOBS


def too_much(found: Iterable[Leftover], rules: Mapping[Kind, Limit], now: float) -> Iterator[Leftover]:
    """What goes: first what is too old, then the oldest of what is too much."""
    by_kind: dict[Kind, list[Leftover]] = {}
    for each in found:
        by_kind.setdefault(each.kind, []).append(each)
    for kind, rule in rules.items():
        total = 0
        # Newest first: what fits stays.
        for each in sorted(by_kind.get(kind, ()), key=lambda each: (-each.modified, str(each.path))):
            total += each.size
            old = rule.age is not None and now - each.modified > rule.age
            if old or (rule.size is not None and total > rule.size):
                yield each
