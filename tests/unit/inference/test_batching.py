from __future__ import annotations

from backend.inference.batching import PATIENCE, Waiting, joining


def queue(*kinds: str, since: float = 0.0, pictures: int = 1) -> list[Waiting]:
    return [Waiting(kind, since, pictures) for kind in kinds]


def test_nothing_waits() -> None:
    assert joining([], "a", now=0, room=8, busy=False) == ("a", [])


def test_the_first_chooses_what_is_loaded_and_all_of_its_kind_begin() -> None:
    assert joining(queue("a", "b", "a"), None, now=0, room=8, busy=False) == ("a", [0, 2])


def test_what_is_loaded_goes_before_a_switch_as_long_as_nobody_has_waited_long() -> None:
    waiting = queue("b", "a")
    assert joining(waiting, "a", now=PATIENCE, room=8, busy=False) == ("a", [1])
    assert joining(waiting, "a", now=PATIENCE + 1, room=8, busy=False) == ("b", [0])


def test_nobody_joins_before_one_that_has_waited_long() -> None:
    waiting = queue("b", "a")
    assert joining(waiting, "a", now=1.0, room=8, busy=True) == ("a", [1])
    assert joining(waiting, "a", now=PATIENCE + 1, room=8, busy=True) == ("a", [])


def test_room_is_kept_but_a_query_larger_than_all_room_is_drawn_alone() -> None:
    assert joining(queue("a", "a", pictures=5), "a", now=0, room=8, busy=False) == ("a", [0])
    assert joining(queue("a", pictures=50), "a", now=0, room=8, busy=False) == ("a", [0])
    assert joining(queue("a", pictures=50), "a", now=0, room=8, busy=True) == ("a", [])


def test_a_large_query_is_not_passed_for_ever_by_small_ones() -> None:
    waiting = [Waiting("a", 0.0, 9), Waiting("a", 0.0, 1)]
    assert joining(waiting, "a", now=0, room=8, busy=True) == ("a", [])
