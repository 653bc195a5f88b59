"""One task, lists of them, what they log, measure and write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One delivery of a task to an instance. `outcome` is null while it runs."""

    number: int
    instance: str
    started_at: float
    ended_at: float | None = None
    outcome: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ProgressView:
    """Where a run is; see `backend.records.Progress`."""

    step: int
    total: int
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    lr: float | None = None
    seconds_per_step: float | None = None
    eta: float | None = None


@dataclass(frozen=True, slots=True)
class TaskView:
    """One task. `position` 1 is next to start, null unless it waits; `command` is the payload as a shell line.

    `waits_for` says what keeps a waiting task although its turn may have come: a limit of its user, a paused
    service, a disk that is too full.
    """

    id: str
    service: str
    index: int
    request_id: str
    kind: str
    name: str
    user: str
    priority: int
    state: str
    reason: str
    phase: str
    position: int | None
    expected_start: float | None
    created_at: float
    assigned_at: float | None
    started_at: float | None
    finished_at: float | None
    attempt: int
    attempts: list[AttemptView]
    instance: str
    progress: ProgressView | None
    exit_code: int | None
    cancel: str | None
    output: str
    tags: dict[str, str]
    command: str
    argv: list[str] | None
    details: dict[str, Any]
    log_lines: int
    waits_for: str = ""

    @property
    def final(self) -> bool:
        """Whether it has ended, one way or another."""
        return self.state in ("succeeded", "failed", "cancelled", "dead")


@dataclass(frozen=True, slots=True)
class TaskList:
    """Tasks, newest first."""

    tasks: list[TaskView]


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines as [number, text], numbers from 1; `next` is what to ask for after them, `total` how many there are."""

    lines: list[tuple[int, str]]
    next: int
    total: int


@dataclass(frozen=True, slots=True)
class ScalarPage:
    """Points of the curve: objects with `n` (number, from 1), `step`, `loss`, `lr`, …"""

    points: list[dict[str, float | int | None]]
    next: int


@dataclass(frozen=True, slots=True)
class FileView:
    """A file that a task wrote; `path` is relative to its job folder; `size` is null when it is gone."""

    kind: str
    path: str
    step: int | None = None
    epoch: int | None = None
    label: str | None = None
    size: int | None = None
    modified: float | None = None


@dataclass(frozen=True, slots=True)
class RoomPart:
    """What a task's folders hold of one kind: `loras`, `pictures`, `states`, `logs` or `jobs` (all else)."""

    kind: str
    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class RoomView:
    """What a task has left on the disk. `lora` is its finished LoRA in `loras/`, '' when there is none.

    What is both in the job folder and the finished LoRA counts as `lora_bytes` alone: it takes room once.
    """

    parts: list[RoomPart]
    lora: str = ""
    lora_bytes: int = 0

    @property
    def bytes(self) -> int:
        """Of its folders, without the finished LoRA."""
        return sum(part.bytes for part in self.parts)


@dataclass(frozen=True, slots=True)
class FileList:
    """Files in the order in which they were written."""

    files: list[FileView]
