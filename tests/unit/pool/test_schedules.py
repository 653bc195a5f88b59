"""Random schedules of a pool against promises: the live pool, policy, dispatch and reaper on a real store.

Only the launcher, the instances and the time are played; a pass knows of changes what was announced. The same ones
each time; `LORAPOOL_SCHEDULES` is a number of others to run.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backend.deploy import deploy
from backend.errors import StaleAttempt
from backend.instance import Instance, InstanceState, Place
from backend.pool import pool as pool_module
from backend.pool.learnt import Learnt
from backend.pool.pool import Pool, read_instances
from backend.pool.reaper import Reaper
from backend.pool.supervisor import IDLE_HANDS
from backend.scaling.fairness import MAX_OVERTAKEN
from backend.service import parse
from backend.store import briefs, instances, pools, services, tasks
from backend.store.embedded import EmbeddedStore
from backend.store.keys import key
from backend.store.outputs import Holder
from backend.store.tasks import NewTask
from backend.task import Task, TaskState
from tests.support.ear import Ear
from tests.support.fake_launcher import FakeLauncher
from tests.support.virtual_time import VirtualClock, VirtualStore

SERVICE = "svc"
LEASE, START_DEADLINE, GRACE = 10.0, 30.0, 12.0
MAX_DELIVERY = 3
USERS = ("ana", "ben", "cem")
PRESENT = (InstanceState.STARTING, InstanceState.IDLE, InstanceState.BUSY)


@dataclass
class Played:
    """What really is the matter with an instance, which the supervisor must find out."""

    alive: bool = True
    stalled: bool = False
    lease_until: float = 0.0
    running: dict[str, Holder] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """The store at one moment."""

    instances: list[Instance]
    tasks: dict[str, Task]


class WatchedLauncher(FakeLauncher):
    """Notes instances that were killed though they lived and worked."""

    def __init__(self) -> None:
        super().__init__()
        self.played: dict[str, Played] = {}
        self.wronged: list[str] = []

    def stop(self, instance: Instance) -> None:
        super().stop(instance)
        self._watch(instance)

    def kill(self, instance: Instance) -> bool:
        certain = super().kill(instance)
        self._watch(instance)
        if instance.id in self.played:
            self.played[instance.id].alive = False
        return certain

    def _watch(self, instance: Instance) -> None:
        played = self.played.get(instance.id)
        if played and played.alive and not played.stalled and played.running:
            self.wronged.append(instance.id)


class Schedules(RuleBasedStateMachine):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.store = VirtualStore(url)
        self.store.redis.flushdb()
        self.clock = VirtualClock(self.store)
        self.ear = Ear(self.store)
        self.launcher = WatchedLauncher()
        self.put_tasks: dict[str, str] = {}
        self.ends: Counter[str] = Counter()
        self.ended: dict[str, Task] = {}
        self.stale: list[Holder] = []
        self.numbers = itertools.count(1)
        self.seen: Seen | None = None
        self.passed: dict[str, set[str]] = {}
        self.bounds = (0, 3)
        self._describe()
        self._new_supervisor()

    def teardown(self) -> None:
        try:
            self._all_comes_to_an_end()
        finally:
            self.ear.close()
            self.store.close()

    # the deployment

    def _describe(self) -> None:
        low, high = self.bounds
        raw = {
            "metadata": {"name": SERVICE, "type": "ScalableJob"},
            "autoscaler": {"min": low, "max": high},
            "queue": {"max_delivery": MAX_DELIVERY},
        }
        deploy(self.store, parse(raw).description)

    def _new_supervisor(self) -> None:
        description = self.store.run(services.get(SERVICE)).description
        learnt = Learnt(self.store.run(pools.load(SERVICE)))
        self.pool = Pool(
            SERVICE,
            self.store,
            self.launcher,
            description,
            learnt,
            clock=self.clock,
            new_id=lambda: f"i{next(self.numbers):03}",
        )
        self.reaper = Reaper(
            self.store, self.launcher, start_deadline=START_DEADLINE, grace=GRACE, clock=self.clock
        )
        self.judged_from = self.clock.time() + GRACE

    def _played(self, *states: InstanceState, fresh: bool = False) -> list[Instance]:
        """Instances in one of `states` whose process lives and moves."""
        present = read_instances(self.store) if fresh else self._see().instances
        found = [i for i in present if i.state in states]
        return [i for i in found if (p := self._of(i.id)).alive and not p.stalled]

    def _of(self, instance: str) -> Played:
        return self.launcher.played.setdefault(instance, Played())

    def _see(self) -> Seen:
        """The store between two rules, read once: conditions and choices look at this."""
        if self.seen is None:
            self.seen = Seen(read_instances(self.store), self._tasks())
        return self.seen

    def _task(self, task: str) -> Task:
        return self.store.run(tasks.get(task))

    def _tasks(self) -> dict[str, Task]:
        """Every task that was put, in one look."""
        return dict(
            zip(self.put_tasks, self.store.run_all([tasks.get(task) for task in self.put_tasks]), strict=True)
        )

    # what people do

    @rule(user=st.sampled_from(USERS), count=st.integers(1, 4))
    def put(self, user: str, count: int) -> None:
        for _ in range(count):
            task = f"t{len(self.put_tasks)}"
            self.store.run(tasks.put(NewTask(id=task, service=SERVICE, kind="command", user=user)))
            self.put_tasks[task] = user

    @precondition(lambda self: self.put_tasks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(sorted(self.put_tasks)))
        before = self._task(task).state
        after = self.store.run(tasks.cancel(task))
        if after is TaskState.CANCELLED and not before.final:
            self.ends[task] += 1

    @rule(low=st.integers(0, 2), high=st.integers(0, 4), seen=st.booleans())
    def autoscale(self, low: int, high: int, seen: bool) -> None:
        self.bounds = (min(low, high), high)
        self._describe()
        self.pool.description = self.store.run(services.get(SERVICE)).description
        if seen:
            self._pass()

    # what the supervisor does

    @rule()
    def a_pass(self) -> None:
        self._pass()

    @rule()
    def all_goes_well_for_a_moment(self) -> None:
        self._pass()
        for instance in self._played(InstanceState.STARTING, fresh=True):
            self._come_up(instance.id)
        self._pass()
        for pair in self._assigned(fresh=True):
            self._begin(*pair)
        self._pass()

    def _pass(self) -> None:
        self.seen = None
        before = {name: t for name, t in self._tasks().items() if t.state is TaskState.WAITING}
        idle_hands = {name for name, n in self.pool.idle_hands.items() if n >= IDLE_HANDS}
        found = read_instances(self.store)
        if self.reaper.reap(found, {SERVICE: MAX_DELIVERY}, idle_hands):
            found = read_instances(self.store)
        draining = {i.id for i in found if i.state is InstanceState.DRAINING}
        self.pool.step(found, [], self.ear.changed(SERVICE))
        self.launcher.played |= {
            name: Played() for name in self.launcher.orders.keys() - self.launcher.played
        }
        after = self._tasks()
        given = [t for t in before.values() if after[t.id].state is TaskState.ASSIGNED]
        assert not [t for t in given if after[t.id].instance in draining], "draining, and given a task"
        self._turns_were_fair(given, after, self._shares())
        present = read_instances(self.store)
        self._deadlines_are_kept(after, present)
        self._counts_are_right(present)

    def _shares(self) -> dict[str, float]:
        """Recent seconds of each user as the last pass knew them, without what they have under way."""
        return dict(self.pool.learnt.usage.at_time(self.clock.time()).seconds)

    def _turns_were_fair(self, given: list[Task], after: dict[str, Task], share: dict[str, float]) -> None:
        held = {t.user for t in after.values() if t.state in (TaskState.ASSIGNED, TaskState.RUNNING)}
        left = [task for task in after.values() if task.state is TaskState.WAITING]
        heads: dict[str, Task] = {}
        for task in sorted(left, key=lambda t: t.index):
            heads.setdefault(task.user, task)
        for head in heads.values():
            passed = self.passed.setdefault(head.id, set())
            passed |= {task.id for task in given if task.index > head.index}
            assert len(passed) <= MAX_OVERTAKEN, f"{head.id} was passed by {len(passed)}"
            for task in given:
                mine, theirs = share.get(head.user, 0.0), share.get(task.user, 0.0)
                younger = task.index > head.index
                idle_user = head.user not in held and head.user != task.user
                if younger and idle_user:
                    assert theirs <= mine, f"{task.user} ({theirs}) went before {head.user} ({mine})"
                assert task.user != head.user or not younger, "a user's own tasks were turned round"

    def _deadlines_are_kept(self, after: dict[str, Task], present: list[Instance]) -> None:
        now = self.clock.time()
        for task in after.values():
            if task.state is TaskState.ASSIGNED:
                assert now - (task.assigned_at or now) <= pool_module.BEGIN_DEADLINE, "assigned for too long"
        for instance in present:
            if instance.state is InstanceState.STARTING:
                assert now - instance.created_at <= START_DEADLINE, "starting for too long"
            elif now > self.judged_from:
                assert instance.lease_left > 0, f"{instance.state} without a lease"

    def _counts_are_right(self, present: list[Instance]) -> None:
        low, high = self.bounds
        states = Counter(i.state for i in present)
        counted = sum(states[state] for state in PRESENT)
        assert counted <= high, f"{counted} instances, {high} allowed"
        if self.clock.monotonic() >= self.pool.starts.after:
            assert counted >= low, f"{counted} instances that count ({states}), {low} wanted"

    @rule()
    def another_supervisor(self) -> None:
        self.pool.save()
        self._new_supervisor()

    @precondition(lambda self: self._counted() < self.bounds[1])
    @rule()
    def another_supervisor_after_one_that_ended_in_a_start(self) -> None:
        name = f"i{next(self.numbers):03}"
        where = {"launcher": self.launcher.name, "host": self.launcher.host, "device": "cpu"}
        self.store.run_all(instances.create(name, SERVICE, slots=1, **where, created_at=self.clock.time()))
        self.launcher.vanished.add(name)
        self._of(name).alive = False
        self.another_supervisor()
        self._pass()

    def _counted(self) -> int:
        return sum(i.state in PRESENT for i in self._see().instances)

    # what instances and time do

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 16.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        while seconds > 0:
            self.clock.advance(min(seconds, LEASE / 4))
            seconds -= LEASE / 4
            self._renew()

    def _renew(self) -> None:
        now = self.clock.time()
        for instance in read_instances(self.store):
            played = self._of(instance.id)
            if instance.state is InstanceState.STARTING:
                continue
            if played.alive and not played.stalled:
                orders = self.store.run(instances.renew(instance.id, 10**6))
                played.lease_until = now + LEASE
                for task in [t for t in played.running if orders.tasks.get(t, "lost") == "lost"]:
                    self.stale.append(played.running.pop(task))
                if orders.state is InstanceState.DRAINING and not orders.tasks and not played.running:
                    self._leave(instance.id, "drained")
            elif now > played.lease_until:
                self.store.redis.delete(key("lease", instance.id))

    def _leave(self, instance: str, reason: str) -> None:
        self.store.run(instances.gone(instance, reason, counted=False, max_delivery=0))
        self._of(instance).alive = False
        self.launcher.end(instance)

    @precondition(lambda self: self._played(InstanceState.STARTING))
    @rule(data=st.data())
    def one_comes_up(self, data: st.DataObject) -> None:
        self._come_up(data.draw(st.sampled_from(self._played(InstanceState.STARTING))).id)

    def _come_up(self, instance: str) -> None:
        self.store.run(instances.renew(instance, 10**6))
        self._of(instance).lease_until = self.clock.time() + LEASE
        self.store.run(instances.ready(instance, Place("here", 1, 2.5)))

    def _assigned(self, *, fresh: bool = False) -> list[tuple[str, str]]:
        found = self._played(InstanceState.BUSY, InstanceState.DRAINING, fresh=fresh)
        known = self._tasks() if fresh else self._see().tasks
        return [
            (i.id, t)
            for i in found
            for t in i.tasks
            if t not in self._of(i.id).running and known[t].state is TaskState.ASSIGNED
        ]

    @precondition(lambda self: self._assigned())
    @rule(data=st.data())
    def one_begins(self, data: st.DataObject) -> None:
        self._begin(*data.draw(st.sampled_from(self._assigned())))

    def _begin(self, instance: str, task: str) -> None:
        cancelled = self._task(task).cancel is not None
        attempt = self.store.run(tasks.claim(task, instance))
        assert attempt or cancelled
        if attempt:
            self._of(instance).running[task] = Holder(task, attempt, instance)
        else:
            self.ends[task] += 1

    def _holders(self, *, fresh: bool = False) -> list[Holder]:
        found = self._played(InstanceState.BUSY, InstanceState.DRAINING, fresh=fresh)
        return [holder for i in found for holder in self._of(i.id).running.values()]

    @precondition(lambda self: self._holders())
    @rule(data=st.data(), state=st.sampled_from([TaskState.SUCCEEDED, TaskState.FAILED]))
    def one_ends(self, data: st.DataObject, state: TaskState) -> None:
        self._finish(data.draw(st.sampled_from(self._holders())), state)

    def _finish(self, holder: Holder, state: TaskState) -> None:
        self.store.run(tasks.finish(holder, state, ""))  # type: ignore[arg-type]
        self.ends[holder.task] += 1
        del self._of(holder.instance).running[holder.task]

    @precondition(lambda self: self._holders())
    @rule(data=st.data(), counted=st.booleans())
    def one_goes_back(self, data: st.DataObject, counted: bool) -> None:
        holder = data.draw(st.sampled_from(self._holders()))
        after = self.store.run(
            tasks.give_back(holder, "could not", counted=counted, max_delivery=MAX_DELIVERY)
        )
        self.ends[holder.task] += after.final
        del self._of(holder.instance).running[holder.task]

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def one_that_lost_its_task_speaks(self, data: st.DataObject) -> None:
        holder = data.draw(st.sampled_from(self.stale))
        with pytest.raises(StaleAttempt):
            self.store.run(tasks.finish(holder, TaskState.SUCCEEDED, "late"))

    @precondition(lambda self: self._played(*PRESENT, InstanceState.DRAINING))
    @rule(data=st.data())
    def one_dies(self, data: st.DataObject) -> None:
        instance = data.draw(st.sampled_from(self._played(*PRESENT, InstanceState.DRAINING)))
        played = self._of(instance.id)
        played.alive = False
        self.stale += played.running.values()
        played.running.clear()
        self.launcher.end(instance.id)
        # It is known to be dead only at the next pass; until then its words would still count.
        self._bury_before_it_speaks()

    def _bury_before_it_speaks(self) -> None:
        self._pass()

    @precondition(lambda self: self._played(InstanceState.IDLE, InstanceState.BUSY))
    @rule(data=st.data())
    def one_stands_still(self, data: st.DataObject) -> None:
        self._of(
            data.draw(st.sampled_from(self._played(InstanceState.IDLE, InstanceState.BUSY))).id
        ).stalled = True

    @precondition(lambda self: any(p.stalled for p in self.launcher.played.values()))
    @rule()
    def they_move_again(self) -> None:
        """What stood still past its lease finds its tasks gone; what did not goes on."""
        for name, played in self.launcher.played.items():
            if played.stalled:
                played.stalled = False
                orders = self.store.run(instances.renew(name, 10**6))
                if orders.state is InstanceState.GONE or not played.alive:
                    self.stale += played.running.values()
                    played.running.clear()
                    played.alive = False
                else:
                    played.lease_until = self.clock.time() + LEASE

    # what must always hold

    @invariant()
    def nobody_at_work_was_stopped(self) -> None:
        assert self.launcher.wronged == []

    @invariant()
    def every_task_is_in_one_place_and_an_end_is_an_end(self) -> None:
        self.seen = None
        seen = self._see()
        waiting = self.store.run(briefs.look(SERVICE)).waiting
        held = [t for i in seen.instances for t in i.tasks]
        final = [name for name, t in seen.tasks.items() if t.final]
        assert Counter([*waiting, *held, *final]) == Counter(self.put_tasks.keys())
        for task, found in seen.tasks.items():
            if found.final:
                assert found == self.ended.setdefault(task, found)
        assert not [task for task, times in self.ends.items() if times > 1]

    def _all_comes_to_an_end(self) -> None:
        """When nothing goes wrong any more, every task is run to its end and the pool becomes as small as it may."""
        self.bounds = (0, 3)
        self._describe()
        self.pool.description = self.store.run(services.get(SERVICE)).description
        # The longest that an idle instance is kept: three times 2.6 cold starts, of which none takes over 30 s.
        for _ in range(100 + 8 * len(self.put_tasks)):
            if self.launcher.played and any(p.stalled for p in self.launcher.played.values()):
                self.they_move_again()
            for instance in self._played(InstanceState.STARTING, fresh=True):
                self._come_up(instance.id)
            for pair in self._assigned(fresh=True):
                self._begin(*pair)
            for holder in self._holders(fresh=True):
                self._finish(holder, TaskState.SUCCEEDED)
            self.time_passes(3.0)
            self._pass()
            if all(t.final for t in self._tasks().values()) and not read_instances(self.store):
                break
        self.every_task_is_in_one_place_and_an_end_is_an_end()
        left = [name for name, t in self._tasks().items() if not t.final]
        assert not left, f"never came to an end: {left}"
        assert not read_instances(self.store), "instances without work stay for ever"


def test_promises_hold_in_random_schedules(server: EmbeddedStore) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Schedules(server.url),
        settings=settings(
            max_examples=int(os.environ.get("LORAPOOL_SCHEDULES", "40")),
            derandomize="LORAPOOL_SCHEDULES" not in os.environ,
            stateful_step_count=40,
            deadline=None,
            database=None,
            print_blob=True,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
