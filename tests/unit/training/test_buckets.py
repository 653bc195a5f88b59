from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backend.training.buckets import BucketRules, TooNarrow, crop_offset, place, resolutions

_steps = st.sampled_from([8, 16, 32, 64])
_sides = st.integers(1, 4000)


@st.composite
def _rules(draw: st.DrawFn, no_upscale: bool) -> BucketRules:
    step = draw(_steps)
    side = draw(st.integers(1, 16)) * step
    low = draw(st.integers(8, 512))
    return BucketRules((side, side), True, low, draw(st.integers(low, 2048)), step, no_upscale)


def test_the_buckets_of_sd15_at_512() -> None:
    found = resolutions(BucketRules((512, 512), True, 256, 1024, 64))
    assert found == [
        *((256, 832), (256, 896), (256, 960), (256, 1024), (320, 704), (320, 768), (384, 640), (448, 576)),
        *(
            (512, 512),
            (576, 448),
            (640, 384),
            (704, 320),
            (768, 320),
            (832, 256),
            (896, 256),
            (960, 256),
            (1024, 256),
        ),
    ]


@given(_rules(no_upscale=False))
def test_buckets_are_on_the_step_within_the_area_and_both_ways_round(rules: BucketRules) -> None:
    found = resolutions(rules)
    area = rules.resolution[0] * rules.resolution[1]
    for width, height in found:
        assert width % rules.step == height % rules.step == 0
        assert width * height <= area
        assert (height, width) in found


@given(_rules(no_upscale=False), _sides, _sides)
def test_a_picture_goes_to_the_nearest_ratio_and_covers_its_bucket(
    rules: BucketRules, width: int, height: int
) -> None:
    buckets = resolutions(rules)
    placed = place((width, height), rules, buckets)
    ratio = width / height
    assert (
        abs(placed.bucket[0] / placed.bucket[1] - ratio) <= min(abs(w / h - ratio) for w, h in buckets) + 1e-9
    )
    assert placed.resized[0] >= placed.bucket[0] and placed.resized[1] >= placed.bucket[1]
    assert placed.resized[0] == placed.bucket[0] or placed.resized[1] == placed.bucket[1]


@given(_rules(no_upscale=True), _sides, _sides)
@example(BucketRules((64, 64), enabled=True, low=8, high=8, step=8, no_upscale=True), 12, 793)
def test_without_upscaling_nothing_grows(rules: BucketRules, width: int, height: int) -> None:
    area = rules.resolution[0] * rules.resolution[1]
    try:
        placed = place((width, height), rules, resolutions(rules))
    except TooNarrow:
        assert (
            min(width, height) < rules.step
            or max(width, height) / min(width, height) > area / rules.step**2 / 4
        )
        return
    assert placed.bucket[0] % rules.step == placed.bucket[1] % rules.step == 0
    assert placed.resized[0] >= placed.bucket[0] and placed.resized[1] >= placed.bucket[1]
    if width * height <= area:
        assert placed.resized == (width, height)
    else:
        assert placed.resized[0] <= width and placed.resized[1] <= height
        # one side is rounded to a pixel, as in sd-scripts
        assert math.prod(placed.bucket) <= area + max(placed.resized) / 2


def test_without_buckets_all_pictures_share_the_resolution() -> None:
    rules = BucketRules((64, 96))
    assert resolutions(rules) == [(64, 96)]
    placed = place((200, 100), rules, [(64, 96)])
    assert placed.bucket == (64, 96) and placed.resized == (192, 96)
    assert crop_offset(placed) == (64, 0)
    assert crop_offset(placed, (1.0, 0.0)) == (128, 0)


def test_a_wide_picture_at_one_step_is_refused_instead_of_divided_by_zero() -> None:
    rules = BucketRules((64, 64), True, 64, 128, 64, no_upscale=True)
    with pytest.raises(TooNarrow):
        place((400, 40), rules, resolutions(rules))
