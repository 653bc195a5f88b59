"""Run times from what has finished."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.scaling import Durations, Estimator


def test_the_most_special_key_that_has_finished_often_enough_decides() -> None:
    estimator = Estimator(enough=3)
    for seconds in (10, 11, 12):
        estimator.finished(("sd15", "30"), seconds)
    for seconds in (90, 91, 92, 93):
        estimator.finished(("sdxl", "30"), seconds)
    assert estimator.expected(("sd15", "30")) == 11
    assert estimator.expected(("sd15", "50")) == 11
    assert estimator.expected(("flux",)) == 90
    assert Estimator().expected(("sd15",)) is None


def test_what_is_left_is_taken_from_the_runs_that_took_longer_and_on_the_safe_side() -> None:
    durations = Durations([10, 20, 30, 40, 50])
    assert durations.remaining(0) == 50
    assert durations.remaining(25) == 25
    assert durations.remaining(45) == 5
    assert durations.remaining(50) is None


def test_old_durations_go_when_new_ones_come() -> None:
    durations = Durations([1000.0] * 5, size=5)
    for _ in range(5):
        durations.add(1.0)
    assert (durations.median, len(durations)) == (1.0, 5)


def test_keys_are_bounded_and_the_last_used_stay() -> None:
    estimator = Estimator(enough=1, keys=10)
    for n in range(100):
        estimator.finished((f"m{n}",), float(n))
    assert len(estimator.to_json()) <= 10
    assert estimator.expected(("m99",)) == 99
    assert estimator.expected(("m1",)) == estimator.expected(())


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.floats(0.1, 1e5)), max_size=50))
def test_what_was_learnt_outlives_a_restart(runs: list[tuple[str, float]]) -> None:
    estimator = Estimator()
    for key, seconds in runs:
        estimator.finished((key,), seconds)
    again = Estimator.from_json(estimator.to_json())
    for key in ("a", "b", "c"):
        assert again.expected((key,)) == estimator.expected((key,))
        assert again.remaining((key,), 50.0) == estimator.remaining((key,), 50.0)


@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=300))
def test_the_median_is_that_of_the_last_two_hundred(values: list[float]) -> None:
    durations = Durations()
    for value in values:
        durations.add(value)
    last = sorted(values[-200:])
    assert durations.median == pytest.approx(last[len(last) // 2])
