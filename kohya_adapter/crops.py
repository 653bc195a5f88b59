"""Which part of each picture a training would see: for a preview before anything is trained. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backend.training import items
from backend.training.buckets import Placement, Size, crop_offset
from kohya_adapter.estimate import dataset_of
from kohya_adapter.form import Form
from kohya_adapter.resolve import absolute_paths


@dataclass(frozen=True, slots=True)
class Crop:
    """A picture, the resolution it is trained at, and the part that is kept.

    `size` and `box` (left, top, right, bottom) are pixels of the picture itself, turned as its EXIF says; `copies` is
    how often an epoch shows it.
    """

    path: Path
    size: Size
    bucket: Size
    box: tuple[int, int, int, int]
    copies: int
    caption: str


def crops(form: Form, data_dir: Path) -> list[Crop]:
    """The crop of every picture of a form's dataset, centred as without random crop.

    Raises:
        InvalidArgument: the dataset cannot be used.
        PathOutsideDataFolder: a folder lies elsewhere.
    """
    specs, field = dataset_of(absolute_paths(form, data_dir), data_dir)
    return [
        Crop(
            item.picture.path,
            item.picture.size,
            item.placement.bucket,
            _box(item.picture.size, item.placement),
            item.copies,
            " ".join(item.picture.caption),
        )
        for item in items.read(specs, field=field, data_dir=data_dir)
    ]


def _box(size: Size, placement: Placement) -> tuple[int, int, int, int]:
    left, top = crop_offset(placement)
    across, down = size[0] / placement.resized[0], size[1] / placement.resized[1]
    width, height = placement.bucket
    return (
        round(left * across),
        round(top * down),
        min(size[0], round((left + width) * across)),
        min(size[1], round((top + height) * down)),
    )
