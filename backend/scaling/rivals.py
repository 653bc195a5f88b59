"""The usual rules of the field, each as its project documents it, for a replay beside ours.

They rank rules, not products: every rule gets our dispatch (idle first, at once) and our boots. Defaults are those of
the projects' documentation; where one needs a number of its own, its docstring says which was taken.
"""

from __future__ import annotations

import math
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from backend.instance import InstanceState
from backend.scaling.dispatch import pick
from backend.scaling.replay import Moves, Rule
from backend.scaling.snapshot import Assignment, InstanceView, Snapshot, after

Surplus = Literal["idle", "drain", "kill"]


class OnePerWaiting:
    """Start an instance for each waiting task that has none starting; drop one idle for `keep` seconds."""

    def __init__(self, keep: float) -> None:
        self._keep = keep

    def moves(self, snapshot: Snapshot) -> Moves:
        assignments = pick(snapshot).assignments
        left = after(snapshot, assignments)
        starting = sum(i.state is InstanceState.STARTING for i in left.instances)
        room = left.settings.max - len(left.instances)
        due = {i.id: _since(i) + self._keep for i in left.instances if i.idle}
        return Moves(
            assignments,
            start=max(0, min(room, len(left.waiting) - starting)),
            remove=tuple(name for name, at in due.items() if at <= left.now),
            wake_at=min((at for at in due.values() if at > left.now), default=None),
        )


class Loop:
    """Dispatch on every event; look at the number of instances every `period` seconds."""

    period = 10.0
    surplus: Surplus = "idle"

    def __init__(self) -> None:
        self._next = -math.inf

    def moves(self, snapshot: Snapshot) -> Moves:
        assignments = pick(snapshot).assignments
        left = after(snapshot, assignments)
        self.observe(left)
        if snapshot.now < self._next:
            return Moves(assignments, wake_at=self._next)
        self._next = (math.floor(snapshot.now / self.period) + 1) * self.period
        return self._toward(
            left, assignments, max(left.settings.min, min(left.settings.max, self.wanted(left)))
        )

    def observe(self, snapshot: Snapshot) -> None:
        """Take a measure; called on every event."""

    def wanted(self, snapshot: Snapshot) -> int:
        """How many instances there should be; called once a period."""
        raise NotImplementedError

    def settled(self) -> bool:
        """Whether, with no task and no instance, another period would change nothing."""
        return True

    def _toward(self, snapshot: Snapshot, assignments: tuple[Assignment, ...], wanted: int) -> Moves:
        counted = snapshot.counted
        quiet = not counted and not snapshot.waiting and not wanted and self.settled()
        order = _pod_order if self.surplus == "kill" else _idle_first
        by_rank = sorted(counted, key=lambda instance: order(instance, snapshot.now))
        surplus = by_rank[: max(0, len(counted) - wanted)]
        busy = tuple(i.id for i in surplus if i.running)
        return Moves(
            assignments,
            start=max(0, wanted - len(counted)),
            remove=tuple(i.id for i in surplus if not i.running),
            drain=busy if self.surplus == "drain" else (),
            kill=busy if self.surplus == "kill" else (),
            wake_at=None if quiet else self._next,
        )


def _idle_first(instance: InstanceView, now: float) -> tuple[int, float]:
    state = 0 if instance.state is InstanceState.STARTING else 1 if not instance.running else 2
    return state, now - instance.created_at


def _pod_order(instance: InstanceView, now: float) -> tuple[int, float]:
    """How a ReplicaSet picks pods to stop: not ready ones, then by age in powers of two, then as good as any."""
    if instance.state is InstanceState.STARTING:
        return 0, 0.0
    return 1 + int(math.log2(1.0 + now - instance.created_at)), zlib.crc32(instance.id.encode())


def _since(instance: InstanceView) -> float:
    return instance.created_at if instance.idle_since is None else instance.idle_since


def _ongoing(snapshot: Snapshot) -> int:
    return len(snapshot.waiting) + sum(len(i.running) for i in snapshot.counted)


class _Average:
    """Time-weighted mean of a step function over the last `window` seconds."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._steps: deque[tuple[float, float]] = deque()

    def set(self, now: float, value: float) -> None:
        self._steps.append((now, value))
        while len(self._steps) > 1 and self._steps[1][0] <= now - self._window:
            self._steps.popleft()

    def mean(self, now: float) -> float:
        start, total = now - self._window, 0.0
        ends = [*[at for at, _ in self._steps][1:], now]
        for (at, value), end in zip(self._steps, ends, strict=True):
            total += value * max(0.0, end - max(at, start))
        return total / self._window


class RayServe(Loop):
    """`target_ongoing_requests` 2, `upscale_delay_s` 30, `downscale_delay_s` 600, `look_back_period_s` 30.

    From zero one replica starts at once. Source: Ray Serve, "Advanced autoscaling".
    """

    period = 10.0
    surplus = "drain"

    def __init__(self, target: float = 2.0, up: float = 30.0, down: float = 600.0, look_back: float = 30.0):
        super().__init__()
        self._target, self._up, self._down = target, up, down
        self._load = _Average(look_back)
        self._goal = 0
        self._above = self._below = math.nan

    def observe(self, snapshot: Snapshot) -> None:
        self._load.set(snapshot.now, _ongoing(snapshot))

    def settled(self) -> bool:
        return self._goal == 0

    def wanted(self, snapshot: Snapshot) -> int:
        now = snapshot.now
        if not self._goal:
            self._goal = min(1, _ongoing(snapshot))
            self._above = self._below = math.nan
            return self._goal
        asked = min(snapshot.settings.max, math.ceil(self._load.mean(now) / self._target - 1e-9))
        self._above = (now if math.isnan(self._above) else self._above) if asked > self._goal else math.nan
        self._below = (now if math.isnan(self._below) else self._below) if asked < self._goal else math.nan
        if now - self._above >= self._up or now - self._below >= self._down:
            self._goal = asked
            self._above = self._below = math.nan
        return self._goal


class Knative(Loop):
    """Concurrency 1 at 70 % utilisation, stable window 60 s, panic window 6 s at 200 %, grace to zero 30 s.

    Source: Knative Serving, `config-autoscaler` and "Additional autoscaling configuration for KPA".
    """

    period = 2.0
    surplus = "drain"
    target = 0.7

    def __init__(self) -> None:
        super().__init__()
        self._stable, self._panic = _Average(60.0), _Average(6.0)
        self._panic_until = -math.inf
        self._floor = 0
        self._used_at = -math.inf

    def observe(self, snapshot: Snapshot) -> None:
        load = _ongoing(snapshot)
        self._stable.set(snapshot.now, load)
        self._panic.set(snapshot.now, load)
        if load:
            self._used_at = snapshot.now

    def wanted(self, snapshot: Snapshot) -> int:
        now = snapshot.now
        ready = max(1, sum(i.ready for i in snapshot.counted))
        stable = math.ceil(self._stable.mean(now) / self.target - 1e-9)
        panic = math.ceil(self._panic.mean(now) / self.target - 1e-9)
        if panic / ready >= 2.0:
            self._panic_until = now + 60.0
        if now < self._panic_until:
            self._floor = max(self._floor, panic, stable)
            return self._floor
        self._floor = 0
        wanted = max(stable, len(snapshot.counted) // 2)
        if now - self._used_at < 60.0 + 30.0:
            wanted = max(wanted, 1)
        return wanted


class Keda(Loop):
    """A ScaledObject on the length of the queue, one task per replica, with the HPA's default behaviour.

    Polling 30 s from zero, `cooldownPeriod` 300 s; HPA every 15 s, tolerance 10 %, up by 4 or 100 %, down to the most
    asked for in 300 s. It does not see tasks in hand and stops busy pods. Source: KEDA, "ScaledObject
    specification"; Kubernetes, "Horizontal Pod Autoscaling".
    """

    period = 15.0
    surplus = "kill"

    def __init__(self) -> None:
        super().__init__()
        self._asked: deque[tuple[float, int]] = deque()
        self._active_at = -math.inf
        self._poll_at = -math.inf

    def wanted(self, snapshot: Snapshot) -> int:
        now, current, queue = snapshot.now, len(snapshot.counted), _ongoing(snapshot)
        if queue:
            self._active_at = now
        if not current:
            if now < self._poll_at:
                return 0
            self._poll_at = now + 30.0
            self._asked.clear()
            return min(1, queue)
        if now - self._active_at >= 300.0:
            return 0
        ratio = queue / current
        asked = current if abs(ratio - 1.0) <= 0.1 else max(1, queue)
        asked = min(asked, max(current + 4, current * 2), snapshot.settings.max)
        self._asked.append((now, asked))
        while self._asked[0][0] < now - 300.0:
            self._asked.popleft()
        return asked if asked >= current else min(current, max(n for _, n in self._asked))


class SkyPilot(Loop):
    """A pool: more than one job pending for 300 s adds one worker, fewer for 1200 s takes one; idle ones only.

    From zero the first worker starts at once. Source: SkyPilot, `sky/serve/autoscalers.py` and `constants.py`.
    """

    period = 5.0

    def __init__(self) -> None:
        super().__init__()
        self._goal = 0
        self._above = self._below = 0

    def wanted(self, snapshot: Snapshot) -> int:
        asked = self._asked(len(snapshot.waiting), snapshot.settings.max)
        if not self._goal:
            self._goal, self.period = asked, 20.0 if asked else 5.0
            return self._goal
        self._above = self._above + 1 if asked > self._goal else 0
        self._below = self._below + 1 if asked < self._goal else 0
        if self._above >= 300 / self.period or self._below >= 1200 / self.period:
            self._goal, self.period = asked, 20.0 if asked else 5.0
            self._above = self._below = 0
        return self._goal

    def settled(self) -> bool:
        return self._goal == 0

    def _asked(self, queue: int, most: int) -> int:
        if not queue:
            return 0
        return max(1, min(most, self._goal + (1 if queue > 1 else 0)))


@dataclass(frozen=True, slots=True)
class Rival:
    """A rule with the name it has in tables. `make` gets the cold start in seconds."""

    name: str
    make: Callable[[float], Rule]


RIVALS: tuple[Rival, ...] = (
    Rival("one start per waiting task, idle dropped", lambda cold: OnePerWaiting(0.0)),
    Rival("one start per waiting task, idle kept a cold start", OnePerWaiting),
    Rival("Ray Serve, target 2", lambda cold: RayServe()),
    Rival("Knative KPA", lambda cold: Knative()),
    Rival("KEDA ScaledObject + HPA", lambda cold: Keda()),
    Rival("SkyPilot pool", lambda cold: SkyPilot()),
)
