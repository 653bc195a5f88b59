"""Calls about what users have and use: tasks that wait and run, seconds of instances today (UTC)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from backend.accounts import Limits
from backend.store.call import Call, script


@dataclass(frozen=True, slots=True)
class Usage:
    """Tasks of all services, and GPU-seconds since midnight with those of what runs."""

    running: int = 0
    queued: int = 0
    gpu_seconds: float = 0.0


def of(user: str) -> Call[Usage]:
    """What one user has and uses."""

    def read(answer: list[bytes]) -> Usage:
        return Usage(int(answer[0]), int(answer[1]), float(answer[2]))

    return script("usage", user).then(read)


def held_up(users: Sequence[str]) -> Call[dict[str, tuple[Usage, Limits]]]:
    """What those of these users have and use that have limits for it; `users` must not be empty."""

    def read(answer: bytes) -> dict[str, tuple[Usage, Limits]]:
        return {
            user: (Usage(running, gpu_seconds=seconds), Limits(running=most, gpu_seconds=most_seconds))
            for user, running, most, seconds, most_seconds in json.loads(answer)
        }

    return script("held_up", *users).then(read)


def quotas(service: str) -> Call[dict[str, int]]:
    """The most tasks that accounts with limits may run in a service, with what they run elsewhere taken off.

    0 for who has used up the day's GPU-seconds.
    """
    return script("quotas", service).then(lambda answer: dict(json.loads(answer)))
