"""Starts that nobody carries out: an order that was noted, and whose supervisor ended before its launcher had it.

Pure: what the launcher and the store say of each start is given, and the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

JUST_NOW = 10.0
"""Seconds in a row for which a start must have been looked for in vain.

Long enough for what an engine was asked to show itself, and for another supervisor that still leads to have ordered
what it has just noted.
"""


@dataclass
class LostStarts:
    """Since when each start has been looked for in vain, in seconds of one clock."""

    since: dict[str, float] = field(default_factory=dict)

    def judge(self, starts: Mapping[str, bool], now: float) -> set[str]:
        """Which starts are lost. `starts` are all there are, and whether anything of each may exist."""
        absent = [name for name, there in starts.items() if not there]
        self.since = {name: self.since.get(name, now) for name in absent}
        return {name for name in absent if now - self.since[name] >= JUST_NOW}
