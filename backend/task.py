"""A task: one item of a service's input queue, and the states it may pass through.

    waiting ──▶ assigned ──▶ running ──▶ succeeded | failed | cancelled | dead
       ▲            │           │
       └────────────┴───────────┘   its instance is gone, or handed it back

Cancelling ends a waiting or assigned task at once, a running one through its instance.

A final state never changes again. `waiting` ends by dispatch or cancellation; `assigned` has a deadline
after which the task goes back; `running` lives as long as the lease of its instance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from backend.records import Progress


class TaskState(StrEnum):
    WAITING = "waiting"
    ASSIGNED = "assigned"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"

    @property
    def final(self) -> bool:
        return not TRANSITIONS[self]


TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    TaskState.WAITING: frozenset({TaskState.ASSIGNED, TaskState.CANCELLED}),
    TaskState.ASSIGNED: frozenset({TaskState.RUNNING, TaskState.WAITING, TaskState.CANCELLED}),
    TaskState.RUNNING: frozenset(
        {TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.DEAD, TaskState.WAITING}
    ),
    TaskState.SUCCEEDED: frozenset(),
    TaskState.FAILED: frozenset(),
    TaskState.CANCELLED: frozenset(),
    TaskState.DEAD: frozenset(),
}
"""Every legal transition. The store's scripts make these and no others, which their tests hold against this table."""


Kind: TypeAlias = Literal["command", "query"]
KINDS: tuple[Kind, ...] = ("command", "query")

Stop: TypeAlias = Literal["stop", "save"]
"""How a running task is asked to end: now, or after it has saved its state."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One delivery of a task to an instance. Times are seconds since the epoch, by the store's clock."""

    number: int
    instance: str
    started_at: float
    ended_at: float | None = None
    outcome: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A task as the store knows it. Times are seconds since the epoch, by the store's clock.

    `index` is its place in the input queue of `service`; `request_id` what the queue protocol calls it.
    `argv` is set when the task was submitted as an argument list rather than as a shell command in `data`.
    `cancel` says that somebody asked a running task to end, and how. `deliveries` counts the attempts that ended
    without the task's having said how; `failure` is the reason that the program itself gave.
    """

    id: str
    service: str
    index: int
    kind: Kind
    state: TaskState
    created_at: float
    request_id: str = ""
    priority: int = 0
    user: str = ""
    name: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    argv: tuple[str, ...] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    path: str = ""
    attempt: int = 0
    deliveries: int = 0
    instance: str = ""
    assigned_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    reason: str = ""
    failure: str = ""
    exit_code: int | None = None
    cancel: Stop | None = None
    phase: str = ""
    progress: Progress | None = None
    output: str = ""
    attempts: tuple[Attempt, ...] = ()
    log_lines: int = 0
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        return self.state.final
