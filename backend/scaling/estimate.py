"""Expected run times from what has finished: per kind of work, then per model, then all."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Sequence
from typing import Any, Self

CAUTION = 0.8
"""The quantile that is taken for what is left of a running task."""


class Durations:
    """The last `size` durations in seconds, in order of size: a running median, and what is left of one under way."""

    def __init__(self, values: Sequence[float] = (), size: int = 200) -> None:
        self._size = size
        self._order: deque[float] = deque()
        self._sorted: list[float] = []
        for value in values:
            self.add(value)

    def __len__(self) -> int:
        return len(self._order)

    def add(self, seconds: float) -> None:
        if len(self._order) == self._size:
            del self._sorted[bisect_right(self._sorted, self._order.popleft()) - 1]
        self._order.append(seconds)
        insort(self._sorted, seconds)

    @property
    def median(self) -> float | None:
        return self._sorted[len(self._sorted) // 2] if self._sorted else None

    def remaining(self, elapsed: float) -> float | None:
        """What is left after `elapsed` seconds in most of the cases that took longer; None if none ever did.

        On the safe side of the median, because a plan that relies on it must not fail every second time.
        """
        first = bisect_right(self._sorted, elapsed)
        longer = len(self._sorted) - first
        return self._sorted[first + int(longer * CAUTION)] - elapsed if longer else None

    def to_json(self) -> list[float]:
        return list(self._order)


class Estimator:
    """Run times by key, from the most special to the most general, such as `("sd15", "30 steps")`.

    A key with fewer than `enough` finished tasks gives way to its prefix. At most `keys` of them are kept, the ones
    used last.
    """

    def __init__(self, enough: int = 3, keys: int = 1000) -> None:
        self._enough = enough
        self._keys = keys
        self._by_key: dict[tuple[str, ...], Durations] = {}

    def finished(self, key: Sequence[str], seconds: float) -> None:
        """Note that a task of `key` ran for `seconds`."""
        for depth in range(len(key) + 1):
            prefix = tuple(key[:depth])
            durations = self._by_key.pop(prefix, None) or Durations()
            durations.add(seconds)
            self._by_key[prefix] = durations
        while len(self._by_key) > self._keys:
            del self._by_key[next(k for k in self._by_key if k)]

    def expected(self, key: Sequence[str]) -> float | None:
        """The expected run time of a task of `key`, in seconds; None until something has finished."""
        durations = self._best(key)
        return durations.median if durations else None

    def remaining(self, key: Sequence[str], elapsed: float) -> float | None:
        """The expected rest of one that has run for `elapsed` seconds; None if none ever ran so long."""
        durations = self._best(key)
        return durations.remaining(elapsed) if durations else None

    def _best(self, key: Sequence[str]) -> Durations | None:
        for depth in range(len(key), -1, -1):
            durations = self._by_key.get(tuple(key[:depth]))
            if durations and (len(durations) >= self._enough or not depth):
                return durations
        return None

    def to_json(self) -> list[Any]:
        return [[list(key), durations.to_json()] for key, durations in self._by_key.items()]

    @classmethod
    def from_json(cls, data: Sequence[Any]) -> Self:
        """Read what `to_json` wrote."""
        estimator = cls()
        for key, values in data:
            estimator._by_key[tuple(key)] = Durations(values)
        return estimator
