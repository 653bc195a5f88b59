"""The history of a service: what changes is written, a long queue is not missed, and drawing it needs few points."""

from __future__ import annotations

from typing import Any, cast

from backend.gateway.history import thinned
from backend.instance import InstanceState
from backend.pool.history import LEAST_GAP, History
from backend.store.connection import Store

BUSY, IDLE = InstanceState.BUSY, InstanceState.IDLE


class Written(list[Any]):
    """Stands where the store does, and keeps what would be written."""

    def run(self, call: Any) -> None:
        self.append(call.args[-1])


def test_what_stays_the_same_is_written_once_and_what_changes_after_a_while() -> None:
    store = Written()
    history = History(cast(Store, store), "s")
    for second in range(100):
        history.note(0, 1, [BUSY], float(second))
    assert len(store) == 1 and '"busy": 1' in store[0]
    history.note(0, 0, [IDLE], 100.0)
    assert len(store) == 2 and '"idle": 1' in store[1]


def test_a_queue_that_fills_and_empties_between_two_moments_is_told_at_its_longest() -> None:
    store = Written()
    history = History(cast(Store, store), "s")
    history.note(0, 0, [], 0.0)
    for at, waiting in ((1.0, 7), (2.0, 3), (LEAST_GAP, 0), (2 * LEAST_GAP, 0)):
        history.note(waiting, 0, [], at)
    assert ['"waiting": 7' in text for text in store] == [False, True, False]


def test_thinned_out_it_keeps_its_ends_and_its_longest_queue() -> None:
    moments = [{"at": float(n), "waiting": n % 10} for n in range(10_000)]
    moments[5_432]["waiting"] = 99
    few = thinned(moments, 200)
    assert len(few) <= 201
    assert few[0] == moments[0] and few[-1] == moments[-1]
    assert max(moment["waiting"] for moment in few) == 99
    assert [moment["at"] for moment in few] == sorted(moment["at"] for moment in few)
    assert thinned(moments[:3], 200) == moments[:3]
