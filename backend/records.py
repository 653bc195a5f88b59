"""What a running program says about itself: one JSON object a line on the descriptor in `PROGRESS_FD`.

Any program may write these; the built-in trainer does. A consumer of kohya consoles makes the same records,
so that whatever ran, the queue, the page and the command line see one shape.

    {"type": "phase",    "name": "caching latents"}
    {"type": "progress", "step": 12, "total": 300, "epoch": 1, "epochs": 5, "loss": 0.08, "lr": 0.001,
                         "seconds_per_step": 0.11, "eta": 31.7}
    {"type": "file",     "kind": "sample", "path": "/data/…/x.png", "step": 100, "epoch": 2,
                         "label": "a red circle"}
    {"type": "failed",   "reason": "loss is NaN since step 40"}
    {"type": "result",   "output": "/data/…/name.safetensors", "steps": 300}

Unknown keys are ignored by readers, so that writers may say more.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

PROGRESS_FD = "PROGRESS_FD"
"""Name of the environment variable that holds the number of the descriptor."""

FileKind: TypeAlias = Literal["sample", "checkpoint", "state", "lora", "other"]
FILE_KINDS: tuple[FileKind, ...] = ("sample", "checkpoint", "state", "lora", "other")


@dataclass(frozen=True, slots=True)
class Phase:
    """What the program is doing when it is not stepping, in words for a person."""

    name: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is. Steps count from the run's very first start, over every resume.

    `loss` is the one of this step; `seconds_per_step` a recent average; `eta` seconds to the end.
    """

    step: int
    total: int
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    lr: float | None = None
    seconds_per_step: float | None = None
    eta: float | None = None


@dataclass(frozen=True, slots=True)
class FileWritten:
    """A file that is complete on disk. `label` is the prompt of a sample."""

    kind: FileKind
    path: str
    step: int | None = None
    epoch: int | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The true reason of a failure, in one line."""

    reason: str


@dataclass(frozen=True, slots=True)
class Result:
    """The program says it has done what it was asked, and which file proves it."""

    output: str
    steps: int | None = None


Record: TypeAlias = Phase | Progress | FileWritten | Failed | Result

_TYPES: dict[str, type[Phase] | type[Progress] | type[FileWritten] | type[Failed] | type[Result]] = {
    "phase": Phase,
    "progress": Progress,
    "file": FileWritten,
    "failed": Failed,
    "result": Result,
}
_NAMES = {cls: name for name, cls in _TYPES.items()}


def to_dict(record: Record) -> dict[str, Any]:
    """The record as plain JSON values, `type` first, without what is None; NaN and infinities become None."""
    values = {"type": _NAMES[type(record)]}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, float) and not math.isfinite(value):
            value = None
        if value is not None:
            values[field.name] = value
    return values


def encode(record: Record) -> str:
    """One line of JSON, without the newline."""
    return json.dumps(to_dict(record), ensure_ascii=False, separators=(",", ":"))


def decode(line: str | bytes) -> Record | None:
    """The record of a line, or None when it is not one (a foreign program may write anything)."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return from_dict(values) if isinstance(values, dict) else None


def from_dict(values: dict[str, Any]) -> Record | None:
    """The record of a JSON object; None when its type is unknown or a value does not fit."""
    cls = _TYPES.get(str(values.get("type")))
    if cls is None:
        return None
    wanted = {field.name: values[field.name] for field in dataclasses.fields(cls) if field.name in values}
    try:
        record = cls(**wanted)
    except TypeError:
        return None
    return record if _fits(record) else None


_INTS = frozenset({"step", "total", "epoch", "epochs", "steps"})
_FLOATS = frozenset({"loss", "lr", "seconds_per_step", "eta"})


def _fits(record: Record) -> bool:
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if value is None:
            if field.default is dataclasses.MISSING:
                return False
            continue
        if field.name in _INTS:
            good = isinstance(value, int) and not isinstance(value, bool)
        elif field.name in _FLOATS:
            good = isinstance(value, int | float) and not isinstance(value, bool)
        elif field.name == "kind":
            good = value in FILE_KINDS
        else:
            good = isinstance(value, str)
        if not good:
            return False
    return True
