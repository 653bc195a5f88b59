"""The pool of one service: what the supervisor sees of it, decides about it, and does."""

from __future__ import annotations

import logging
import math
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from backend.instance import Instance, InstanceState
from backend.pool.backlog import Backlog
from backend.pool.clock import Clock, SystemClock
from backend.pool.forecast import Forecast
from backend.pool.history import History
from backend.pool.launcher import Launcher
from backend.pool.learnt import Learnt
from backend.pool.leaving import leaving
from backend.pool.metrics import Metrics
from backend.pool.rolling import next_to_leave
from backend.pool.starts import Starts
from backend.pool.views import instance_view, waiting_task
from backend.scaling import (
    Assignment,
    Autoscaler,
    Calendar,
    Decision,
    Journal,
    Scheduled,
    Snapshot,
    WaitingTasks,
    after,
    parse_autoscaler,
    parse_cronscaler,
)
from backend.scaling import plan as plan_pass
from backend.service import Description
from backend.store import briefs, instances, pools, services, tasks, usage
from backend.store.briefs import Brief
from backend.store.connection import Store
from backend.task import TaskState

log = logging.getLogger("lorapool.supervisor")

BEGIN_DEADLINE = 15.0
"""Seconds within which an instance must begin a task that it was given."""

SAVE_EVERY = 5.0
ASSIGNED_AT_ONCE = 64
"""Tasks that are handed out in one pass; the next one, which goes on with it, follows at once."""
EXPLAIN_EVERY = 1.0
"""Seconds after which a decision that leaves things as they are is told again."""

_NOT_NEEDED = "not needed any more"
UPDATED = "its service was updated"
_STAYING = (InstanceState.STARTING, InstanceState.IDLE, InstanceState.BUSY)


QUOTAS_EVERY = 1.0
"""Seconds for which the limits of accounts are believed: what other services run for them may be so old."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The tasks and instances of a service at one moment."""

    waiting: WaitingTasks[Brief]
    active: Mapping[str, Brief]
    instances: tuple[Instance, ...]


@dataclass
class Pool:
    """One service's pool. Not for sharing between threads.

    `idle_hands` counts the tasks in a row that an instance was given and did not begin. `touched` are instances that
    are not what they were when the pass looked at them, by what it did.
    """

    name: str
    store: Store
    launcher: Launcher
    description: Description
    learnt: Learnt
    stopped: bool = False
    clock: Clock = field(default_factory=SystemClock)
    new_id: Callable[[], str] = lambda: uuid.uuid4().hex[:12]
    journal: Journal = field(default_factory=Journal)
    wake_at: float | None = None
    idle_hands: Counter[str] = field(default_factory=Counter)
    touched: set[str] = field(default_factory=set)
    _explained_at: float = -math.inf
    _held: dict[str, Brief] = field(default_factory=dict)
    _calendar: tuple[dict[str, Any], Calendar] | None = None
    _quotas: tuple[float, dict[str, int]] = (-math.inf, {})
    _saved_at: float = 0.0
    _said: str | None = None

    def __post_init__(self) -> None:
        self.starts = Starts(self.name, self.store, self.launcher, self.clock, self.new_id)
        self._history = History(self.store, self.name)
        self._metrics = Metrics(self.name, self.store, self.clock)
        self.forecast = Forecast(self.name, self.store, self.clock)
        self._backlog = Backlog(
            self.name, self.store, self.clock, lambda task: waiting_task(task, self.learnt)
        )

    @property
    def autoscaler(self) -> Autoscaler:
        """The settings of scaling; a description that names none gets `metadata.instance` to one as its bounds."""
        if self.stopped:
            return parse_autoscaler({"min": 0, "max": 0})
        raw = dict(self.description.autoscaler)
        if not raw:
            count = max(1, self.description.instance)
            raw = {"min": min(1, self.description.instance), "max": count}
        return parse_autoscaler(raw)

    @property
    def calendar(self) -> Calendar:
        """The scheduled scaling of the description; a stopped service has none."""
        said = {} if self.stopped else self.description.cronscaler
        if self._calendar is None or self._calendar[0] != said:
            self._calendar = said, Calendar(parse_cronscaler(said))
        return self._calendar[1]

    def step(
        self, present: list[Instance], taken_devices: list[str], changed: set[str] | None = None
    ) -> None:
        """One pass: see, learn, decide, act.

        `present` are the instances of all services, `taken_devices` what they have of this host, with what is ordered
        here added; `changed` names the tasks to be read again, None: all. As long as a queue has not been read to its
        end nothing is decided: whose turn it is would be a guess.
        """
        if not self._see(changed):
            self.wake_at = self.clock.time()
            return
        seen = self._seen(present)
        self.starts.forgive(self.description.version)
        self._learn(seen)
        taken = self._take_back(seen)
        if taken:
            # It is first in line again, and must be in this pass: else a younger one of its user would go before it.
            self._see(taken)
            seen = self._seen(read_instances(self.store))
        if self.description.type.runs_tasks:
            self._decide(seen, taken_devices)
        self._say_how_it_is()
        if self.clock.monotonic() - self._saved_at > SAVE_EVERY:
            self.save()

    def _decide(self, seen: Seen, taken_devices: list[str]) -> None:
        free = self.launcher.free_devices(taken_devices, self.description)
        snapshot = self._snapshot(seen, free)
        result = plan_pass(snapshot, self.learnt.memory, ASSIGNED_AT_ONCE)
        self.learnt.memory = result.memory
        left = after(snapshot, result.assignments)
        self._assign(result.assignments)
        self._act(result.decision, seen, free, taken_devices)
        self._replace_outdated(seen)
        self._explain(left, result.decision)
        self.forecast.begin(left, self.learnt.memory.overtaken)
        self._history.note(
            len(seen.waiting), len(seen.active), (i.state for i in seen.instances), self.clock.time()
        )
        more = len(result.assignments) == ASSIGNED_AT_ONCE
        self.wake_at = snapshot.now if more else result.decision.wake_at

    def lost(self) -> None:
        """A pass went wrong: what is known of the tasks may be wrong too."""
        self._backlog.lost()

    def save(self) -> None:
        """Keep what was learnt."""
        self.store.run(pools.save(self.name, self.learnt.to_json()))
        self._saved_at = self.clock.monotonic()

    def _see(self, changed: set[str] | None) -> bool:
        """Bring what is known of the tasks up to date; whether all of them are known now."""
        self.forecast.forget(self._backlog.update(changed))
        return self._backlog.complete

    def _seen(self, present: list[Instance]) -> Seen:
        mine = tuple(instance for instance in present if instance.service == self.name)
        return Seen(self._backlog.waiting, self._backlog.active, mine)

    def _learn(self, seen: Seen) -> None:
        present = {instance.id: instance for instance in seen.instances}
        self._learn_of_runs(seen, {name: instance.slots for name, instance in present.items()})
        self.idle_hands = Counter({name: n for name, n in self.idle_hands.items() if name in present})
        for seconds in self.starts.settled(present):
            self.learnt.cold_starts.add(seconds)

    def _learn_of_runs(self, seen: Seen, slots: Mapping[str, int]) -> None:
        now = self.clock.time()
        ended = [brief for task, brief in self._held.items() if task not in seen.active]
        self._held = dict(seen.active)
        states = self.store.run(briefs.briefs([brief.id for brief in ended])) if ended else []
        for before, after_it in zip(ended, states, strict=True):
            # A short one began and ended since the last look.
            began_since = after_it is not None and after_it.attempt > before.attempt
            run = after_it if before.state is TaskState.ASSIGNED and began_since else before
            if run is not None and (run is after_it or run.state is TaskState.RUNNING):
                succeeded = after_it is not None and after_it.state is TaskState.SUCCEEDED
                shared = slots.get(before.instance, self.description.rpc.worker_threads)
                self.learnt.ended(run, now, whole=succeeded, slots=shared)

    def _take_back(self, seen: Seen) -> set[str]:
        """Take tasks from instances that do not begin them; which they were."""
        now = self.clock.time()
        taken = set()
        for brief in seen.active.values():
            late = brief.state is TaskState.ASSIGNED and now - (brief.assigned_at or now) > BEGIN_DEADLINE
            if late and self.store.run(tasks.unclaimed(brief.id, BEGIN_DEADLINE)) != "kept":
                self.idle_hands[brief.instance] += 1
                taken.add(brief.id)
            elif brief.state is TaskState.RUNNING:
                del self.idle_hands[brief.instance]
        return taken

    def _snapshot(self, seen: Seen, free: list[str] | None) -> Snapshot:
        now = self.clock.time()
        settings = self._settings(seen)
        counted = sum(i.state is not InstanceState.GONE for i in seen.instances)
        loads = [i.load_seconds for i in seen.instances if i.load_seconds]
        staying = [instance for instance in seen.instances if instance.state in _STAYING]
        return Snapshot(
            now=now,
            settings=settings,
            waiting=seen.waiting,
            instances=tuple(instance_view(i, seen.active, self.learnt, now) for i in seen.instances),
            slots=self.description.rpc.worker_threads,
            cold_start=self.learnt.cold_starts.median,
            places=None if free is None else counted + len(free),
            usage=self.learnt.usage.at_time(now).seconds,
            metrics=self._metrics.values({s.metric for s in settings.strategies}, staying),
            scheduled=self._scheduled(seen, now),
            loading=median(loads) if loads else None,
            stopped=self.stopped,
        )

    def _settings(self, seen: Seen) -> Autoscaler:
        """The settings of scaling. What somebody started by hand is there to stay, as far as `max` allows."""
        settings = self.autoscaler
        least = max(settings.min, min(self._by_hand(seen), settings.max))
        return settings.model_copy(update={"min": least, "user_limits": self._user_limits(settings)})

    def _user_limits(self, settings: Autoscaler) -> dict[str, int]:
        """How many tasks users may run here: what the description says, and the limits of their accounts."""
        now = self.clock.monotonic()
        if now - self._quotas[0] >= QUOTAS_EVERY:
            self._quotas = now, self.store.run(usage.quotas(self.name))
        limits = dict(settings.user_limits)
        for user, most in self._quotas[1].items():
            described = settings.user_limit(user)
            limits[user] = most if described is None else min(most, described)
        return limits

    def _scheduled(self, seen: Seen, now: float) -> Scheduled | None:
        """What the calendar says, with what was started by hand as for the settings."""
        plan = self.calendar.at(now)
        if plan is None or plan.target is None:
            return plan
        return replace(plan, target=max(plan.target, min(self._by_hand(seen), self.autoscaler.max)))

    def _by_hand(self, seen: Seen) -> int:
        return sum(i.launcher != self.launcher.name and i.state in _STAYING for i in seen.instances)

    def _assign(self, assignments: Sequence[Assignment]) -> None:
        slots = self.description.rpc.worker_threads
        calls = []
        for made in assignments:
            task = self._backlog.waiting.find(made.task)
            calls.append(
                tasks.assign(made.task, made.instance, slots if task and task.kind == "query" else 1)
            )
            # What is known of it is of before, whatever comes of it.
            self._backlog.doubt(made.task)
            self.touched.add(made.instance)
        answers = self.store.run_all(calls) if calls else []
        for made, answer in zip(assignments, answers, strict=True):
            if answer != "ok":
                log.info("task %s was not given to instance %s: %s", made.task, made.instance, answer)

    def _act(self, decision: Decision, seen: Seen, free: list[str] | None, taken: list[str]) -> None:
        by_id = {instance.id: instance for instance in seen.instances}
        self.starts.order(decision.start, self.description, free, taken)
        most = self.autoscaler.max
        ending = leaving((*decision.stop, *decision.drain), seen.instances, own=self.launcher.name, most=most)
        for name in (*decision.cancel, *ending):
            self.touched.add(name)
            self.store.run(instances.enter(name, InstanceState.DRAINING, reason=_NOT_NEEDED))
        for name in decision.cancel:
            self.starts.forget(name)
            # It may have come up, and even been given a task, since it was looked at. Draining it gets no other.
            if not self._holds_a_task(name):
                self.store.run(instances.gone(name, _NOT_NEEDED, counted=False, max_delivery=0))
                self.launcher.kill(by_id[name])

    def _replace_outdated(self, seen: Seen) -> None:
        """Have instances of before an update leave, one after another, as long as new ones come up."""
        if self.starts.failures or self.starts.awaited:
            return
        full = {b.instance for b in seen.active.values() if b.kind == "command"}
        leaves = next_to_leave(seen.instances, self.description.version, full)
        if leaves is not None:
            log.info("service %s: instance %s leaves, the service was updated", self.name, leaves.id)
            self.touched.add(leaves.id)
            self.store.run(instances.enter(leaves.id, InstanceState.DRAINING, reason=UPDATED))

    def _say_how_it_is(self) -> None:
        """Have the service's record say that it is looked after, and what keeps instances from coming up."""
        if self._said != self.starts.blocked:
            self.store.run(services.note_served(self.name, self.starts.blocked))
            self._said = self.starts.blocked

    def _holds_a_task(self, name: str) -> bool:
        instance = instances.assemble(name, self.store.run_all(instances.details(name)))
        return instance is not None and bool(instance.tasks)

    def _explain(self, snapshot: Snapshot, decision: Decision) -> None:
        entry = self.journal.record(snapshot, decision)
        now = self.clock.monotonic()
        same_again = entry.times > 1 and now - self._explained_at < EXPLAIN_EVERY
        if decision.changes or (snapshot.waiting and not same_again):
            self._explained_at = now
            said = entry.to_json() | {"times": 1}
            if why_not := self.starts.blocked or self.starts.held_up():
                said["why_not_more"] = why_not
            self.store.run(
                pools.note_decision(self.name, {"service": self.name, **said}, changes=decision.changes)
            )


def read_instances(store: Store) -> list[Instance]:
    """Every instance that is not gone."""
    return store.run(instances.present())
