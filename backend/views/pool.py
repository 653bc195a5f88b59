"""Services and instances, what is decided about them, how they fared and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
class InitLogView:
    """What an instance printed while it prepared itself for its first task; both empty where none ever did."""

    instance: str
    lines: list[str]


@dataclass(frozen=True, slots=True)
class ServiceView:
    """One service. `min` and `max` are its bounds of instances; `token` and `front_end_token` are shown to
    the administrator only.

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
    front_end_token: str | None = None
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
class ScalingView:
    """How many instances a service `wanted`, for the tasks that wait and run, within `min` and `max`."""

    service: str
    wanted: int
    waiting: int
    running: int
    min: int
    max: int


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
