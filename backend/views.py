"""What the gateway answers and the client reads, typed. Plain data: importing this costs nothing.

Times are seconds since the epoch, durations seconds, sizes bytes. Readers ignore keys they do not know, so that a
newer gateway may say more.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

V = TypeVar("V")


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
    """One task. `position` 1 is next to start, null unless it waits; `command` is the payload as a shell line."""

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
class FileList:
    """Files in the order in which they were written."""

    files: list[FileView]


@dataclass(frozen=True, slots=True)
class ModelView:
    """A base model of the data folder. `pipeline` names a diffusers class, '' for a single file."""

    name: str
    path: str
    pipeline: str
    size: int


@dataclass(frozen=True, slots=True)
class LoraView:
    """A LoRA of the data folder; what its file does not say is empty. `task` made it, where that is known."""

    name: str
    path: str
    size: int
    modified: float
    rank: int | None = None
    base_model: str = ""
    task: str = ""
    epoch: int | None = None
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class ModelList:
    """What a query may name; LoRAs newest first."""

    models: list[ModelView]
    loras: list[LoraView]


@dataclass(frozen=True, slots=True)
class GenerationView:
    """What a query has drawn. `images` are links or base64, `files` paths in the data folder."""

    images: list[str]
    seeds: list[int]
    seconds: float
    parameters: dict[str, Any]
    files: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class VitalsView:
    """How an instance's machine and GPU fare; loads are shares of one. Without a GPU `gpu` is empty."""

    cpu_load: float
    memory_used: int
    memory_total: int
    gpu: str = ""
    gpu_load: float | None = None
    gpu_memory_used: int | None = None
    gpu_memory_total: int | None = None


@dataclass(frozen=True, slots=True)
class InstanceView:
    """One instance; `lease_left` is how long it may stay silent before it counts as gone."""

    id: str
    service: str
    state: str
    slots: int
    tasks: list[str]
    created_at: float
    ready_at: float | None = None
    idle_since: float | None = None
    device: str = ""
    loaded: list[str] = field(default_factory=list)
    host: str = ""
    pid: int | None = None
    completed: int = 0
    reason: str = ""
    lease_left: float = 0.0
    vitals: VitalsView | None = None


@dataclass(frozen=True, slots=True)
class InstanceList:
    """Instances that are not gone."""

    instances: list[InstanceView]


@dataclass(frozen=True, slots=True)
class ServiceView:
    """One service. `min` and `max` are its bounds of instances; `token` is shown to the administrator only.

    `trouble` is why no instance comes up, empty when nothing is wrong.
    """

    name: str
    type: str
    state: str
    created_at: float
    min: int
    max: int
    waiting: int
    running: int
    instances: int
    description: dict[str, Any]
    token: str | None = None
    warnings: list[str] = field(default_factory=list)
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class ServiceList:
    """Services by name."""

    services: list[ServiceView]


@dataclass(frozen=True, slots=True)
class InfoView:
    """What one is talking to. `trainer` is `built-in` or `sd-scripts`; `accounts`: whether there are any."""

    version: str
    data_dir: str
    services: list[str]
    trainer: str
    accounts: bool = False


@dataclass(frozen=True, slots=True)
class LimitsView:
    """What an account may have at once, and use in a day (UTC); null: no limit."""

    running: int | None = None
    queued: int | None = None
    gpu_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class AccountUsage:
    """What an account has at present, and the GPU-seconds that it has used today (UTC)."""

    running: int = 0
    queued: int = 0
    gpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account. `name` is empty for the deployment's and services' own tokens; `services` is null: all.

    `commands`: whether its tasks may be any command. `password`: whether it can log in with one.
    """

    name: str
    role: str
    limits: LimitsView
    usage: AccountUsage
    services: list[str] | None = None
    commands: bool = False
    disabled: bool = False
    password: bool = False
    created_at: float | None = None


@dataclass(frozen=True, slots=True)
class AccountList:
    """Accounts by name."""

    users: list[AccountView]


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token of an account. `token` is the secret itself, and there in the answer that made it alone.

    `kind` is `session` for one that a login made. `services` is what it narrows its account to, null: nothing.
    """

    id: str
    name: str
    kind: str
    created_at: float
    expires_at: float | None = None
    used_at: float | None = None
    services: list[str] | None = None
    current: bool = False
    token: str | None = None


@dataclass(frozen=True, slots=True)
class TokenList:
    """Tokens, newest first."""

    tokens: list[TokenView]


@dataclass(frozen=True, slots=True)
class SessionView:
    """A login: the token of the session, whose it is, and until when."""

    token: str
    user: str
    role: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class AccessView:
    """What may be done with paths of the data folder: `change`, `read` or `none`; and whose they are, where known."""

    access: dict[str, str]
    owners: dict[str, str]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who (`who`, empty: the deployment's or a service's token, which `role` tells) did what to what, from where.

    `status` is what was answered: 401 and 403 are what was refused.
    """

    id: str
    at: float
    who: str
    role: str
    did: str
    to: str
    source: str
    status: int


@dataclass(frozen=True, slots=True)
class AuditList:
    """Entries, newest first; `next` is where to go on, null at the end."""

    entries: list[AuditEntry]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class InitLogView:
    """What an instance printed while it prepared itself for its first task; both empty where none ever did."""

    instance: str
    lines: list[str]


@dataclass(frozen=True, slots=True)
class DecisionList:
    """Scaling decisions, newest first."""

    decisions: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class MomentView:
    """How many tasks waited and ran and how many instances there were from `at` on, until the next moment."""

    at: float
    waiting: int
    running: int
    starting: int
    idle: int
    busy: int
    draining: int


@dataclass(frozen=True, slots=True)
class HistoryView:
    """Moments, oldest first; `now` is the store's clock."""

    now: float
    moments: list[MomentView]


@dataclass(frozen=True, slots=True)
class SpentView:
    """Seconds of instances, a GPU or CPU slot each, that a user has had.

    `run` for their tasks, `boot` for starts that their task came first to, `idle` after their task.
    """

    user: str
    run: float
    boot: float
    idle: float


@dataclass(frozen=True, slots=True)
class UsageView:
    """What each user has had since the service was deployed, the largest first."""

    users: list[SpentView]


@dataclass(frozen=True, slots=True)
class ErrorView:
    """Why something was refused or failed. `field` is the argument or form field that is wrong."""

    error: str
    message: str
    field: str | None = None


def read(view: type[V], values: Mapping[str, Any]) -> V:
    """A view from its JSON object.

    Raises:
        TypeError: a field without a default is missing.
    """
    hints = get_type_hints(view)
    names = {item.name for item in dataclasses.fields(view)}  # type: ignore[arg-type]
    return view(**{name: _value(hints[name], value) for name, value in values.items() if name in names})


def _value(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not types.NoneType)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return read(hint, value)
    if get_origin(hint) is list:
        inner = get_args(hint)[0]
        return [_value(inner, item) for item in value]
    if get_origin(hint) is tuple:
        return tuple(value)
    return value


def as_json(view: Any) -> dict[str, Any]:
    """A view as a JSON object."""
    return dataclasses.asdict(view)
