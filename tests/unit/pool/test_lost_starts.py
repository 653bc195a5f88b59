"""When a start is taken for lost, and when it is only slow to be seen."""

from __future__ import annotations

from backend.pool.lost_starts import JUST_NOW, LostStarts


def test_one_that_is_looked_for_in_vain_for_long_enough_is_lost() -> None:
    starts = LostStarts()
    assert starts.judge({"a": False, "b": True}, 100.0) == set(), "it may show itself yet"
    assert starts.judge({"a": False, "b": True}, 100.0 + JUST_NOW - 0.1) == set()
    assert starts.judge({"a": False, "b": True}, 100.0 + JUST_NOW) == {"a"}


def test_one_that_shows_itself_late_has_all_the_time_again() -> None:
    starts = LostStarts()
    starts.judge({"a": False}, 0.0)
    starts.judge({"a": True}, JUST_NOW - 1)
    assert starts.judge({"a": False}, JUST_NOW + 1) == set()
    assert starts.judge({"a": False}, 2 * JUST_NOW + 1) == {"a"}


def test_what_starts_no_more_is_forgotten() -> None:
    starts = LostStarts()
    starts.judge({"a": False}, 0.0)
    starts.judge({}, 1.0)
    assert starts.since == {}
