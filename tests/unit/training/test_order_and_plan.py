from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.training.buckets import Placement
from backend.training.captions import CaptionRules
from backend.training.dataset import Subset
from backend.training.items import Item
from backend.training.order import batches_of_epoch, count_batches
from backend.training.pictures import Picture
from backend.training.plan import Plan

_SUBSET = Subset(Path("10_a"), 1, "a", False, ".txt", CaptionRules(), False, False)


def item(side: int, copies: int, dataset: int = 0) -> Item:
    placement = Placement((side, side), (side, side))
    return Item(Picture(Path("a.png"), (side, side), (), False), _SUBSET, dataset, placement, copies)


_items = st.lists(
    st.builds(item, st.sampled_from([64, 128]), st.integers(1, 5), st.integers(0, 1)), min_size=1, max_size=12
)


@given(_items, st.integers(1, 4), st.integers(1, 4), st.integers(0, 5))
def test_an_epoch_shows_every_copy_once_and_never_mixes_buckets(
    items: list[Item], one: int, two: int, seed: int
) -> None:
    batches = batches_of_epoch(items, [one, two], seed=seed, epoch=1)
    shown = Counter(draw for batch in batches for draw in batch)
    assert shown == Counter({(index, copy): 1 for index, it in enumerate(items) for copy in range(it.copies)})
    for batch in batches:
        assert len({(items[index].dataset, items[index].placement.bucket) for index, _ in batch}) == 1
        assert len(batch) <= [one, two][items[batch[0][0]].dataset]
    assert len(batches) == count_batches(items, [one, two])


def test_the_order_is_that_of_seed_and_epoch() -> None:
    items = [item(64, 3) for _ in range(8)]
    again = [batches_of_epoch(items, [2], seed=1, epoch=2) for _ in range(2)]
    assert again[0] == again[1]
    assert (
        again[0]
        != batches_of_epoch(items, [2], seed=1, epoch=3)
        != batches_of_epoch(items, [2], seed=2, epoch=3)
    )


@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 3), st.integers(1, 60))
def test_the_steps_of_an_epoch_cover_its_batches(
    batches: int, accumulation: int, processes: int, total: int
) -> None:
    plan = Plan(batches, accumulation, processes, total)
    seen = Counter(
        index % batches
        for step in range(1, plan.steps_per_epoch + 1)
        for rank in range(processes)
        for index in plan.batches_of_step(step, rank)
    )
    assert set(seen) == set(range(batches))
    assert sum(seen.values()) < batches + processes
    per_rank = {
        sum(len(plan.batches_of_step(step, rank)) for step in range(1, plan.steps_per_epoch + 1))
        for rank in range(processes)
    }
    assert len(per_rank) == 1


def test_where_steps_fall() -> None:
    plan = Plan(batches_per_epoch=7, accumulation=2, processes=1, total_steps=10)
    assert plan.steps_per_epoch == 4
    assert plan.epochs == 3
    assert [plan.epoch_of(step) for step in (1, 4, 5, 8, 9, 10)] == [1, 1, 2, 2, 3, 3]
    assert [step for step in range(1, 11) if plan.is_epoch_end(step)] == [4, 8, 10]
    assert [list(plan.batches_of_step(step)) for step in (1, 4, 5)] == [[0, 1], [6], [0, 1]]


@pytest.mark.parametrize(("rank", "indices"), [(0, [0, 2]), (1, [1, 3])])
def test_processes_take_turns(rank: int, indices: list[int]) -> None:
    assert list(Plan(8, 2, 2, 10).batches_of_step(1, rank)) == indices
