"""Fair share and its bounds: single passes, and whole histories under a clock of their own."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.instance import InstanceState
from backend.scaling import (
    Assignment,
    InstanceView,
    Memory,
    RunningTask,
    Snapshot,
    Usage,
    WaitingTask,
    parse_autoscaler,
    pick,
    plan,
)
from backend.scaling.fairness import MAX_OVERTAKEN, Lines
from backend.task import Kind
from tests.support.scaling_world import busy, idle, numbered, queue, running, snapshot, waiting


def order(seen: Snapshot) -> list[str]:
    return [task.id for task in Lines(seen, {}).turns()]


class TestOnePass:
    def test_who_has_had_less_is_first(self) -> None:
        seen = snapshot(waiting("a", "ana", since=9), waiting("b", "bob", since=1), usage={"ana": 100.0})
        assert order(seen) == ["b", "a"]

    def test_among_equals_first_come_first_served(self) -> None:
        assert order(snapshot(waiting("a", "ana", since=9), waiting("b", "bob", since=1))) == ["a", "b"]

    def test_what_runs_counts_with_what_is_left_of_it(self) -> None:
        seen = snapshot(
            waiting("a", "ana", since=9),
            waiting("b", "bob", since=1),
            busy("i", running("r", "ana", left=50)),
        )
        assert order(seen) == ["b", "a"]

    def test_each_turn_is_charged(self) -> None:
        parts = (*queue(3, "ana", seconds=100.0), *queue(6, "bob", seconds=50.0))
        users = [name[:3] for name in order(snapshot(*parts))]
        assert users == ["ana", "bob", "bob", "ana", "bob", "bob", "ana", "bob", "bob"]

    def test_a_query_costs_its_part_of_an_instance(self) -> None:
        ana = queue(2, "ana", seconds=100.0)
        bob = queue(5, "bob", seconds=100.0, kind="query")
        users = [name[:3] for name in order(snapshot(*ana, *bob, slots=4))]
        assert users == ["ana", "bob", "bob", "bob", "bob", "ana", "bob"]

    def test_the_limit_of_a_user_holds_tasks_back_and_starts_nothing_for_them(self) -> None:
        parts = (*queue(5, "ana"), waiting("b", "bob"), busy("i", running("r", "ana")))
        seen = snapshot(*parts, autoscaler={"max_running_per_user": 2})
        assert sorted(order(seen)) == ["ana000", "b"]
        none = snapshot(*queue(5, "ana"), autoscaler={"user_limits": {"ana": 0}})
        assert plan(none, Memory()).decision.start == 0

    def test_a_limit_holds_within_one_pass(self) -> None:
        idles = [idle(f"i{n}", since=n) for n in range(4)]
        seen = snapshot(*queue(9, "ana"), *idles, autoscaler={"max_running_per_user": 2})
        assert len(pick(seen).assignments) == 2

    def test_the_oldest_task_of_a_user_gets_a_turn_whatever_they_have_used(self) -> None:
        newcomers = [waiting(f"n{n}", f"user{n}", since=1) for n in range(40)]
        seen = snapshot(waiting("heavy", "ana", since=9), *newcomers, usage={"ana": 1e6})
        assert order(seen).index("heavy") == MAX_OVERTAKEN


class TestUsage:
    def test_it_fades_by_half_in_its_half_life(self) -> None:
        usage = Usage({}, at=0.0, half_life=100.0).charge("ana", 80.0, now=0.0).at_time(200.0)
        assert usage.seconds == {"ana": pytest.approx(20.0)}

    def test_many_short_tasks_add_up(self) -> None:
        usage = Usage({})
        for n in range(100):
            usage = usage.charge("ana", 0.2, now=float(n))
        assert usage.seconds["ana"] == pytest.approx(20.0, rel=0.01)

    def test_who_has_next_to_nothing_left_is_forgotten(self) -> None:
        assert Usage({"ana": 10.0}, at=0.0, half_life=1.0).at_time(60.0).seconds == {}

    def test_a_clock_that_goes_back_gives_nobody_more(self) -> None:
        assert Usage({"ana": 10.0}, at=100.0).at_time(50.0).seconds == {"ana": 10.0}


@dataclass
class History:
    """Tasks through dispatch on a fixed number of instances, under a clock of its own.

    `began` lists the tasks in the order in which they began; `passed` counts, for each, how many younger ones of its
    priority did so while it waited at the head of its user's line.
    """

    instances: int
    slots: int = 1
    now: float = 0.0
    limit: int | None = None
    usage: Usage = field(default_factory=lambda: Usage({}))
    overtaken: dict[str, int] = field(default_factory=dict)
    queue: list[WaitingTask] = field(default_factory=list)
    holding: dict[str, dict[str, RunningTask]] = field(default_factory=dict)
    loaded: dict[str, tuple[str, ...]] = field(default_factory=dict)
    idle_since: dict[str, float] = field(default_factory=dict)
    ends: list[tuple[float, str, str]] = field(default_factory=list)
    began: list[str] = field(default_factory=list)
    began_at: dict[str, float] = field(default_factory=dict)
    passed: Counter[str] = field(default_factory=Counter)

    def put(self, *tasks: WaitingTask) -> None:
        self.queue += tasks
        self.dispatch()

    def seen(self) -> Snapshot:
        return Snapshot(
            self.now,
            parse_autoscaler({"min": 0, "max": 9, "max_running_per_user": self.limit}),
            numbered(self.queue),
            tuple(self._view(f"i{n}") for n in range(self.instances)),
            slots=self.slots,
            usage=self.usage.at_time(self.now).seconds,
        )

    def _view(self, name: str) -> InstanceView:
        runs = tuple(self.holding.get(name, {}).values())
        state = InstanceState.BUSY if runs else InstanceState.IDLE
        since = None if runs else self.idle_since.get(name, 0.0)
        return InstanceView(name, state, 0.0, self.slots, runs, since, self.loaded.get(name, ()))

    def dispatch(self) -> None:
        picks = pick(self.seen(), self.overtaken)
        self.overtaken = picks.overtaken
        for made in picks.assignments:
            self._begin(made)

    def _begin(self, made: Assignment) -> None:
        place = next(n for n, task in enumerate(self.queue) if task.id == made.task)
        task = self.queue[place]
        heads: set[str] = set()
        for earlier in self.queue[:place]:
            if earlier.user not in heads and earlier.priority == task.priority:
                self.passed[earlier.id] += 1
            heads.add(earlier.user)
        del self.queue[place]
        held = self.holding.setdefault(made.instance, {})
        assert all(run.kind == "query" for run in held.values()), "nothing joins a command"
        assert not held or (task.kind == "query" and len(held) < self.slots), "no place is given twice"
        assert task.seconds is not None
        held[task.id] = RunningTask(
            task.id, task.kind, task.created_at, self.now, task.user, remaining=task.seconds
        )
        self.loaded[made.instance] = task.models
        heapq.heappush(self.ends, (self.now + task.seconds, made.instance, task.id))
        self.began.append(task.id)
        self.began_at[task.id] = self.now

    def step(self) -> bool:
        """Go on to the end of the next task; False when none runs."""
        if not self.ends:
            return False
        self.now, name, task = heapq.heappop(self.ends)
        run = self.holding[name].pop(task)
        self.idle_since[name] = self.now
        self.usage = self.usage.charge(run.user, self.now - run.started_at, self.now)
        self.dispatch()
        return True

    def finish(self) -> None:
        while self.step():
            pass


def task(
    name: str,
    user: str,
    at: float,
    seconds: float,
    kind: Kind = "command",
    model: str = "",
    priority: int = 0,
) -> WaitingTask:
    models = (model,) if model else ()
    return WaitingTask(name, kind, at, user=user, priority=priority, seconds=seconds, models=models)


@settings(max_examples=80, deadline=None)
@given(
    instances=st.integers(1, 4),
    seconds=st.lists(st.floats(0.1, 60), min_size=50, max_size=50),
    after=st.integers(0, 40),
    own=st.floats(0.1, 600),
)
def test_one_task_beside_fifty_of_another_user_waits_for_at_most_one_running_task(
    instances: int, seconds: list[float], after: int, own: float
) -> None:
    # given fifty tasks of ana, some of them done
    history = History(instances)
    history.put(*(task(f"a{n}", "ana", 0.0, each) for n, each in enumerate(seconds)))
    for _ in range(after):
        history.step()
    # when bob puts one
    first_end = history.ends[0][0]
    history.put(task("bob", "bob", history.now, own))
    history.finish()
    # then the first instance that comes free is his
    assert history.began_at["bob"] == first_end
    assert len(history.began) == 51


tasks_of_all_kinds = st.lists(
    st.tuples(
        st.sampled_from(["ana", "bob", "eve"]),
        st.sampled_from(["m1", "m2", "m3", ""]),
        st.floats(0.5, 120),
        st.sampled_from(["command", "query", "query"]),
        st.floats(0, 20),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=1000, deadline=None)
@given(
    work=tasks_of_all_kinds,
    instances=st.integers(1, 3),
    slots=st.integers(1, 3),
    limit=st.none() | st.integers(1, 3),
)
def test_every_task_begins_once_and_no_head_of_a_line_is_passed_too_often(
    work: list[tuple[str, str, float, Kind, float]], instances: int, slots: int, limit: int | None
) -> None:
    history = History(instances, slots, limit=limit)
    at = 0.0
    for n, (user, model, seconds, kind, gap) in enumerate(work):
        at += gap
        while history.ends and history.ends[0][0] <= at:
            history.step()
        history.now = max(history.now, at)
        history.put(task(f"t{n}", user, at, seconds, kind, model))
        running_of = Counter(r.user for held in history.holding.values() for r in held.values())
        assert limit is None or max(running_of.values(), default=0) <= limit
    history.finish()
    assert sorted(history.began) == sorted(f"t{n}" for n in range(len(work)))
    if limit is None:
        # A command also waits until an instance that runs queries is empty, which nobody overtakes it for.
        assert max(history.passed.values(), default=0) <= MAX_OVERTAKEN + slots * instances


@settings(max_examples=150, deadline=None)
@given(
    models=st.lists(st.sampled_from(["m1", "m1", "m1", "m2", "m3"]), min_size=20, max_size=80),
    instances=st.integers(1, 3),
    seconds=st.floats(1, 60),
)
def test_nobody_is_passed_for_warm_models_beyond_the_bound(
    models: list[str], instances: int, seconds: float
) -> None:
    history = History(instances)
    history.put(*(task(f"t{n}", "", 0.0, seconds, model=model) for n, model in enumerate(models)))
    history.finish()
    place = {name: n for n, name in enumerate(history.began)}
    younger = [
        sum(place[f"t{m}"] < place[f"t{n}"] for m in range(n + 1, len(models))) for n in range(len(models))
    ]
    assert max(younger) <= MAX_OVERTAKEN


def test_low_priority_is_late_but_not_lost() -> None:
    history = History(1)
    history.put(task("low", "ana", 0.0, 60.0))
    history.put(task("late", "ana", 0.0, 60.0))
    for n in range(150):  # two and a half hours of nothing but urgent work
        history.put(task(f"u{n}", "bob", history.now, 60.0, priority=1))
        history.step()
    assert 3600 <= history.began_at["late"] <= 2 * 3600
