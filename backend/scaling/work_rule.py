"""Our own rule: instances for the work that waits, kept while arrivals come often enough to pay for it.

Out: a waiting task asks for a boot unless an instance that exists or is starting reaches it soon: within a part of
a cold start (`patience`). Boots under way are counted first. In: an idle instance is kept while the mean gap between
arrivals, the present silence included, is under a few cold starts (`keep`); each further idle instance, and every
few busy ones, only while they come that much more often again. The cold start is measured. One dial sets both.

Keeping an idle instance as long as a boot costs is the classical ski-rental bound (Lu & Chen, arXiv 1112.0442); the
rates of recent arrivals at several horizons say on which side of it the next gap probably lies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from backend.instance import InstanceState
from backend.scaling.fairness import Lines
from backend.scaling.memory import Memory
from backend.scaling.snapshot import Snapshot
from backend.scaling.timeline import Timeline, boot_end, slots_of
from backend.scaling.waiting import WaitingTask
from backend.scaling.wish import ASSUMED_COLD_START, Wish, plural

HORIZONS = (1, 2, 4, 8, 16)
STEP = 2.4
"""How much more often tasks must come for one idle instance more."""
BUSY_STEP = 1 / 3
"""What a busy instance weighs beside an idle one: it will be free for a later task."""
LONGEST_SILENCE = 3.0
"""Times the longest mean gap: a burst, however dense, is over after so long a silence."""
SHORTEST_RUN = 0.01
"""Seconds; no task takes less."""
SHORTEST_GAP = 1.0
"""Seconds; tasks put together count as this far apart."""
SHORTEST_RECHECK = 0.05
WALKED = 500
"""So many waiting tasks are gone through one by one; should there be room for more, the others are taken for alike."""
SHORTEST_COLD_START = 5.0
"""Instances that boot in no time are still kept as if a boot took this long: models must be loaded again too."""


@dataclass(frozen=True, slots=True)
class Dial:
    """`patience` and `keep` in cold starts."""

    patience: float
    keep: float


ECONOMY, DEFAULT, COMFORT = Dial(1.15, 1.0), Dial(0.55, 2.6), Dial(0.0, 6.0)


def dial(comfort: float) -> Dial:
    """The setting at `comfort`: 0 economy, 0.5 the default, 1 comfort, in between between."""
    low, high, share = (
        (ECONOMY, DEFAULT, comfort * 2) if comfort <= 0.5 else (DEFAULT, COMFORT, comfort * 2 - 1)
    )
    patience = low.patience + (high.patience - low.patience) * share
    return Dial(patience, low.keep * (high.keep / low.keep) ** share)


def wish(snapshot: Snapshot, memory: Memory) -> tuple[Wish, Memory]:
    """The number of instances that the waiting work and the recent arrivals ask for."""
    cold = ASSUMED_COLD_START if snapshot.cold_start is None else snapshot.cold_start
    setting = dial(snapshot.settings.comfort)
    need = _needed_boots(snapshot, memory, cold, setting.patience * cold)
    if need.waiting:
        return need.wish(len(snapshot.counted)), memory
    return _keep_idle(snapshot, memory, setting.keep * max(cold, SHORTEST_COLD_START)), memory


@dataclass(slots=True)
class _Need:
    """How the waiting tasks would be reached. `recheck`: when the first of them should have been."""

    patience: float
    waiting: int = 0
    reached: int = 0
    booting: int = 0
    starts: int = 0
    recheck: float = math.inf

    def wish(self, current: int) -> Wish:
        served = [
            f"{count} {how}"
            for count, how in (
                (self.reached, f"will be reached within {self.patience:.3g} s"),
                (self.booting, "will have an instance that is starting"),
            )
            if count
        ]
        wake_at = self.recheck if self.reached else None
        waiting = f"of {plural(self.waiting, 'task')} waiting"
        if not self.starts:
            return Wish(current, f"{waiting}, {', '.join(served)}", "", wake_at)
        why = f"{waiting}, {self.starts} would not be reached soon enough"
        return Wish(current + self.starts, why, ", ".join(served), wake_at)


def _needed_boots(snapshot: Snapshot, memory: Memory, cold: float, patience: float) -> _Need:
    """Walk through the waiting tasks in turn, giving each to the instance that is free first."""
    now = snapshot.now
    lines = Lines(snapshot, memory.overtaken)
    need = _Need(patience, len(lines))
    timeline = Timeline()
    for instance in snapshot.instances:
        if instance.ready:
            timeline.add(slots_of(instance, now, guess=True))
    starting = [i for i in snapshot.instances if i.state is InstanceState.STARTING]
    boots = sorted((boot_end(i, snapshot, cold) for i in starting), reverse=True)
    room = max(0, snapshot.most - len(snapshot.counted))
    work = 0.0
    for place, task in enumerate(lines.turns()):
        if place == WALKED:
            _count_the_rest(need, len(lines) - place, timeline, work / place, boots, snapshot, cold)
            break
        if timeline.earliest(task.kind) - now <= patience:
            need.reached += 1
            soonest = now + max(patience / 20, SHORTEST_RECHECK)
            need.recheck = min(need.recheck, max(timeline.earliest(task.kind), soonest))
        elif boots:
            need.booting += 1
            timeline.add([boots.pop()] * snapshot.slots)
        elif need.starts < room:
            need.starts += 1
            timeline.add([now + cold] * snapshot.slots)
        else:
            need.starts += len(lines) - place
            break
        timeline.take(task.kind, task.seconds)
        work += _slot_seconds(task, snapshot.slots)
    return need


def _slot_seconds(task: WaitingTask, slots: int) -> float:
    seconds = math.inf if task.seconds is None else max(task.seconds, SHORTEST_RUN)
    return seconds * slots if task.kind == "command" else seconds


def _count_the_rest(
    need: _Need,
    rest: int,
    timeline: Timeline,
    each: float,
    boots: list[float],
    snapshot: Snapshot,
    cold: float,
) -> None:
    """`rest` further tasks, of `each` so many seconds of a slot: how many are reached, and by how many boots."""
    reached = min(rest, math.floor(timeline.room(snapshot.now + need.patience) / each))
    by_a_boot = max(1, math.floor(max(0.0, need.patience - cold) * snapshot.slots / each))
    wanted = math.ceil((rest - reached) / by_a_boot)
    booting = min(wanted, len(boots))
    need.reached += reached
    need.booting += min(rest - reached, booting * by_a_boot)
    need.starts += wanted - booting


def _keep_idle(snapshot: Snapshot, memory: Memory, longest_gap: float) -> Wish:
    """Nothing waits: how many of the instances without work are worth their keep."""
    counted = snapshot.counted
    busy = sum(bool(instance.running) for instance in counted)
    spares = len(counted) - busy
    keep, wake_at = 0, None
    while keep < spares:
        until = kept_until(memory.arrivals, longest_gap / STEP ** (keep + busy * BUSY_STEP))
        if until <= snapshot.now:
            break
        keep, wake_at = keep + 1, until
    why = f"nothing waits, {plural(busy, 'instance')} busy"
    if not keep:
        return Wish(busy, f"{why}; tasks come too seldom to keep an idle one")
    more = "tasks come too seldom for more" if keep < spares else "no task needs more"
    return Wish(busy + keep, f"{why}, {keep} kept idle because tasks come often", more, wake_at)


def kept_until(arrivals: tuple[float, ...], longest_gap: float) -> float:
    """Until when, with no further arrival, an instance is worth keeping for a mean gap under `longest_gap` seconds.

    The mean is the geometric mean over the horizons 1, 2, 4, 8, 16 of the geometric mean of that many last gaps, the
    present silence being the last one: recent gaps weigh more, and the silence most.
    """
    if not arrivals:
        return -math.inf
    logs = [math.log(max(SHORTEST_GAP, b - a)) for a, b in pairwise(arrivals)][::-1]
    horizons = [h for h in HORIZONS if h <= len(logs) + 1]
    weight = sum(1 / h for h in horizons)
    rest = sum(sum(logs[: h - 1]) / h for h in horizons)
    silence = math.exp((len(horizons) * math.log(longest_gap) - rest) / weight)
    return arrivals[-1] + min(silence, LONGEST_SILENCE * longest_gap)
