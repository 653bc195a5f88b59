"""Calls about what users have and use: tasks that wait and run, seconds of instances today (UTC)."""

from __future__ import annotations

from dataclasses import dataclass

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
