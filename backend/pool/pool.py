"""The pool of one service: what the supervisor sees of it, decides about it, and does."""

from __future__ import annotations

import logging
import math
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from backend.errors import LorapoolError
from backend.instance import Instance, InstanceState
from backend.pool.clock import Clock, SystemClock
from backend.pool.history import History
from backend.pool.launcher import Launcher, Order
from backend.pool.learnt import Learnt
from backend.pool.rolling import next_to_leave
from backend.scaling import (
    Autoscaler,
    Calendar,
    Decision,
    InstanceView,
    Journal,
    RunningTask,
    Scheduled,
    Snapshot,
    WaitingTask,
    expected_starts,
    parse_autoscaler,
    parse_cronscaler,
)
from backend.scaling import plan as plan_pass
from backend.service import Description
from backend.store import instances, pools, services, tasks
from backend.store.connection import Store
from backend.store.tasks import Brief
from backend.task import TaskState

log = logging.getLogger("lorapool.supervisor")

BEGIN_DEADLINE = 15.0
"""Seconds within which an instance must begin a task that it was given."""

SAVE_EVERY = 5.0
LOOK_EVERY = 1.0
"""Seconds after which the progress of what runs is read again, and the forecast of a long queue made anew."""

LONG_QUEUE, READ_AT_ONCE = 100, 1000
_NOT_NEEDED = "not needed any more"
UPDATED = "its service was updated"
_STAYING = (InstanceState.STARTING, InstanceState.IDLE, InstanceState.BUSY)
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Seconds without a new start after one that failed; doubled with each failure in a row."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The tasks and instances of a service at one moment."""

    waiting: tuple[Brief, ...]
    active: dict[str, Brief]
    instances: tuple[Instance, ...]


@dataclass
class Pool:
    """One service's pool. Not for sharing between threads.

    `idle_hands` counts the tasks in a row that an instance was given and did not begin.
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
    _known: dict[str, Brief] = field(default_factory=dict)
    _active: dict[str, Brief] = field(default_factory=dict)
    _looked_at: float = -math.inf
    _predicted_at: float = -math.inf
    _explained_at: float = -math.inf
    _held: dict[str, Brief] = field(default_factory=dict)
    _started: dict[str, float] = field(default_factory=dict)
    _planned: dict[str, tasks.Plan] = field(default_factory=dict)
    _calendar: tuple[dict[str, Any], Calendar] | None = None
    _saved_at: float = 0.0
    _blocked: str = ""
    _said: str | None = None
    _tried: str = ""
    _failures: int = 0
    _start_after: float = 0.0

    def __post_init__(self) -> None:
        self._history = History(self.store, self.name)

    @property
    def autoscaler(self) -> Autoscaler:
        """The settings of scaling; a description that names none gets `metadata.instance` to one as its bounds."""
        raw = dict(self.description.autoscaler)
        if self.stopped:
            return parse_autoscaler({"min": 0, "max": 0})
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
        here added; `changed` names the tasks to be read again, None: all.
        """
        seen = self._see(present, changed)
        self._forgive()
        self._learn(seen)
        taken = self._take_back(seen)
        if taken:
            # It is first in line again, and must be in this pass: else a younger one of its user would go before it.
            seen = self._see(read_instances(self.store), taken)
        if self.description.type.runs_tasks:
            free = self.launcher.free_devices(taken_devices, self.description)
            snapshot = self._snapshot(seen, free)
            result = plan_pass(snapshot, self.learnt.memory)
            self.learnt.memory = result.memory
            for assignment in result.assignments:
                self._assign(assignment.task, assignment.instance)
            self._act(result.decision, seen, free, taken_devices)
            self._replace_outdated(seen)
            self._explain(snapshot, result.decision)
            self._predict(snapshot)
            self._history.note(
                len(seen.waiting), len(seen.active), (i.state for i in seen.instances), self.clock.time()
            )
            self.wake_at = result.decision.wake_at
        self._say_how_it_is()
        if self.clock.monotonic() - self._saved_at > SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Keep what was learnt."""
        self.store.run(pools.save(self.name, self.learnt.to_json()))
        self._saved_at = self.clock.monotonic()

    def _see(self, present: list[Instance], changed: set[str] | None) -> Seen:
        look = self.store.run(tasks.look(self.name))
        stale = self._known.keys() if changed is None else changed
        self._known = {t: self._known[t] for t in look.waiting if t in self._known and t not in stale}
        self._known |= self._read([task for task in look.waiting if task not in self._known])
        active = self._see_active(look.active, changed)
        mine = [i for i in present if i.service == self.name]
        ordered = sorted(
            (self._known[t] for t in look.waiting if t in self._known), key=lambda b: (-b.priority, b.index)
        )
        return Seen(tuple(ordered), active, tuple(mine))

    def _see_active(self, ids: list[str], changed: set[str] | None) -> dict[str, Brief]:
        """The tasks that instances hold; how far those are that did not change is read about once a second."""
        now = self.clock.monotonic()
        if changed is None or now - self._looked_at >= LOOK_EVERY:
            self._looked_at, self._active = now, {}
        kept = {t: self._active[t] for t in ids if t in self._active and t not in (changed or ())}
        self._active = kept | self._read([task for task in ids if task not in kept])
        return self._active

    def _read(self, ids: list[str]) -> dict[str, Brief]:
        found: dict[str, Brief] = {}
        for first in range(0, len(ids), READ_AT_ONCE):
            briefs = self.store.run(tasks.briefs(ids[first : first + READ_AT_ONCE]))
            found |= {brief.id: brief for brief in briefs if brief is not None}
        return found

    def _learn(self, seen: Seen) -> None:
        now = self.clock.time()
        ended = [brief for task, brief in self._held.items() if task not in seen.active]
        states = self._read([brief.id for brief in ended])
        for before in ended:
            after = states.get(before.id)
            # A short one began and ended since the last look.
            began_since = after is not None and after.attempt > before.attempt
            run = after if before.state is TaskState.ASSIGNED and began_since else before
            if run is not None and (run is after or run.state is TaskState.RUNNING):
                succeeded = after is not None and after.state is TaskState.SUCCEEDED
                self.learnt.ended(run, now, whole=succeeded)
        self._held = dict(seen.active)
        present = {instance.id: instance for instance in seen.instances}
        self.idle_hands = Counter({name: n for name, n in self.idle_hands.items() if name in present})
        for name, ordered in list(self._started.items()):
            instance = present.get(name)
            if instance is None:
                self._start_failed(f"an instance ended before it was ready: {self._last_words(name)}")
            elif instance.ready_at is not None:
                self.learnt.cold_starts.add(max(0.0, instance.ready_at - ordered))
                self._failures, self._blocked = 0, ""
            else:
                continue
            del self._started[name]

    def _last_words(self, instance: str) -> str:
        gone = instances.assemble(instance, self.store.run_all(instances.details(instance)))
        return gone.reason if gone is not None and gone.reason else "its log says why"

    def _forgive(self) -> None:
        """A new description is tried at once, whatever came of the last one."""
        if self._tried != self.description.version:
            self._tried = self.description.version
            self._failures, self._start_after, self._blocked = 0, 0.0, ""

    def _start_failed(self, why: str) -> None:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._failures)
        self._failures += 1
        self._start_after = self.clock.monotonic() + pause
        self._blocked = f"{why}; the next start is tried in {pause:.0f} s"
        log.warning("service %s: %s", self.name, self._blocked)

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
        counted = sum(i.state is not InstanceState.GONE for i in seen.instances)
        return Snapshot(
            now=now,
            settings=self._settings(seen),
            waiting=tuple(
                WaitingTask(
                    id=b.id,
                    kind=b.kind,
                    created_at=b.created_at,
                    user=b.user,
                    priority=b.priority,
                    seconds=self.learnt.expected(b),
                    models=_models(b),
                    avoid=b.last_instance,
                )
                for b in seen.waiting
            ),
            instances=tuple(self._view(i, seen, now) for i in seen.instances),
            slots=self.description.rpc.worker_threads,
            cold_start=self.learnt.cold_starts.median,
            places=None if free is None else counted + len(free),
            usage=self.learnt.usage.at_time(now).seconds,
            scheduled=self._scheduled(seen, now),
        )

    def _settings(self, seen: Seen) -> Autoscaler:
        """The settings of scaling. What somebody started by hand is there to stay, as far as `max` allows."""
        settings = self.autoscaler
        return settings.model_copy(update={"min": max(settings.min, min(self._by_hand(seen), settings.max))})

    def _scheduled(self, seen: Seen, now: float) -> Scheduled | None:
        """What the calendar says, with what was started by hand as for the settings."""
        plan = self.calendar.at(now)
        if plan is None or plan.target is None:
            return plan
        return replace(plan, target=max(plan.target, min(self._by_hand(seen), self.autoscaler.max)))

    def _by_hand(self, seen: Seen) -> int:
        return sum(i.launcher != self.launcher.name and i.state in _STAYING for i in seen.instances)

    def _view(self, instance: Instance, seen: Seen, now: float) -> InstanceView:
        held = [seen.active[task] for task in instance.tasks if task in seen.active]
        # One that is up without being able to work is taken for busy: capacity, but no place for a task.
        away = instance.unfit and instance.state is InstanceState.IDLE
        return InstanceView(
            id=instance.id,
            state=InstanceState.BUSY if away else instance.state,
            created_at=instance.created_at,
            slots=max(1, len(held)) if instance.unfit else instance.slots,
            running=tuple(
                RunningTask(
                    id=b.id,
                    kind=b.kind,
                    created_at=b.created_at,
                    started_at=b.started_at or b.assigned_at or now,
                    user=b.user,
                    remaining=self.learnt.remaining(b, now),
                )
                for b in held
            ),
            idle_since=instance.idle_since,
            loaded=instance.loaded,
        )

    def _assign(self, task: str, instance: str) -> None:
        kind = self._known[task].kind
        most = 1 if kind == "command" else self.description.rpc.worker_threads
        answer = self.store.run(tasks.assign(task, instance, most))
        if answer == "ok":
            # Should it come back before the next look, what is known of it would be of before.
            self._known.pop(task, None)
        else:
            log.info("task %s was not given to instance %s: %s", task, instance, answer)

    def _act(self, decision: Decision, seen: Seen, free: list[str] | None, taken: list[str]) -> None:
        by_id = {instance.id: instance for instance in seen.instances}
        for _ in range(decision.start):
            if self.clock.monotonic() < self._start_after:
                break
            device = self._any_device() if free is None else free.pop(0) if free else None
            if device is None or not self._order(device):
                break
            taken.append(device)
        for name in (*decision.cancel, *decision.stop, *decision.drain):
            self.store.run(instances.enter(name, InstanceState.DRAINING, reason=_NOT_NEEDED))
        for name in decision.cancel:
            self._started.pop(name, None)
            # It may have come up, and even been given a task, since it was looked at. Draining it gets no other.
            if not self._holds_a_task(name):
                self.store.run(instances.gone(name, _NOT_NEEDED, counted=False, max_delivery=0))
                self.launcher.kill(by_id[name])

    def _replace_outdated(self, seen: Seen) -> None:
        """Have instances of before an update leave, one after another, as long as new ones come up."""
        if self._failures or self._started:
            return
        full = {b.instance for b in seen.active.values() if b.kind == "command"}
        leaves = next_to_leave(seen.instances, self.description.version, full)
        if leaves is not None:
            log.info("service %s: instance %s leaves, the service was updated", self.name, leaves.id)
            self.store.run(instances.enter(leaves.id, InstanceState.DRAINING, reason=UPDATED))

    def _say_how_it_is(self) -> None:
        """Have the service's record say that it is looked after, and what keeps instances from coming up."""
        if self._said != self._blocked:
            self.store.run(services.note_served(self.name, self._blocked))
            self._said = self._blocked

    def _any_device(self) -> str:
        """What an instance is given where devices are not counted: the CPU of this host, or what the engine chooses."""
        return "cpu" if self.launcher.host else ""

    def _holds_a_task(self, name: str) -> bool:
        instance = instances.assemble(name, self.store.run_all(instances.details(name)))
        return instance is not None and bool(instance.tasks)

    def _order(self, device: str) -> bool:
        name = self.new_id()
        now = self.clock.time()
        slots = self.description.rpc.worker_threads
        created = instances.create(
            name,
            self.name,
            slots=slots,
            launcher=self.launcher.name,
            host=self.launcher.host,
            device=device,
            created_at=now,
        )
        self.store.run_all(created)
        try:
            self.launcher.start(Order(name, self.name, device, self.description))
        except (LorapoolError, OSError) as error:
            self._start_failed(f"an instance could not be started: {error}")
            self.store.run(instances.gone(name, str(error), counted=False, max_delivery=0))
            return False
        self._started[name] = now
        return True

    def _explain(self, snapshot: Snapshot, decision: Decision) -> None:
        entry = self.journal.record(snapshot, decision)
        now = self.clock.monotonic()
        same_again = entry.times > 1 and now - self._explained_at < LOOK_EVERY
        if decision.changes or (snapshot.waiting and not same_again):
            self._explained_at = now
            said = entry.to_json() | {"times": 1}
            if why_not := self._blocked or self._held_up():
                said["why_not_more"] = why_not
            self.store.run(
                pools.note_decision(self.name, {"service": self.name, **said}, changes=decision.changes)
            )

    def _held_up(self) -> str:
        """What keeps the instances that were ordered and are not up yet; each reason once."""
        said = self.launcher.progress()
        return "; ".join(dict.fromkeys(said[name].text for name in self._started if name in said))

    def _predict(self, snapshot: Snapshot) -> None:
        now = self.clock.monotonic()
        if len(snapshot.waiting) > LONG_QUEUE and now - self._predicted_at < LOOK_EVERY:
            return
        self._predicted_at = now
        expected = expected_starts(snapshot, self.learnt.memory.overtaken) if snapshot.waiting else {}
        plans = {task: tasks.Plan(e.position, _known_time(e.start)) for task, e in expected.items()}
        if not _same_plans(plans, self._planned):
            self.store.run(tasks.save_plan(self.name, plans))
            self._planned = plans


def _models(task: Brief) -> tuple[str, ...]:
    """The models that a task names; what somebody else wrote under that name is none."""
    named = task.details.get("models")
    return tuple(model for model in named if isinstance(model, str)) if isinstance(named, list) else ()


def _known_time(at: float | None) -> float | None:
    return at if at is not None and math.isfinite(at) else None


def _same_plans(a: dict[str, tasks.Plan], b: dict[str, tasks.Plan]) -> bool:
    """Whether nothing that a person would notice has changed: positions, or a start that moved by over a second."""
    if a.keys() != b.keys():
        return False
    return all(
        plan.position == b[task].position
        and abs((plan.expected_start or 0) - (b[task].expected_start or 0)) < 1.0
        for task, plan in a.items()
    )


def read_instances(store: Store) -> list[Instance]:
    """Every instance that is not gone."""
    return store.run(instances.present())
