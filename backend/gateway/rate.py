"""Requests per second of one service: a token bucket."""

from __future__ import annotations

from dataclasses import dataclass

from backend.errors import LorapoolError


class RateLimited(LorapoolError):
    """More requests than the service takes."""

    status = 429


@dataclass(slots=True)
class Bucket:
    """Holds up to one second's worth of requests. Pure: the caller brings the time."""

    tokens: float
    filled_at: float

    def take(self, rate: float, now: float) -> bool:
        """Whether one more request fits a limit of `rate` a second."""
        self.tokens = min(max(rate, 1.0), self.tokens + (now - self.filled_at) * rate)
        self.filled_at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True
