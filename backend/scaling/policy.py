"""How many instances a service should have now, why, and which to start and stop. Pure: no clock, no process.

`plan` is one pass: hand out what can be handed out, then decide about instances on what is left. The supervisor and
the replay both call it on every event (put, finish, ready, gone, settings), and at `Decision.wake_at`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from backend.instance import InstanceState
from backend.scaling import eas_rule, work_rule
from backend.scaling.dispatch import pick
from backend.scaling.memory import Memory
from backend.scaling.snapshot import Assignment, InstanceView, Snapshot, after
from backend.scaling.wish import ASSUMED_COLD_START, Wish, earliest, plural

__all__ = ["ASSUMED_COLD_START", "Decision", "Plan", "decide", "plan"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about instances. `current` counts starting, idle and busy ones, not draining ones.

    `start`: how many to start; `cancel`: starting ones to give up; `stop`: idle ones to end; `drain`: busy ones that
    take nothing more and end with their task. `why` and `why_not_more` are sentences for people.
    `wake_at`: when the decision may change though nothing happens; None for never.
    """

    current: int
    desired: int
    start: int
    cancel: tuple[str, ...]
    stop: tuple[str, ...]
    drain: tuple[str, ...]
    why: str
    why_not_more: str
    wake_at: float | None

    @property
    def changes(self) -> bool:
        return bool(self.start or self.cancel or self.stop or self.drain)


@dataclass(frozen=True, slots=True)
class Plan:
    """The result of one pass. Keep `memory` for the next one."""

    assignments: tuple[Assignment, ...]
    decision: Decision
    memory: Memory


def plan(snapshot: Snapshot, memory: Memory, most: int | None = None) -> Plan:
    """Dispatch up to `most` tasks (None: all that can be), then scale on what is left waiting.

    A stopped service begins nothing, and its instances leave.
    """
    memory = memory.observe(snapshot)
    if snapshot.stopped:
        return Plan((), _carry_out(snapshot, Wish(0, "the service is stopped")), memory)
    picks = pick(snapshot, memory.overtaken, most)
    decision, memory = decide(after(snapshot, picks.assignments), replace(memory, overtaken=picks.overtaken))
    return Plan(picks.assignments, decision, memory)


def decide(snapshot: Snapshot, memory: Memory) -> tuple[Decision, Memory]:
    """The scaling half of a pass, on what dispatch has left."""
    rule = eas_rule.wish if snapshot.settings.strategies else work_rule.wish
    wish, memory = rule(snapshot, memory)
    return _carry_out(snapshot, _clamp(snapshot, wish)), memory


def _clamp(snapshot: Snapshot, wish: Wish) -> Wish:
    least, most = snapshot.least, snapshot.most
    plan = snapshot.scheduled
    if wish.desired < least:
        why = (
            f"{plan.job or 'a job'} is scheduled with {least}" if plan and plan.target else f"min is {least}"
        )
        wish = replace(wish, desired=least, why=why, why_not_more=wish.why_not_more or wish.why)
    if wish.desired > most:
        wish = replace(wish, desired=most, why_not_more=f"max is {most}")
    if plan and math.isfinite(plan.until):
        wish = replace(wish, wake_at=earliest(wish.wake_at, plan.until))
    if snapshot.places is not None:
        present = len(snapshot.counted)
        room = present + max(0, snapshot.places - len(snapshot.instances))
        if wish.desired > room:
            wish = replace(wish, desired=room, why_not_more=f"the hardware has room for {room}")
    return wish


def _carry_out(snapshot: Snapshot, wish: Wish) -> Decision:
    """Scale-in order: starting instances, newest first; then idle ones, longest idle first; then busy ones drain.

    Of the busy ones the newest drain first; none is stopped.
    """
    counted = snapshot.counted
    surplus = max(0, len(counted) - wish.desired)
    starting = sorted((i for i in counted if i.state is InstanceState.STARTING), key=_newest)
    cancel = starting[:surplus]
    stop = sorted((i for i in counted if i.idle), key=_longest_idle)[: surplus - len(cancel)]
    busy = sorted((i for i in counted if i.ready and not i.idle), key=_newest)
    drain = busy[: surplus - len(cancel) - len(stop)]
    why = wish.why
    if drain:
        why += f"; {plural(len(drain), 'busy instance')} to end when the work there does"
    return Decision(
        current=len(counted),
        desired=wish.desired,
        start=max(0, wish.desired - len(counted)),
        cancel=tuple(i.id for i in cancel),
        stop=tuple(i.id for i in stop),
        drain=tuple(i.id for i in drain),
        why=why,
        why_not_more=wish.why_not_more,
        wake_at=wish.wake_at,
    )


def _newest(instance: InstanceView) -> tuple[float, str]:
    return -instance.created_at, instance.id


def _longest_idle(instance: InstanceView) -> tuple[float, str]:
    since = instance.created_at if instance.idle_since is None else instance.idle_since
    return since, instance.id
