"""Calls of a scheduling pass: which tasks there are to be scheduled, and what is needed of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from backend import records
from backend.records import Progress
from backend.store.call import Call, script
from backend.task import Kind, TaskState


@dataclass(slots=True)
class Brief:
    """What a scheduling pass needs of a task: everything but its payload and its history.

    `last_instance` is the one that handed a waiting task back. Nobody changes one; frozen it would take twice as long
    to make, and thousands are made at once.
    """

    id: str
    state: TaskState
    kind: Kind
    index: int
    created_at: float
    user: str
    priority: int
    instance: str
    attempt: int
    started_at: float | None
    assigned_at: float | None
    progress: Progress | None
    details: dict[str, Any]
    last_instance: str = ""


_FIELDS = (
    *("state", "kind", "index", "created_at", "user", "priority"),
    *("instance", "attempt", "started_at", "assigned_at", "progress", "details", "last_instance"),
)
_STATES = {state.value: state for state in TaskState}


def brief(task: str) -> Call[Brief | None]:
    """One task; None when it is unknown."""
    return briefs([task]).then(lambda found: found[0])


def briefs(of: Sequence[str]) -> Call[list[Brief | None]]:
    """Many tasks, in the order of their ids; None for those that are unknown."""

    def read(answer: bytes) -> list[Brief | None]:
        found = json.loads(answer.decode("utf-8", "replace"))
        return [_brief(task, values) for task, values in zip(of, found, strict=True)]

    return script("briefs", len(_FIELDS), *_FIELDS, *of).then(read)


def _brief(task: str, values: Sequence[str | Literal[False]]) -> Brief | None:
    state, kind, index, created_at, user, priority, *rest = cast(Sequence[str], values)
    instance, attempt, started_at, assigned_at, progress, details, last_instance = rest
    if not state:
        return None
    said = records.decode(progress) if progress else None
    return Brief(
        task,
        _STATES[state],
        cast(Kind, kind),
        int(index),
        float(created_at),
        user or "",
        int(priority or 0),
        instance or "",
        int(attempt or 0),
        float(started_at) if started_at else None,
        float(assigned_at) if assigned_at else None,
        said if isinstance(said, Progress) else None,
        json.loads(details) if details and details != "{}" else {},
        last_instance or "",
    )


@dataclass(frozen=True, slots=True)
class Look:
    """Ids of a service's tasks: those that wait, in the order of the RQ queue, and those that instances hold."""

    waiting: list[str]
    active: list[str]


def look(service: str) -> Call[Look]:
    """What there is to be scheduled."""

    def read(answer: bytes) -> Look:
        found = json.loads(answer)
        return Look(list(found["waiting"]), list(found["active"]))

    return script("look", service).then(read)
