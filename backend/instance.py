"""An instance: one worker that runs tasks in a loop, and the states it may pass through.

    starting ──▶ idle ⇄ busy ──▶ draining ──▶ gone
        └──────────┴──────┴──────────────────────▲

`starting` has a deadline; `idle`, `busy` and `draining` live as long as their lease; `gone` is final.
Draining is neither capacity nor killable: it takes nothing new and ends when what it runs has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class InstanceState(StrEnum):
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    GONE = "gone"


INSTANCE_TRANSITIONS: dict[InstanceState, frozenset[InstanceState]] = {
    InstanceState.STARTING: frozenset({InstanceState.IDLE, InstanceState.DRAINING, InstanceState.GONE}),
    InstanceState.IDLE: frozenset({InstanceState.BUSY, InstanceState.DRAINING, InstanceState.GONE}),
    InstanceState.BUSY: frozenset({InstanceState.IDLE, InstanceState.DRAINING, InstanceState.GONE}),
    InstanceState.DRAINING: frozenset({InstanceState.GONE}),
    InstanceState.GONE: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Place:
    """A process on a host, named so that a reused pid is never taken for it.

    `started_at` is the process's start time as the operating system gives it: see `processes.start_time`.
    """

    host: str
    pid: int
    started_at: float


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance as the store knows it. Times are seconds since the epoch, by the store's clock.

    `slots` is how many query tasks it takes at once (a command task takes all of it); `tasks` what it has
    been given; `loaded` what models it holds warm, `load_seconds` how long another takes, 0 where that is not
    known; `device` the accelerator or CPU slot it was given on `host`;
    `launcher` who started it; `version` that of the description it was started by, empty when it did not say;
    `unfit` says that it takes no tasks at present, for `reason`; `preparation` the seconds that its
    service gives it beyond the usual to come up; `run_group` the process group of what it runs, with
    the start time of that group's leader; `vitals` how its machine and device fare, empty until it has said.
    """

    id: str
    service: str
    state: InstanceState
    created_at: float
    slots: int = 1
    tasks: tuple[str, ...] = ()
    ready_at: float | None = None
    idle_since: float | None = None
    place: Place | None = None
    device: str = ""
    loaded: tuple[str, ...] = ()
    load_seconds: float = 0.0
    launcher: str = "local"
    host: str = ""
    lease_left: float = 0.0
    reason: str = ""
    completed: int = 0
    version: str = ""
    unfit: bool = False
    run_group: int = 0
    run_started_at: float = 0.0
    draining_since: float | None = None
    preparation: float = 0.0
    vitals: Mapping[str, Any] = field(default_factory=dict)
