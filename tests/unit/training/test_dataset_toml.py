from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from backend.errors import InvalidArgument
from backend.training.checks import check, prepare
from backend.training.dataset_config import load
from backend.training.training_arguments import TrainingArguments

Parsed = Callable[..., TrainingArguments]


@pytest.fixture
def config(pictures: Path, tmp_path: Path) -> Path:
    path = tmp_path / "dataset.toml"
    path.write_text(
        f"""
        [general]
        caption_extension = ".txt"
        shuffle_caption = true
        enable_bucket = true
        min_bucket_reso = 32

        [[datasets]]
        resolution = [64, 96]
        batch_size = 3
        keep_tokens = 1

        [[datasets.subsets]]
        image_dir = "{pictures}/3_sks style"
        num_repeats = 4
        class_tokens = "sks"
        keep_tokens = 2

        [[datasets]]
        [[datasets.subsets]]
        image_dir = "{pictures}/3_sks style"
        flip_aug = true
        """
    )
    return path


def test_the_nearest_value_wins(parsed: Parsed, config: Path) -> None:
    one, two = load(parsed("--dataset_config", str(config), "--caption_prefix", "best"))
    assert (one.batch_size, one.buckets.resolution, one.buckets.low) == (3, (64, 96), 32)
    assert (two.batch_size, two.buckets.resolution) == (2, (64, 64))
    subset = one.subsets[0]
    assert (subset.repeats, subset.class_tokens, subset.caption_extension, subset.flip_aug) == (
        4,
        "sks",
        ".txt",
        False,
    )
    assert (subset.rules.shuffle, subset.rules.keep_tokens, subset.rules.prefix) == (True, 2, "best")
    assert two.subsets[0].flip_aug and two.subsets[0].repeats == 1


def test_both_datasets_are_counted(parsed: Parsed, config: Path) -> None:
    prepared = prepare(parsed("--dataset_config", str(config)))
    assert [item.copies for item in prepared.items] == [4, 4, 4, 1, 1, 1]
    assert prepared.report.batches_per_epoch == 4 + 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[datasets]]\nresolution = 64\nbatchsize = 3", "'batchsize'.*did you mean 'batch_size'"),
        ("[general]\nimage_dir = 'x'\n[[datasets]]", "'image_dir'"),
        ("[[datasets]]\nresolution = 64", "no ..datasets.subsets"),
        ("[[datasets]]\n[[datasets.subsets]]\nnum_repeats = 1", "no image_dir"),
        (
            "[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'x'\nnum_repeats = 'many'",
            "num_repeats|dataset_repeats",
        ),
        ("[[datasets]]\n[[datasets.subsets]]\nimage_dir = '/nowhere'", "/nowhere does not exist"),
        ("datasets = 1", "not a list"),
        ("", "has no ..datasets"),
        ("[[", "not a TOML file"),
    ],
)
def test_what_is_wrong_with_the_file_is_said(parsed: Parsed, tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "dataset.toml"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match=told) as caught:
        check(parsed("--dataset_config", str(path)))
    assert caught.value.field == "dataset_config"
