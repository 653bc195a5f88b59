"""The EAS rule, case by case: what a description with `strategies` gets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backend.scaling import InstanceView, Memory, Snapshot, decide
from tests.support.scaling_world import NOW, busy, idle, queue, running, snapshot

THRESHOLD = {"avg_waiting_length": 10}
AT_ONCE = {"scaleDown": {"stabilizationWindowSeconds": 0}, "onZero": {"scaleDownGracePeriodSeconds": 0}}


def pool(idles: int = 0, busies: int = 0) -> tuple[InstanceView, ...]:
    return (*(idle(f"i{n}") for n in range(idles)), *(busy(f"b{n}") for n in range(busies)))


def desired(seen: Snapshot, memory: Memory | None = None) -> int:
    return decide(seen, memory or Memory())[0].desired


@pytest.mark.parametrize(
    ("instances", "waiting", "expected"),
    [
        (2, 46, 5),  # the documented example: 23 each, ceil(2 * 2.3)
        (2, 4, 1),  # and back: 2 each, ceil(5 * 0.2) of five, here of two
        (3, 30, 3),  # 30 and fewer do not scale out
        (3, 33, 3),  # 11 each: within the tolerance of 10 %
        (3, 34, 4),  # above it
        (3, 20, 2),
        (3, 1, 1),
        (1, 11, 1),
        (1, 12, 2),
        (1, 200, 8),  # max
    ],
)
def test_the_formula(instances: int, waiting: int, expected: int) -> None:
    said = {"max": 8, "strategies": THRESHOLD, "behavior": AT_ONCE}
    seen = snapshot(*pool(idles=instances), *queue(waiting), autoscaler=said)
    assert desired(seen) == expected


def test_five_instances_with_two_each_become_one() -> None:
    said = {"max": 8, "strategies": THRESHOLD, "behavior": AT_ONCE}
    assert desired(snapshot(*pool(idles=5), *queue(10), autoscaler=said)) == 1


@pytest.mark.parametrize("metric", ["avg_waiting_length", "queue[avgbacklog]"])
@pytest.mark.parametrize("spelling", ["strategies", "scaleStrategies"])
def test_both_names_in_both_spellings(metric: str, spelling: str) -> None:
    value: Any = {metric: 2} if spelling == "strategies" else [{"metricName": metric, "threshold": 2}]
    assert desired(snapshot(*pool(idles=1), *queue(7), autoscaler={spelling: value})) == 4


def test_running_tasks_count_unless_told_otherwise() -> None:
    said = {"strategies": {"avg_waiting_length": 1}, "behavior": AT_ONCE}
    parts = (*pool(busies=3), *queue(1))
    assert desired(snapshot(*parts, autoscaler=said)) == 4
    # Only what waits: a third of a task each, and the busy ones drain; none of them is stopped.
    made, _ = decide(snapshot(*parts, autoscaler=said | {"count_running": False}), Memory())
    assert (made.desired, made.stop, len(made.drain)) == (1, (), 2)


def test_a_busy_instance_is_not_scaled_away_while_running_tasks_count() -> None:
    said = {"strategies": {"avg_waiting_length": 1}, "behavior": AT_ONCE}
    made, _ = decide(snapshot(*pool(idles=2, busies=2), autoscaler=said), Memory())
    assert (made.desired, sorted(made.stop), made.drain) == (2, ["i0", "i1"], ())


def test_draining_instances_and_their_tasks_do_not_count() -> None:
    said = {"strategies": {"avg_waiting_length": 2}, "behavior": AT_ONCE}
    seen = snapshot(busy("d", draining=True), idle("i"), *queue(3), autoscaler=said)
    made, _ = decide(seen, Memory())
    assert (made.current, made.desired) == (1, 2)


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"qps": 30.0, "gpu": 50.0}, 6),
        ({"qps": 10.0, "gpu": 100.0}, 4),
        ({"qps": 1.0, "gpu": 5.0}, 1),
        ({"qps": 30.0}, 6),  # what nobody measures is left out
        ({}, 2),  # nothing is known, nothing changes
        ({"qps": 5.0, "gpu": 60.0}, 3),  # one wants fewer, one more
    ],
)
def test_of_several_metrics_the_largest_wins(metrics: dict[str, float], expected: int) -> None:
    said = {"max": 8, "strategies": {"qps": 10, "gpu": 50}, "behavior": AT_ONCE}
    assert desired(snapshot(*pool(idles=2), autoscaler=said, metrics=metrics)) == expected


def test_from_zero_the_activation_replicas_start_at_once() -> None:
    behavior = {
        "scaleUp": {"stabilizationWindowSeconds": 60},
        "onZero": {"scaleUpActivationReplicas": 3},
    }
    said = {"strategies": THRESHOLD, "behavior": behavior}
    assert desired(snapshot(autoscaler=said)) == 0
    assert desired(snapshot(*queue(1), autoscaler=said)) == 3
    assert desired(snapshot(*queue(1), autoscaler=said | {"max": 2})) == 2


class Course:
    """The same pool seen at several moments, with what the rule remembers in between."""

    def __init__(self, *instances: InstanceView, **behavior: Any) -> None:
        self.instances = instances
        self.said = {"strategies": {"avg_waiting_length": 1}, "behavior": behavior}
        self.memory = Memory()

    def at(self, second: float, waiting: int, instances: tuple[InstanceView, ...] | None = None) -> int:
        here = self.instances if instances is None else instances
        seen = snapshot(*here, *queue(waiting), now=NOW + second, autoscaler=self.said)
        self.memory = self.memory.observe(seen)
        made, self.memory = decide(seen, self.memory)
        self.wake_at = made.wake_at
        return made.desired


def test_scale_out_waits_for_the_whole_window() -> None:
    course = Course(*pool(idles=1), scaleUp={"stabilizationWindowSeconds": 30})
    assert course.at(0, waiting=4) == 1
    assert course.wake_at == NOW + 30
    assert course.at(29, waiting=6) == 1
    assert course.at(30, waiting=6) == 6 - 1  # max


def test_a_window_that_is_broken_begins_anew() -> None:
    course = Course(*pool(idles=1), scaleUp={"stabilizationWindowSeconds": 30})
    assert course.at(0, waiting=4) == 1
    assert course.at(20, waiting=1) == 1
    assert course.at(25, waiting=4) == 1
    assert course.at(50, waiting=4) == 1
    assert course.at(55, waiting=4) == 4


def test_scale_in_waits_for_the_whole_window() -> None:
    course = Course(*pool(idles=4), scaleDown={"stabilizationWindowSeconds": 300})
    assert course.at(0, waiting=2) == 4
    assert course.at(200, waiting=4) == 4
    assert course.at(250, waiting=1) == 4
    assert course.at(549, waiting=1) == 4
    assert course.at(550, waiting=1) == 1


def test_the_last_instance_stays_for_the_grace() -> None:
    course = Course(*pool(idles=3), onZero={"scaleDownGracePeriodSeconds": 60})
    assert course.at(0, waiting=0) == 3
    assert course.at(1, waiting=0) == 1
    assert course.at(59, waiting=0, instances=pool(idles=1)) == 1
    assert course.wake_at == NOW + 60
    assert course.at(60, waiting=0, instances=pool(idles=1)) == 0


def test_a_task_within_the_grace_begins_it_anew() -> None:
    course = Course(*pool(idles=1), onZero={"scaleDownGracePeriodSeconds": 60})
    assert course.at(0, waiting=0) == 1
    assert course.at(50, waiting=0, instances=(busy("b", running("t")),)) == 1
    assert course.at(70, waiting=0) == 1
    assert course.at(129, waiting=0) == 1
    assert course.at(130, waiting=0) == 0


def test_min_is_kept_whatever_the_metrics_say() -> None:
    said = {"min": 2, "strategies": THRESHOLD, "behavior": AT_ONCE}
    made, _ = decide(snapshot(*pool(idles=3), autoscaler=said), Memory())
    assert (made.desired, made.why) == (2, "min is 2")


def test_a_rounding_error_starts_nothing() -> None:
    # 3 * 0.1 / 0.1 is more than 3 in floating point.
    said = {"strategies": {"qps": 0.1}, "behavior": AT_ONCE}
    assert desired(snapshot(*pool(idles=3), autoscaler=said, metrics={"qps": 0.1})) == 3


def test_the_windows_outlive_a_restart() -> None:
    course = Course(*pool(idles=1), scaleUp={"stabilizationWindowSeconds": 30})
    course.at(0, waiting=4)
    course.memory = replace(Memory.from_json(course.memory.to_json()))
    assert course.at(30, waiting=4) == 4
