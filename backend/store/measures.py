"""Calls about what a service's pool has done so far: counters and histograms for Prometheus.

Transitions are counted by the scripts that make them (`scripts/lib/measures.lua`), in the same step; what only a
supervisor can measure, it adds with `observe`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.store.call import Argument, Call, command, script
from backend.store.keys import key

Observation = tuple[str, float]
"""Name of a histogram, seconds."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observations by bucket: (upper bound in seconds, how many were not over it), the bounds rising to infinity."""

    buckets: tuple[tuple[float, int], ...]
    sum: float

    @property
    def count(self) -> int:
        """How many there were."""
        return self.buckets[-1][1] if self.buckets else 0

    def quantile(self, q: float) -> float | None:
        """The `q`-quantile in seconds, linear within its bucket as Prometheus has it; None without any."""
        rank, low, below = q * self.count, 0.0, 0
        for high, upto in self.buckets:
            if upto and upto >= rank:
                if math.isinf(high):
                    return low
                return low + (high - low) * (rank - below) / (upto - below) if upto > below else low
            low, below = high, upto
        return None

    def since(self, earlier: Histogram | None) -> Histogram:
        """What came after `earlier`, an older reading of the same histogram."""
        before = dict(earlier.buckets) if earlier else {}
        start, then = 0, []
        for high, upto in self.buckets:
            start = max(start, before.get(high, start))
            then.append((high, upto - start))
        return Histogram(tuple(then), self.sum - (earlier.sum if earlier else 0.0))


@dataclass(frozen=True, slots=True)
class Measures:
    """Everything measured of one service since it was deployed.

    Histograms, in seconds: `wait` from a put to its first start, `claim` from the assignment to an instance to its
    start there, `boot` from the order of an instance to its being ready, `reaction` from an event to the end of the
    pass that dealt with it, `pass` the length of passes. `attempts` counts by outcome. `spent` maps (what, user) to
    seconds of instances: `run`, `boot` (for whoever had the instance first) and `idle` (for whoever had it last).
    """

    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    attempts: Mapping[str, int] = field(default_factory=dict)
    spent: Mapping[tuple[str, str], float] = field(default_factory=dict)


def observe(service: str, observations: Sequence[Observation]) -> Call[Any]:
    """Add to histograms."""
    flat: list[Argument] = [part for pair in observations for part in pair]
    return script("observe", service, *flat)


def read(service: str) -> list[Call[Any]]:
    """The two reads that `assemble` makes measures of."""
    return [command("HGETALL", key("measures", service)), command("HGETALL", key("spent", service))]


def assemble(answers: Sequence[Any]) -> Measures:
    """Measures from the answers to `read`."""
    counted, spent = (_pairs(answer) for answer in answers)
    buckets: dict[str, dict[float, int]] = {}
    sums: dict[str, float] = {}
    attempts: dict[str, int] = {}
    for name, value in counted.items():
        kind, _, rest = name.partition("|")
        if kind == "bucket":
            histogram, _, bound = rest.partition("|")
            buckets.setdefault(histogram, {})[float(bound)] = int(value)
        elif kind == "sum":
            sums[rest] = float(value)
        elif kind == "count":
            attempts[rest] = int(value)
    return Measures(
        histograms={name: _cumulated(found, sums.get(name, 0.0)) for name, found in buckets.items()},
        attempts=attempts,
        spent={(what, user): float(s) for (what, _, user), s in _split(spent).items()},
    )


def _cumulated(buckets: Mapping[float, int], total: float) -> Histogram:
    count, rising = 0, []
    for bound in sorted({*buckets, *BOUNDS, math.inf}):
        count += buckets.get(bound, 0)
        rising.append((bound, count))
    return Histogram(tuple(rising), total)


BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200)
"""Upper bounds of the buckets in seconds, those of `measures.lua`."""


def _pairs(answer: Any) -> dict[str, str]:
    pairs = answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
    return {name.decode("utf-8", "replace"): value.decode() for name, value in pairs}


def _split(fields: Mapping[str, str]) -> dict[tuple[str, str, str], str]:
    return {name.partition("|"): value for name, value in fields.items()}
