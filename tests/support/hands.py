"""A clock that a test moves by hand."""

from __future__ import annotations


class Hands:
    """Both clocks of a `Clock`; they stand still until `now` is set."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now
