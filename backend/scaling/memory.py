"""What the rules remember from one pass to the next; JSON, so that a restarted supervisor goes on where it was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from backend.scaling.snapshot import Snapshot

ARRIVALS = 16
"""How many arrivals are remembered."""


@dataclass(frozen=True, slots=True)
class Memory:
    """`arrivals`: times of the newest tasks, oldest first.

    `above_since`, `below_since`, `empty_since`: since when, without a break, more instances were wanted than there
    are, fewer, and since when there was neither waiting nor running work (None: not now). `overtaken`: see
    `dispatch.Picks`.
    """

    arrivals: tuple[float, ...] = ()
    above_since: float | None = None
    below_since: float | None = None
    empty_since: float | None = None
    overtaken: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "arrivals": list(self.arrivals),
            "above_since": self.above_since,
            "below_since": self.below_since,
            "empty_since": self.empty_since,
            "overtaken": dict(self.overtaken),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote. Missing keys are as in a new memory."""
        return cls(
            arrivals=tuple(float(at) for at in data.get("arrivals", ())),
            above_since=data.get("above_since"),
            below_since=data.get("below_since"),
            empty_since=data.get("empty_since"),
            overtaken={str(task): int(n) for task, n in data.get("overtaken", {}).items()},
        )

    def observe(self, snapshot: Snapshot) -> Self:
        """Take note of tasks not seen before, and of whether there is any work."""
        newest = self.arrivals[-1] if self.arrivals else -math.inf
        running = [run.created_at for instance in snapshot.instances for run in instance.running]
        new = sorted([*snapshot.waiting.newest(newest, ARRIVALS), *(at for at in running if at > newest)])
        work = bool(snapshot.waiting or running)
        empty = None if work else (snapshot.now if self.empty_since is None else self.empty_since)
        if not new and empty == self.empty_since:
            return self
        return replace(self, arrivals=(*self.arrivals, *new)[-ARRIVALS:], empty_since=empty)
