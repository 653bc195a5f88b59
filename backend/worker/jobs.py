"""The function that the RQ job of every task names."""

from __future__ import annotations

from collections.abc import Callable

_runner: list[Callable[[str], None]] = []


def set_runner(runner: Callable[[str], None]) -> None:
    """Say who runs tasks in this process."""
    _runner[:] = [runner]


def run_task(task_id: str) -> None:
    """Run one task in the instance that this process is.

    Raises:
        RuntimeError: this process is no instance; start one with `lorapool worker`, not with `rq worker`.
    """
    if not _runner:
        raise RuntimeError("tasks run on instances of lorapool; start one with `lorapool worker`")
    _runner[0](task_id)
