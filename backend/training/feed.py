"""What each step trains on: batches of latents or pictures with their captions, made ready before they are needed."""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from backend.training.buckets import Size, crop_offset
from backend.training.captions import process
from backend.training.items import Item
from backend.training.latent_cache import LatentCache
from backend.training.latents import pixels_of
from backend.training.masks import mask_of
from backend.training.order import Batch, batches_of_epoch
from backend.training.plan import Plan

_AHEAD = 2
_CENTRE = (0.5, 0.5)


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Pictures of one bucket: latents (b, c, h, w) or, not cached, pixels (b, 3, h, w); loss weights (b,).

    `sizes` (b, 6) are those that SDXL is told, `masks` (b, 1, h, w) say where the loss counts.
    """

    latents: Tensor | None
    pixels: Tensor | None
    captions: list[str]
    weights: Tensor
    sizes: Tensor
    masks: Tensor | None


class Feed:
    """The batches of a run, each a pure function of seed, epoch and position; `validation` items come at the end."""

    def __init__(
        self,
        items: list[Item],
        validation: list[Item],
        batch_sizes: list[int],
        plan: Plan,
        *,
        seed: int,
        reg_weight: float,
        cache: LatentCache | None,
        mask_factor: int | None,
        rank: int,
        workers: int,
    ) -> None:
        self._training, self._items, self._batch_sizes = items, [*items, *validation], batch_sizes
        self._plan, self._seed, self._reg_weight = plan, seed, reg_weight
        self._cache, self._mask_factor, self._rank = cache, mask_factor, rank
        self._masks: dict[tuple[int, bool], Tensor | None] = {}
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

    def held_out(self) -> Iterator[MicroBatch]:
        """The validation items, the same way every time: neither mirrored nor recoloured, with their whole captions."""
        groups: dict[tuple[int, Size], list[int]] = defaultdict(list)
        for index in range(len(self._training), len(self._items)):
            item = self._items[index]
            groups[item.dataset, item.placement.bucket].append(index)
        for (dataset, _), indices in groups.items():
            size = self._batch_sizes[dataset]
            for start in range(0, len(indices), size):
                yield _stacked([self._still(index) for index in indices[start : start + size]])

    def captions(self) -> list[str]:
        """Every caption of a run whose captions stay as they are."""
        return list(dict.fromkeys(self._still_caption(index) for index in range(len(self._items))))

    def _batches(self, step: int) -> list[Batch]:
        epoch = self._plan.epoch_of(step)
        if self._epoch[0] != epoch:
            batches = batches_of_epoch(self._training, self._batch_sizes, seed=self._seed, epoch=epoch)
            self._epoch = (epoch, batches)
        batches = self._epoch[1]
        return [batches[index % len(batches)] for index in self._plan.batches_of_step(step, self._rank)]

    def _load(self, batch: Batch, step: int) -> MicroBatch:
        return _stacked([self._shown(index, copy, step) for index, copy in batch])

    def _shown(self, index: int, copy: int, step: int) -> MicroBatch:
        """One showing of a picture in training."""
        item, epoch = self._items[index], self._plan.epoch_of(step)
        chance = Random(f"draw/{self._seed}/{epoch}/{index}/{copy}")
        flip = item.subset.flip_aug and chance.random() < 0.5
        at = (chance.random(), chance.random()) if item.subset.random_crop else _CENTRE
        caption = process(
            item.picture.caption,
            item.subset.rules,
            chance,
            epoch=epoch,
            step=step,
            total=self._plan.total_steps,
        )
        weight = self._reg_weight if item.subset.is_reg else 1.0
        return self._one(index, flip, at, caption, weight, chance)

    def _still(self, index: int) -> MicroBatch:
        return self._one(index, False, _CENTRE, self._still_caption(index), 1.0, None)

    def _still_caption(self, index: int) -> str:
        item = self._items[index]
        rules, chance = item.subset.rules.steady, Random(f"still/{self._seed}/{index}")
        return process(item.picture.caption, rules, chance, epoch=1, step=1, total=1)

    def _one(
        self,
        index: int,
        flip: bool,
        at: tuple[float, float],
        caption: str,
        weight: float,
        chance: Random | None,
    ) -> MicroBatch:
        item, cache = self._items[index], self._cache
        return MicroBatch(
            cache.get(index, flip)[None] if cache is not None else None,
            None if cache is not None else pixels_of(item, flip=flip, at=at, chance=chance)[None],
            [caption],
            torch.tensor([weight]),
            torch.tensor([_sizes(item, flip, at)]),
            self._mask(index, flip, at),
        )

    def _mask(self, index: int, flip: bool, at: tuple[float, float]) -> Tensor | None:
        """The mask (1, 1, h, w) of a showing, remembered where it is always cut the same way."""
        if self._mask_factor is None:
            return None
        if at != _CENTRE:
            return _with_batch(mask_of(self._items[index], factor=self._mask_factor, flip=flip, at=at))
        if (index, flip) not in self._masks:
            mask = mask_of(self._items[index], factor=self._mask_factor, flip=flip)
            self._masks[index, flip] = _with_batch(mask)
        return self._masks[index, flip]


def _with_batch(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask[None]


def _sizes(item: Item, flip: bool, at: tuple[float, float]) -> list[float]:
    """Height and width of the picture, top and left of the cut, height and width that it is trained at."""
    placement = item.placement
    left, top = crop_offset(placement, at)
    if flip:
        left = placement.resized[0] - placement.bucket[0] - left
    (width, height), (to_width, to_height) = item.picture.size, placement.bucket
    return [float(number) for number in (height, width, top, left, to_height, to_width)]


def _stacked(shown: list[MicroBatch]) -> MicroBatch:
    return MicroBatch(
        _together([one.latents for one in shown]),
        _together([one.pixels for one in shown]),
        [caption for one in shown for caption in one.captions],
        torch.cat([one.weights for one in shown]),
        torch.cat([one.sizes for one in shown]),
        _together([one.masks for one in shown]),
    )


def _together(tensors: list[Tensor | None]) -> Tensor | None:
    """One tensor of all; where only some are there, the others are ones."""
    there = [tensor for tensor in tensors if tensor is not None]
    if not there:
        return None
    return torch.cat([torch.ones_like(there[0]) if tensor is None else tensor for tensor in tensors])


def _loaded(waiting: tuple[int, list[Future[MicroBatch]]]) -> tuple[int, list[MicroBatch]]:
    return waiting[0], [future.result() for future in waiting[1]]
