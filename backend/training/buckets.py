"""Which resolution each picture is trained at: aspect-ratio buckets, as sd-scripts defines them. Pure arithmetic.

With upscaling there is a fixed list of bucket resolutions and a picture goes to the one nearest in aspect ratio.
Without (`bucket_no_upscale`) a picture is only ever shrunk to the area, and its bucket is its own size, floored
to the step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

Size: TypeAlias = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class BucketRules:
    """`resolution` gives the area; `low`, `high` bound a side and `step` divides it (predefined buckets)."""

    resolution: Size
    enabled: bool = False
    low: int = 256
    high: int = 1024
    step: int = 64
    no_upscale: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """A picture is resized to `resized`, which covers `bucket`, and then cut to `bucket`."""

    bucket: Size
    resized: Size


class TooNarrow(ValueError):
    """A side of the picture is shorter than one bucket step at this resolution."""


def resolutions(rules: BucketRules) -> list[Size]:
    """The bucket resolutions, sorted: the square; for each width the tallest height within the area, and turned.

    Bounds that exclude the resolution itself give way to it.
    """
    if not rules.enabled:
        return [rules.resolution]
    area = rules.resolution[0] * rules.resolution[1]
    side = max(math.isqrt(area) // rules.step * rules.step, rules.step)
    low = min(rules.low, side)
    high = max(rules.high, side) // rules.step * rules.step
    found = {(side, side)}
    for width in range(-(-low // rules.step) * rules.step, high + 1, rules.step):
        height = min(high, area // width // rules.step * rules.step)
        if height >= low:
            found |= {(width, height), (height, width)}
    return sorted(found)


def place(size: Size, rules: BucketRules, buckets: list[Size]) -> Placement:
    """Where a picture of `size` goes; `buckets` are `resolutions(rules)`.

    Raises:
        TooNarrow: without upscaling, when no bucket fits into the picture.
    """
    if rules.enabled and rules.no_upscale:
        return _shrunk(size, rules)
    width, height = size
    ratio = width / height
    bucket = size if size in buckets else min(buckets, key=lambda b: (abs(b[0] / b[1] - ratio), b))
    scale = max(bucket[0] / width, bucket[1] / height)
    resized = (max(bucket[0], round(width * scale)), max(bucket[1], round(height * scale)))
    return Placement(bucket, resized)


def _shrunk(size: Size, rules: BucketRules) -> Placement:
    width, height = size
    area = rules.resolution[0] * rules.resolution[1]
    candidates = [size] if width * height <= area else _to_area(width / height, area, rules.step)
    ratio = width / height
    placements = [
        Placement((resized[0] // rules.step * rules.step, resized[1] // rules.step * rules.step), resized)
        for resized in candidates
        if min(resized) >= rules.step
    ]
    if not placements:
        raise TooNarrow
    return min(placements, key=lambda one: abs(one.bucket[0] / one.bucket[1] - ratio))


def _to_area(ratio: float, area: int, step: int) -> list[Size]:
    """The two sizes of this aspect ratio, within the area but for the last pixel, that have one side on the step."""
    width = int(math.sqrt(area * ratio)) // step * step
    height = int(math.sqrt(area / ratio)) // step * step
    return [(width, round(width / ratio)), (round(height * ratio), height)]


def crop_offset(placement: Placement, at: tuple[float, float] = (0.5, 0.5)) -> tuple[int, int]:
    """Left and top of the cut; `at` is 0 for the left or top edge, 0.5 for the centre, 1 for the other edge."""
    return (
        int((placement.resized[0] - placement.bucket[0]) * at[0]),
        int((placement.resized[1] - placement.bucket[1]) * at[1]),
    )


def ratio_error(size: Size, placement: Placement) -> float:
    """How far the bucket's aspect ratio is from the picture's."""
    return abs(placement.bucket[0] / placement.bucket[1] - size[0] / size[1])
