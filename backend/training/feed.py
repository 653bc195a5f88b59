"""What each step trains on: batches of latents or pictures with their captions, made ready before they are needed."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from backend.training.captions import process
from backend.training.items import Item
from backend.training.latent_cache import LatentCache
from backend.training.latents import pixels_of
from backend.training.order import Batch, batches_of_epoch
from backend.training.plan import Plan

_AHEAD = 2


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Pictures of one bucket: latents (b, c, h, w) or, not cached, pixels (b, 3, h, w); loss weights (b,)."""

    latents: Tensor | None
    pixels: Tensor | None
    captions: list[str]
    weights: Tensor


class Feed:
    """The batches of a run, each a pure function of seed, epoch and position."""

    def __init__(
        self,
        items: list[Item],
        batch_sizes: list[int],
        plan: Plan,
        *,
        seed: int,
        reg_weight: float,
        cache: LatentCache | None,
        rank: int,
        workers: int,
    ) -> None:
        self._items, self._batch_sizes = items, batch_sizes
        self._plan, self._seed, self._reg_weight = plan, seed, reg_weight
        self._cache, self._rank = cache, rank
        self._workers = max(1, min(workers, os.cpu_count() or 1))
        self._epoch: tuple[int, list[Batch]] = (0, [])

    def steps(self, first: int) -> Iterator[tuple[int, list[MicroBatch]]]:
        """The steps from `first` to the last with their micro-batches (as many as gradients are accumulated over)."""
        if self._cache is not None:
            for step in range(first, self._plan.total_steps + 1):
                yield step, [self._load(batch, step) for batch in self._batches(step)]
            return
        with ThreadPoolExecutor(self._workers) as pool:
            waiting: deque[tuple[int, list[Future[MicroBatch]]]] = deque()
            for step in range(first, self._plan.total_steps + 1):
                waiting.append(
                    (step, [pool.submit(self._load, batch, step) for batch in self._batches(step)])
                )
                if len(waiting) > _AHEAD:
                    yield _loaded(waiting.popleft())
            while waiting:
                yield _loaded(waiting.popleft())

    def _batches(self, step: int) -> list[Batch]:
        epoch = self._plan.epoch_of(step)
        if self._epoch[0] != epoch:
            batches = batches_of_epoch(self._items, self._batch_sizes, seed=self._seed, epoch=epoch)
            self._epoch = (epoch, batches)
        batches = self._epoch[1]
        return [batches[index % len(batches)] for index in self._plan.batches_of_step(step, self._rank)]

    def _load(self, batch: Batch, step: int) -> MicroBatch:
        epoch = self._plan.epoch_of(step)
        tensors: list[Tensor] = []
        captions: list[str] = []
        for index, copy in batch:
            item = self._items[index]
            chance = Random(f"draw/{self._seed}/{epoch}/{index}/{copy}")
            flip = item.subset.flip_aug and chance.random() < 0.5
            at = (chance.random(), chance.random()) if item.subset.random_crop else (0.5, 0.5)
            tensors.append(self._tensor(index, flip, at))
            captions.append(
                process(
                    item.picture.caption,
                    item.subset.rules,
                    chance,
                    epoch=epoch,
                    step=step,
                    total=self._plan.total_steps,
                )
            )
        stacked = torch.stack(tensors)
        weights = torch.tensor(
            [self._reg_weight if self._items[index].subset.is_reg else 1.0 for index, _ in batch]
        )
        cached = self._cache is not None
        return MicroBatch(stacked if cached else None, None if cached else stacked, captions, weights)

    def _tensor(self, index: int, flip: bool, at: tuple[float, float]) -> Tensor:
        if self._cache is not None:
            return self._cache.get(index, flip)
        return pixels_of(self._items[index], flip=flip, at=at)


def _loaded(waiting: tuple[int, list[Future[MicroBatch]]]) -> tuple[int, list[MicroBatch]]:
    return waiting[0], [future.result() for future in waiting[1]]
