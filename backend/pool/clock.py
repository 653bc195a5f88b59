"""What tells a pool the time: the `time` module, or a virtual clock that a test moves."""

from __future__ import annotations

import time as _time
from typing import Protocol


class Clock(Protocol):
    """The two clocks that a pool looks at."""

    def time(self) -> float:
        """Seconds since the epoch, as the store's clock has them."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""


class SystemClock:
    """The machine's clocks."""

    def time(self) -> float:
        return _time.time()

    def monotonic(self) -> float:
        return _time.monotonic()
