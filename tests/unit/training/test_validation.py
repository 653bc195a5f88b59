from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from backend.errors import InvalidArgument
from backend.training import checks
from backend.training.feed import Feed, MicroBatch
from backend.training.plan import Plan
from backend.training.training_arguments import TrainingArguments
from backend.training.validation import Validation

Parsed = Callable[..., TrainingArguments]


@pytest.fixture
def many(pictures: Path) -> Path:
    for number in range(3, 20):
        Image.new("RGB", (64, 64), (10 * number, 0, 0)).save(pictures / "3_sks style" / f"{number}.png")
    return pictures


def names(items: list[checks.Item]) -> set[str]:
    return {item.picture.path.name for item in items}


def test_a_share_is_held_back_by_seed(parsed: Parsed, many: Path) -> None:
    prepared = checks.prepare(parsed("--validation_split", "0.2"))
    assert (len(prepared.items), len(prepared.validation)) == (16, 4)
    assert not names(prepared.items) & names(prepared.validation)
    assert prepared.report.pictures == 16 and {item.copies for item in prepared.validation} == {1}
    again = checks.prepare(parsed("--validation_split", "0.2"))
    other = checks.prepare(parsed("--validation_split", "0.2", "--validation_seed", "1"))
    assert names(again.validation) == names(prepared.validation) != names(other.validation)


def test_a_share_that_leaves_nothing_is_refused(parsed: Parsed, many: Path) -> None:
    for share, told in (("0.01", "holds back no picture"), ("1", "leaves no picture")):
        with pytest.raises(InvalidArgument, match=told):
            checks.prepare(parsed("--validation_split", share))


def test_a_dataset_toml_may_hold_back_too(parsed: Parsed, many: Path, tmp_path: Path) -> None:
    toml = tmp_path / "data.toml"
    toml.write_text(
        f"[[datasets]]\nresolution = 64\nvalidation_split = 0.25\nvalidation_seed = 3\n"
        f'[[datasets.subsets]]\nimage_dir = "{many / "3_sks style"}"\nalpha_mask = true\ncolor_aug = true\n'
    )
    prepared = checks.prepare(parsed("--dataset_config", str(toml)))
    assert len(prepared.validation) == 5
    assert all(item.subset.alpha_mask and item.subset.color_aug for item in prepared.items)
    with pytest.raises(InvalidArgument, match="color_aug: in dataset_config needs cache_latents off"):
        checks.prepare(parsed("--dataset_config", str(toml), "--cache_latents"))


def test_what_is_held_back_is_shown_the_same_way_every_time(parsed: Parsed, many: Path) -> None:
    more = (
        "--flip_aug",
        "--shuffle_caption",
        "--caption_dropout_rate",
        "0.9",
        "--color_aug",
        "--random_crop",
    )
    prepared = checks.prepare(parsed("--validation_split", "0.2", *more))

    def shown() -> list[MicroBatch]:
        feed = Feed(
            prepared.items,
            prepared.validation,
            [3],
            Plan(10, 1, 1, 10),
            seed=1,
            reg_weight=1.0,
            cache=None,
            mask_factor=None,
            rank=0,
            workers=1,
        )
        return list(feed.held_out())

    one, two = shown(), shown()
    assert [len(batch.captions) for batch in one] == [3, 1]
    for a, b in zip(one, two, strict=True):
        assert a.pixels is not None and b.pixels is not None and torch.equal(a.pixels, b.pixels)
        assert a.captions == b.captions and all(a.captions)


@pytest.mark.parametrize(
    ("rules", "due"),
    [
        (Validation(), [4, 8, 10]),
        (Validation(every_n_epochs=2), [8, 10]),
        (Validation(every_n_steps=3), [3, 6, 9, 10]),
    ],
)
def test_when_it_is_due(rules: Validation, due: list[int]) -> None:
    plan = Plan(batches_per_epoch=4, accumulation=1, processes=1, total_steps=10)
    assert [step for step in range(1, 11) if rules.is_due(step, plan)] == due
