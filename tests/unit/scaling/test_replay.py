"""The replay itself: figures that can be worked out by hand, and that its parts agree with each other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.scaling import parse_autoscaler
from backend.scaling.fairness import MAX_OVERTAKEN
from backend.scaling.generator import generate
from backend.scaling.offline import fewest_loads, offline_optimum
from backend.scaling.replay import LiveRule, Moves, Outcome, Replay, Rule, World, quantile, replay
from backend.scaling.rivals import RIVALS, OnePerWaiting
from backend.scaling.snapshot import Snapshot
from backend.scaling.trace import TraceTask


def tasks(*pairs: tuple[float, float]) -> list[TraceTask]:
    return [TraceTask(arrival, service) for arrival, service in pairs]


def outcome(trace: list[TraceTask], world: World, rule: Rule | None = None, **autoscaler: Any) -> Outcome:
    return replay(trace, parse_autoscaler({"min": 0, "max": 10, **autoscaler}), world, rule)


def test_one_task_waits_for_one_boot_and_costs_no_more_than_that() -> None:
    found = outcome(tasks((100, 50)), World(60), OnePerWaiting(keep=0.0))
    assert (found.wait_mean, found.wait_max, found.starts, found.kills) == (60, 60, 1, 0)
    # 60 s of boot and 50 s of work is also what the clairvoyant pays.
    assert found.cost_ratio == pytest.approx(1.0)


def test_an_instance_that_stands_ready_is_paid_for_until_the_last_task_ends() -> None:
    found = outcome(tasks((100, 50), (500, 50)), World(60), min=1)
    # It is ordered when the first task comes, and stays through the gap that the clairvoyant saves 290 s of.
    assert (found.starts, found.wait_max) == (1, 60)
    assert found.cost_ratio == pytest.approx((550 - 100) / (60 + 50 + 60 + 50))


def test_eas_scales_to_zero_after_its_grace() -> None:
    eas = {"strategies": {"avg_waiting_length": 2}}
    found = outcome(tasks((0, 10), (1000, 10)), World(5), **eas)
    assert (found.starts, found.wait_mean) == (2, 5)
    # Each time 5 s of boot, 10 s of work, and 60 s of grace until it goes.
    assert found.cost_ratio * 30 == pytest.approx(2 * (5 + 10 + 60))


def test_a_kill_sends_the_task_back_and_is_counted() -> None:
    class KillOnce(LiveRule):
        killed = False

        def moves(self, snapshot: Snapshot) -> Moves:
            made = super().moves(snapshot)
            running = [i.id for i in snapshot.instances if i.running and snapshot.now >= 30]
            if self.killed or not running:
                return Moves(made.assignments, made.start, wake_at=30.0 if snapshot.now < 30 else None)
            self.killed = True
            return Moves(kill=tuple(running), start=1)

    found = outcome(tasks((0, 40)), World(10), KillOnce())
    assert (found.kills, found.starts) == (1, 2)
    assert found.wait_mean == 30 + 10  # until the kill, and the second boot


def test_the_switch_of_a_base_model_takes_its_time() -> None:
    trace = [TraceTask(n * 100.0, 10.0, (f"base_model=m{n % 2}",)) for n in range(4)]
    found = outcome(trace, World(0, switch=7), min=1)
    assert (found.switches, found.wait_mean) == (4, 7)
    same = [TraceTask(task.arrival, task.service, ("base_model=m",)) for task in trace]
    assert outcome(same, World(0, switch=7), min=1).switches == 1


def test_an_instance_may_keep_several_base_models() -> None:
    trace = [TraceTask(n * 100.0, 10.0, (f"base_model=m{n % 3}",)) for n in range(9)]
    for kept, switches in ((1, 9), (2, 9), (3, 3)):
        assert outcome(trace, World(0, switch=7, models_kept=kept), min=1, max=1).switches == switches


def test_the_fewest_loads_in_hindsight() -> None:
    wanted = [(float(time), model) for time, model in enumerate("abcabcab")]
    assert fewest_loads(wanted, [(0.0, 1)]) == 8
    assert fewest_loads(wanted, [(0.0, 2)]) == 5
    assert fewest_loads(wanted, [(0.0, 3)]) == 3
    assert fewest_loads(wanted, [(0.0, 3), (2.5, 0), (2.6, 3)]) == 6, "what had no room in between is lost"


def test_affinity_is_told_to_dispatch_or_not() -> None:
    trace = [TraceTask(0.0, 10.0, (f"base_model=m{n % 2}",)) for n in range(12)]
    blind = outcome(trace, World(0, switch=10, affinity=False), max=1)
    seeing = outcome(trace, World(0, switch=10), max=1)
    assert (blind.switches, blind.overtaken) == (12, 0)
    assert seeing.switches == 2 and 0 < seeing.overtaken <= MAX_OVERTAKEN
    assert seeing.wait_mean < blind.wait_mean


@pytest.mark.parametrize("world", [World(60), World(60, boot_sigma=0.5), World(60, progress=0.2)], ids=str)
def test_the_same_seed_gives_the_same_figures(world: World) -> None:
    trace = generate("inference", 300)
    assert outcome(trace, world) == outcome(trace, world)


def test_the_samples_are_the_course() -> None:
    run = Replay(tasks((0, 50), (1, 50)), LiveRule(), parse_autoscaler({"min": 0, "max": 1}), World(10))
    run.run()
    assert [(s.at, s.waiting, s.starting, s.busy) for s in run.samples][:3] == [
        (0.0, 1, 1, 0),
        (1.0, 2, 1, 0),
        (10.0, 1, 0, 1),
    ]


traces = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 200)), min_size=1, max_size=25)


@settings(max_examples=150, deadline=None)
@given(
    gaps=traces,
    cold=st.integers(0, 60),
    most=st.integers(1, 6),
    comfort=st.floats(0, 1),
    sigma=st.sampled_from([0.0, 0.8]),
    eas=st.booleans(),
)
def test_every_task_ends_nobody_is_killed_and_nothing_is_free(
    gaps: list[tuple[int, int]], cold: int, most: int, comfort: float, sigma: float, eas: bool
) -> None:
    at, pairs = 0, []
    for gap, service in gaps:
        at += gap
        pairs.append((float(at), float(service)))
    trace = tasks(*pairs)
    said: dict[str, Any] = {"max": most, "comfort": comfort}
    if eas:
        said["strategies"] = {"avg_waiting_length": 2}
    run = Replay(trace, LiveRule(), parse_autoscaler({"min": 0, **said}), World(cold, boot_sigma=sigma))
    found = run.run()
    assert found.kills == 0
    assert found.wait_p50 >= 0
    if not eas:  # those that drain count among the busy ones here, and under the EAS rule there may be some
        assert max(s.starting + s.idle + s.busy for s in run.samples) <= most
    work = sum(task.service for task in trace)
    assert found.cost_ratio * offline_optimum(trace, cold).cost >= work - 1e-6


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_every_rival_finishes_the_work(rival: Any) -> None:
    found = outcome(generate("inference", 120), World(20), rival.make(20.0))
    assert found.cost_ratio > 0.3
    assert found.kills == 0 or rival.name.startswith("KEDA")


@pytest.mark.parametrize("seed", [1, 2])
def test_on_made_up_days_the_default_saves_and_waits_less_than_the_nearest_rival(seed: int) -> None:
    trace = generate("inference", 1500, seed)
    ours = outcome(trace, World(60))
    rival = next(r for r in RIVALS if "kept a cold start" in r.name)
    theirs = outcome(trace, World(60), rival.make(60.0))
    assert ours.cost_ratio < theirs.cost_ratio
    assert ours.wait_mean < theirs.wait_mean
    economy = outcome(trace, World(60), preset="economy")
    assert economy.cost_ratio < 0.8 * ours.cost_ratio


def test_quantiles() -> None:
    assert [quantile([0, 10], share) for share in (0, 0.5, 0.95, 1)] == [0, 5, 9.5, 10]
    assert quantile([3], 0.99) == 3


class TestOptimum:
    def test_a_gap_shorter_than_a_boot_is_idled_through(self) -> None:
        found = offline_optimum(tasks((0, 10), (40, 10)), 60)
        assert (found.cost, found.busy, found.boots, found.peak) == (60 + 10 + 30 + 10, 20, 1, 1)

    def test_a_longer_one_is_not(self) -> None:
        found = offline_optimum(tasks((0, 10), (100, 10)), 60)
        assert (found.cost, found.boots) == (140, 2)

    @settings(max_examples=300, deadline=None)
    @given(
        pairs=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), min_size=1, max_size=6),
        cold=st.integers(1, 40),
    )
    def test_it_is_the_cheapest_of_all_ways(self, pairs: list[tuple[int, int]], cold: int) -> None:
        trace = tasks(*((float(a), float(s)) for a, s in sorted(pairs)))
        assert offline_optimum(trace, cold).cost == pytest.approx(cheapest(trace, cold))


def cheapest(trace: list[TraceTask], cold: float) -> float:
    """Every way to give the tasks to instances, tried one by one; a gap costs itself or a boot."""

    def best(index: int, ends: tuple[float, ...]) -> float:
        if index == len(trace):
            return 0.0
        task = trace[index]
        end = task.arrival + task.service
        ways = [cold + best(index + 1, (*ends, end))]
        for n, free in enumerate(ends):
            if free <= task.arrival:
                rest = (*ends[:n], *ends[n + 1 :], end)
                ways.append(min(task.arrival - free, cold) + best(index + 1, rest))
        return task.service + min(ways)

    return best(0, ())
