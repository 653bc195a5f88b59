"""Why an account's tasks wait, in words."""

from __future__ import annotations

import pytest

from backend.accounts import Limits
from backend.accounts.account import over


@pytest.mark.parametrize(
    ("limits", "running", "seconds", "who", "said"),
    [
        (Limits(), 9, 9e9, "you", ""),
        (Limits(running=2), 1, 0.0, "you", ""),
        (Limits(running=2), 2, 0.0, "you", "you have 2 of 2 tasks running"),
        (Limits(running=2), 3, 0.0, "ana", "ana has 3 of 2 tasks running"),
        (Limits(gpu_seconds=60), 2, 59.9, "ana", ""),
        (
            Limits(running=1, gpu_seconds=60),
            1,
            61.2,
            "ana",
            "ana has used 61 of 60 GPU-seconds today; goes on at midnight UTC",
        ),
    ],
)
def test_over_a_limit(limits: Limits, running: int, seconds: float, who: str, said: str) -> None:
    assert over(limits, running, seconds, who) == said
