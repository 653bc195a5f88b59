"""What to train on, before a picture is opened: subsets of folders, from the folder convention or a dataset TOML.

`train_data_dir` is the parent of folders named `<repeats>_<class tokens>`; the class tokens are the caption of a
picture that has no caption file beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backend.errors import InvalidArgument
from backend.training.buckets import BucketRules
from backend.training.captions import CaptionRules
from backend.training.training_arguments import TrainingArguments

_FOLDER = re.compile(r"(\d+)_(.+)")


@dataclass(frozen=True, slots=True)
class Subset:
    """One folder of pictures and how they are shown; `mask_dir` has a mask of the same name for each."""

    image_dir: Path
    repeats: int
    class_tokens: str | None
    is_reg: bool
    caption_extension: str
    rules: CaptionRules
    flip_aug: bool
    random_crop: bool
    color_aug: bool = False
    alpha_mask: bool = False
    mask_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """Subsets that share a resolution, a batch size and buckets."""

    subsets: tuple[Subset, ...]
    batch_size: int
    buckets: BucketRules
    interpolation: str | None
    validation_split: float = 0.0
    validation_seed: int | None = None


def caption_rules(args: TrainingArguments) -> CaptionRules:
    """The caption rules that the arguments give to every subset."""
    return CaptionRules(
        shuffle=args.shuffle_caption,
        separator=args.caption_separator,
        secondary_separator=args.secondary_separator,
        keep_tokens=args.keep_tokens,
        keep_tokens_separator=args.keep_tokens_separator,
        wildcard=args.enable_wildcard,
        prefix=args.caption_prefix,
        suffix=args.caption_suffix,
        dropout_rate=args.caption_dropout_rate,
        dropout_every_n_epochs=args.caption_dropout_every_n_epochs,
        tag_dropout_rate=args.caption_tag_dropout_rate,
        warmup_min=args.token_warmup_min,
        warmup_step=args.token_warmup_step,
    )


def from_folders(args: TrainingArguments) -> DatasetSpec:
    """The dataset of `train_data_dir` and `reg_data_dir`.

    Raises:
        InvalidArgument: a folder is missing, or has no `<repeats>_<name>` folder in it.
    """
    assert args.train_data_dir is not None and args.resolution is not None
    subsets = list(_subsets(args, args.train_data_dir, "train_data_dir", is_reg=False))
    if args.reg_data_dir is not None:
        subsets += _subsets(args, args.reg_data_dir, "reg_data_dir", is_reg=True)
    return DatasetSpec(
        tuple(subsets),
        args.train_batch_size,
        BucketRules(
            args.resolution,
            args.enable_bucket,
            args.min_bucket_reso,
            args.max_bucket_reso,
            args.bucket_reso_steps,
            args.bucket_no_upscale,
        ),
        args.resize_interpolation,
        args.validation_split,
        args.validation_seed,
    )


def _subsets(args: TrainingArguments, parent: Path, field: str, *, is_reg: bool) -> Iterator[Subset]:
    if not parent.is_dir():
        raise InvalidArgument(
            field, f"the folder {parent} does not exist; give the parent of the picture folders"
        )
    found = sorted((path, _FOLDER.fullmatch(path.name)) for path in parent.iterdir() if path.is_dir())
    matching = [(path, match) for path, match in found if match and int(match[1]) > 0]
    if not matching:
        raise InvalidArgument(field, _no_folder(parent, [path for path, _ in found]))
    for path, match in matching:
        yield Subset(
            path,
            int(match[1]),
            match[2],
            is_reg,
            args.caption_extension,
            caption_rules(args),
            args.flip_aug,
            args.random_crop,
            args.color_aug,
            args.alpha_mask,
            None if is_reg else _masks(args, path),
        )


def _masks(args: TrainingArguments, folder: Path) -> Path | None:
    """Where a folder's masks are: in one of its name, or all in one."""
    parent = args.conditioning_data_dir
    if parent is None:
        return None
    return parent / folder.name if (parent / folder.name).is_dir() else parent


def _no_folder(parent: Path, found: list[Path]) -> str:
    if not found and not any(parent.iterdir()):
        return f"the folder {parent} is empty; put a folder like 10_name with the pictures into it"
    if _FOLDER.fullmatch(parent.name):
        return (
            f"{parent} is itself a folder of pictures with repeats; give the folder around it, {parent.parent}, "
            "of which all such folders are trained"
        )
    names = ", ".join(path.name for path in found[:3]) or "only files"
    return (
        f"{parent} has no folder named <repeats>_<name> (it has {names}); "
        "put the pictures into one, for example 10_name, where 10 is how often each is shown in an epoch"
    )
