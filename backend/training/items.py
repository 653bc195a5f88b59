"""From pictures to training items: buckets assigned, repeats counted, regularisation pictures evened out. No torch."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from random import Random

from backend.errors import InvalidArgument
from backend.training import buckets
from backend.training.buckets import Placement, Size, TooNarrow
from backend.training.dataset import DatasetSpec, Subset
from backend.training.pictures import Picture, read_folder


@dataclass(frozen=True, slots=True)
class Item:
    """One picture in one dataset: where it goes, and how many times an epoch shows it."""

    picture: Picture
    subset: Subset
    dataset: int
    placement: Placement
    copies: int
    interpolation: str | None = None


def read(specs: tuple[DatasetSpec, ...], *, field: str, data_dir: Path | None) -> list[Item]:
    """All items of all datasets, in a fixed order.

    Raises:
        InvalidArgument: a folder, picture or caption is not usable; the message names it.
    """
    items: list[Item] = []
    for index, spec in enumerate(specs):
        pairs = [
            (subset, picture)
            for subset in spec.subsets
            for picture in read_folder(
                subset,
                field="reg_data_dir" if subset.is_reg and field == "train_data_dir" else field,
                data_dir=data_dir,
            )
        ]
        if all(subset.is_reg for subset, _ in pairs):
            raise InvalidArgument(field, "has only regularisation pictures; add pictures to train on")
        predefined = buckets.resolutions(spec.buckets)
        copies = _copies(pairs)
        items += [
            Item(picture, subset, index, _place(picture, spec, predefined), count, spec.interpolation)
            for (subset, picture), count in zip(pairs, copies, strict=True)
            if count
        ]
    return items


def hold_out(
    items: list[Item], specs: tuple[DatasetSpec, ...], *, seed: int | None
) -> tuple[list[Item], list[Item]]:
    """The items to train on, and those to validate with: the share of each folder that `validation_split` says.

    `seed` chooses where `validation_seed` does not. Regularisation pictures are all trained on.

    Raises:
        InvalidArgument: the share holds no picture, or leaves none to train on.
    """
    folders: dict[tuple[int, Path], list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        if specs[item.dataset].validation_split and not item.subset.is_reg:
            folders[item.dataset, item.subset.image_dir].append(index)
    held: set[int] = set()
    for (dataset, _), indices in folders.items():
        spec = specs[dataset]
        given = seed if spec.validation_seed is None else spec.validation_seed
        Random(f"validation/{given or 0}").shuffle(indices)
        held.update(indices[: int(len(indices) * spec.validation_split)])
    training = [item for index, item in enumerate(items) if index not in held]
    if folders and not held:
        raise InvalidArgument("validation_split", "holds back no picture: raise it, or add pictures")
    if not any(not item.subset.is_reg for item in training):
        raise InvalidArgument("validation_split", "leaves no picture to train on: lower it")
    return training, [dataclasses.replace(items[index], copies=1) for index in sorted(held)]


def _place(picture: Picture, spec: DatasetSpec, predefined: list[Size]) -> Placement:
    try:
        return buckets.place(picture.size, spec.buckets, predefined)
    except TooNarrow:
        width, height = picture.size
        raise InvalidArgument(
            "bucket_no_upscale",
            f"the picture {picture.path} ({width}×{height}) has a side below one bucket step "
            f"({spec.buckets.step}) at this resolution; lower bucket_reso_steps, raise resolution, "
            "or turn bucket_no_upscale off",
        ) from None


def _copies(pairs: list[tuple[Subset, Picture]]) -> list[int]:
    """How often each picture is shown in an epoch; regularisation pictures up to as many as there are others."""
    wanted = sum(subset.repeats for subset, _ in pairs if not subset.is_reg)
    regs = [index for index, (subset, _) in enumerate(pairs) if subset.is_reg]
    copies = [0 if subset.is_reg else subset.repeats for subset, _ in pairs]
    shown, first = 0, True
    while regs and shown < wanted:
        for index in regs:
            if shown >= wanted:
                break
            more = pairs[index][0].repeats if first else 1
            copies[index] += more
            shown += more
        first = False
    return copies


@dataclass(frozen=True, slots=True)
class BucketCount:
    """How many showings per epoch a bucket has."""

    width: int
    height: int
    count: int


def bucket_counts(items: list[Item]) -> list[BucketCount]:
    """The buckets in use, sorted by size."""
    counts: Counter[Size] = Counter()
    for item in items:
        counts[item.placement.bucket] += item.copies
    return [BucketCount(*bucket, count) for bucket, count in sorted(counts.items())]


def mean_ratio_error(items: list[Item]) -> float:
    """The mean aspect-ratio error over all items."""
    errors = [buckets.ratio_error(item.picture.size, item.placement) for item in items]
    return sum(errors) / len(errors)
