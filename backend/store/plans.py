"""Calls about what is expected of waiting tasks. A plan goes, in the store, when its task stops waiting."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.store.call import Call, command, script
from backend.store.keys import key


@dataclass(frozen=True, slots=True)
class Plan:
    """When a waiting task is expected to start. `position` 1 is next; the time is seconds since the epoch."""

    position: int
    expected_start: float | None


def save(plans: Mapping[str, Plan], service: str) -> Call[int]:
    """Write the plans of some tasks; of those that do not wait any more nothing is written."""
    parts = [
        part
        for task, plan in plans.items()
        for part in (task, f"[{plan.position},{json.dumps(plan.expected_start)}]")
    ]
    return script("plan", service, *parts).then(int)


def of(service: str, tasks: Sequence[str]) -> Call[list[Plan | None]]:
    """The plans of some tasks, in their order; None for one that has none. `tasks` must not be empty."""
    return command("HMGET", key("plan", service), *tasks).then(
        lambda answer: [Plan(*json.loads(text)) if text else None for text in answer]
    )


def count(service: str) -> Call[int]:
    """How many tasks have one."""
    return command("HLEN", key("plan", service)).then(int)
