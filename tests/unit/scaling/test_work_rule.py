"""Our own rule: when a task is worth a boot, when an idle instance is worth its keep."""

from __future__ import annotations

import pytest

from backend.scaling import Decision, InstanceView, Memory, WaitingTask, decide
from backend.scaling.work_rule import COMFORT, DEFAULT, ECONOMY, dial, kept_until
from tests.support.scaling_world import NOW, busy, idle, queue, running, snapshot, starting, waiting

COLD = 60.0


def decision(
    *parts: WaitingTask | InstanceView, arrivals: tuple[float, ...] = (), **autoscaler: object
) -> Decision:
    seen = snapshot(*parts, autoscaler=dict(autoscaler), cold_start=COLD)
    return decide(seen, Memory(arrivals=tuple(NOW - ago for ago in arrivals)))[0]


class TestOut:
    def test_a_task_without_an_instance_starts_one(self) -> None:
        made = decision(waiting("t"))
        assert (made.start, made.why) == (1, "of 1 task waiting, 1 would not be reached soon enough")

    @pytest.mark.parametrize(("left", "start"), [(20.0, 0), (32.0, 0), (34.0, 1), (900.0, 1)])
    def test_none_for_a_task_that_a_busy_instance_reaches_soon(self, left: float, start: int) -> None:
        # The default waits for 0.55 cold starts, 33 s here.
        assert decision(busy("b", running("r", left=left)), waiting("t")).start == start

    def test_and_what_is_not_reached_after_all_is_looked_at_again(self) -> None:
        made = decision(busy("b", running("r", left=20.0)), waiting("t"))
        assert made.wake_at == NOW + 20.0

    def test_boots_under_way_count_first(self) -> None:
        assert decision(starting("s"), waiting("t")).start == 0
        assert decision(starting("s"), *queue(3, seconds=600.0)).start == 2

    def test_short_tasks_share_an_instance(self) -> None:
        assert decision(busy("b", running("r", left=5.0)), *queue(3, seconds=5.0)).start == 0

    def test_without_any_estimate_a_run_is_taken_to_go_on_as_long_as_it_has(self) -> None:
        assert decision(busy("b", running("r", since=20.0, left=None)), waiting("t")).start == 0
        assert decision(busy("b", running("r", since=50.0, left=None)), waiting("t")).start == 1

    def test_economy_waits_longer_and_comfort_not_at_all(self) -> None:
        parts = (busy("b", running("r", left=50.0)), waiting("t"))
        assert decision(*parts, preset="economy").start == 0
        assert decision(*parts, preset="default").start == 1
        assert decision(busy("b", running("r", left=2.0)), waiting("t"), preset="comfort").start == 1

    def test_more_is_wanted_than_there_may_be(self) -> None:
        made = decision(*queue(20, seconds=600.0), max=4)
        assert (made.start, made.why_not_more) == (4, "max is 4")

    def test_a_draining_instance_reaches_nobody(self) -> None:
        assert decision(busy("b", running("r", left=1.0), draining=True), waiting("t")).start == 1

    def test_a_slot_is_enough_for_a_query(self) -> None:
        instance = busy("b", running("r", left=900.0, kind="query"), slots=2)
        assert decision(instance, waiting("q", kind="query")).start == 0
        assert decision(instance, waiting("c")).start == 1


class TestIn:
    def test_an_idle_instance_goes_when_tasks_come_seldom(self) -> None:
        made = decision(idle("a"), arrivals=(4_000, 2_000, 900))
        assert (made.stop, made.why) == (
            ("a",),
            "nothing waits, 0 instances busy; tasks come too seldom to keep an idle one",
        )

    def test_it_stays_while_they_come_often_until_a_silence(self) -> None:
        made = decision(idle("a"), arrivals=(70, 50, 30, 10))
        assert made.stop == ()
        assert made.wake_at is not None and made.wake_at > NOW
        later = snapshot(idle("a"), now=made.wake_at, cold_start=COLD)
        memory = Memory(arrivals=tuple(NOW - ago for ago in (70, 50, 30, 10)))
        assert decide(later, memory)[0].stop == ("a",)

    def test_a_second_one_only_when_they_come_that_much_more_often(self) -> None:
        often = tuple(80.0 * n + 70 for n in reversed(range(16)))
        very_often = tuple(2.0 * n + 1 for n in reversed(range(16)))
        assert len(decision(idle("a"), idle("b", since=900), arrivals=often).stop) == 1
        assert decision(idle("a"), idle("b", since=900), arrivals=very_often).stop == ()

    def test_the_longest_idle_goes_first(self) -> None:
        arrivals = tuple(80.0 * n + 70 for n in reversed(range(16)))
        assert decision(idle("new", since=5), idle("old", since=90), arrivals=arrivals).stop == ("old",)

    def test_comfort_keeps_longer_than_economy(self) -> None:
        arrivals = (400.0, 250.0, 100.0)
        assert decision(idle("a"), arrivals=arrivals, preset="economy").stop == ("a",)
        assert decision(idle("a"), arrivals=arrivals, preset="comfort").stop == ()

    def test_a_busy_instance_is_not_counted_out(self) -> None:
        made = decision(busy("b"), arrivals=(9_000,))
        assert (made.desired, made.drain) == (1, ())


class TestDial:
    def test_its_three_places(self) -> None:
        assert (dial(0.0), dial(0.5), dial(1.0)) == (ECONOMY, DEFAULT, COMFORT)

    def test_it_only_goes_one_way(self) -> None:
        places = [dial(n / 20) for n in range(21)]
        assert [p.patience for p in places] == sorted((p.patience for p in places), reverse=True)
        assert [p.keep for p in places] == sorted(p.keep for p in places)


class TestKeptUntil:
    def test_without_arrivals_nothing_is_kept(self) -> None:
        assert kept_until((), 100.0) < 0

    def test_one_arrival_is_kept_for_the_longest_gap(self) -> None:
        assert kept_until((50.0,), 100.0) == pytest.approx(150.0)

    def test_denser_arrivals_keep_longer_but_a_burst_is_over_after_three_gaps(self) -> None:
        dense = tuple(float(n) for n in range(16))
        assert kept_until(dense, 100.0) == 15.0 + 300.0
        sparse = tuple(200.0 * n for n in range(16))
        assert kept_until(sparse, 100.0) < 3_000.0 + 100.0
