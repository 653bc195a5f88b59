"""Which pictures are in which batch, in which order: a pure function of items, seed and epoch.

So a run that is resumed in the middle of an epoch meets exactly the batches that it would have met.
"""

from __future__ import annotations

import math
from collections import defaultdict
from random import Random
from typing import TypeAlias

from backend.training.items import Item

Draw: TypeAlias = tuple[int, int]
"""Index of the item, and which of its copies."""
Batch: TypeAlias = tuple[Draw, ...]


def batches_of_epoch(items: list[Item], batch_sizes: list[int], *, seed: int, epoch: int) -> list[Batch]:
    """The batches of an epoch (counted from 1), shuffled; none mixes buckets or datasets.

    `batch_sizes` has one entry per dataset. Every copy of every item is in exactly one batch.
    """
    chance = Random(f"order/{seed}/{epoch}")
    batches: list[Batch] = []
    for (dataset, _), draws in _groups(items).items():
        chance.shuffle(draws)
        size = batch_sizes[dataset]
        batches += [tuple(draws[start : start + size]) for start in range(0, len(draws), size)]
    chance.shuffle(batches)
    return batches


def count_batches(items: list[Item], batch_sizes: list[int]) -> int:
    """How many batches an epoch has: for each bucket its showings over the batch size, rounded up."""
    return sum(math.ceil(len(draws) / batch_sizes[key[0]]) for key, draws in _groups(items).items())


def _groups(items: list[Item]) -> dict[tuple[int, tuple[int, int]], list[Draw]]:
    groups: dict[tuple[int, tuple[int, int]], list[Draw]] = defaultdict(list)
    for index, item in enumerate(items):
        groups[item.dataset, item.placement.bucket] += [(index, copy) for copy in range(item.copies)]
    return groups
