"""What an instance has in hand while a task comes back to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from backend.settings import Settings
from backend.store.connection import Store
from backend.worker.runs import Runs


def runs() -> Runs:
    nowhere = Path("/nowhere")
    return Runs(
        cast(Store, None),
        cast(Settings, None),
        instance="i",
        service="s",
        plain_template=nowhere,
        training_template=nowhere,
        lost=lambda: False,
    )


class Endless:
    """A run whose work is whatever a test does meanwhile."""

    def __init__(self, meanwhile: Any) -> None:
        self.work = meanwhile

    def wish(self, wanted: str | None) -> None:
        pass


class Task:
    id, kind, cancel, attempt, user = "t", "query", None, 1, ""


def test_a_task_that_came_back_is_at_work_until_its_last_attempt_is_closed() -> None:
    hand = runs()
    second = hand.at_work("t")
    with hand.at_work("t"):
        # the next attempt begins in another slot before the books on the first one are closed
        second.__enter__()
    assert hand.busy
    second.__exit__(None, None, None)
    assert not hand.busy


def test_the_end_of_an_attempt_leaves_the_next_one_in_hand() -> None:
    hand, later = runs(), Endless(lambda: None)

    def come_back() -> None:
        # its task has gone back and begun again here before this attempt is out of hand
        hand._runs["t"] = cast(Any, later)

    hand._work(cast(Any, Task), cast(Any, Endless(come_back)))
    assert hand.present() == {"t": later}
