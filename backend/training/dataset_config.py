"""sd-scripts' dataset TOML: `[general]`, `[[datasets]]`, `[[datasets.subsets]]`; the nearest to the pictures wins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backend.errors import InvalidArgument
from backend.paths import confined
from backend.training.argument_table import convert, rows
from backend.training.arguments import parse_resolution
from backend.training.buckets import BucketRules, Size
from backend.training.captions import CaptionRules
from backend.training.command_line import did_you_mean, read_toml
from backend.training.dataset import DatasetSpec, Subset
from backend.training.training_arguments import TrainingArguments

_FIELD = "dataset_config"
_BUCKET_KEYS = (
    "enable_bucket",
    "min_bucket_reso",
    "max_bucket_reso",
    "bucket_reso_steps",
    "bucket_no_upscale",
)
_DATASET_KEYS = frozenset(
    {
        *("resolution", "batch_size", "resize_interpolation", "validation_split", "validation_seed"),
        *_BUCKET_KEYS,
    }
)
_CAPTION_KEYS = (
    *("shuffle_caption", "caption_separator", "secondary_separator", "keep_tokens", "keep_tokens_separator"),
    *("enable_wildcard", "caption_prefix", "caption_suffix", "caption_dropout_rate"),
    *("caption_dropout_every_n_epochs", "caption_tag_dropout_rate", "token_warmup_min", "token_warmup_step"),
)
"""In the order of the fields of `CaptionRules`."""
_SUBSET_KEYS = frozenset(
    {
        *(
            "num_repeats",
            "caption_extension",
            "flip_aug",
            "random_crop",
            "color_aug",
            "alpha_mask",
            "cache_info",
        ),
        *_CAPTION_KEYS,
    }
)
_OWN_KEYS = frozenset({"image_dir", "class_tokens", "is_reg", "conditioning_data_dir"})


def load(args: TrainingArguments) -> tuple[DatasetSpec, ...]:
    """The datasets of `dataset_config`.

    Raises:
        InvalidArgument: the file cannot be read, or a key in it is unknown or has the wrong kind of value.
        PathOutsideDataFolder: an `image_dir` leaves the data folder.
    """
    assert args.dataset_config is not None
    content = read_toml(args.dataset_config, _FIELD)
    _only(content, frozenset({"general", "datasets"}), "the file")
    general = _section(content, "general")
    datasets = _sections(content, "datasets")
    if not datasets:
        raise InvalidArgument(_FIELD, f"{args.dataset_config} has no [[datasets]]")
    _only(general, _DATASET_KEYS | _SUBSET_KEYS, "[general]")
    return tuple(_dataset(args, general, dataset) for dataset in datasets)


def _dataset(args: TrainingArguments, general: Mapping[str, Any], dataset: Mapping[str, Any]) -> DatasetSpec:
    _only(dataset, _DATASET_KEYS | _SUBSET_KEYS | {"subsets"}, "[[datasets]]")
    values = _Values(args, {**general, **dataset})
    subsets = [_subset(args, {**general, **dataset}, subset) for subset in _sections(dataset, "subsets")]
    if not subsets:
        raise InvalidArgument(_FIELD, "a [[datasets]] has no [[datasets.subsets]]")
    return DatasetSpec(
        tuple(subsets),
        values.get("batch_size", "train_batch_size"),
        BucketRules(_resolution(values), *(values.get(key) for key in _BUCKET_KEYS)),
        values.get("resize_interpolation") or None,
        values.get("validation_split"),
        values.get("validation_seed"),
    )


def _subset(args: TrainingArguments, outer: Mapping[str, Any], subset: Mapping[str, Any]) -> Subset:
    _only(subset, _SUBSET_KEYS | _OWN_KEYS, "[[datasets.subsets]]")
    if not isinstance(subset.get("image_dir"), str):
        raise InvalidArgument(_FIELD, "a subset has no image_dir")
    values = _Values(args, {**outer, **subset})
    masks = subset.get("conditioning_data_dir")
    return Subset(
        _folder(args, subset["image_dir"]),
        values.get("num_repeats", "dataset_repeats"),
        subset.get("class_tokens"),
        bool(subset.get("is_reg", False)),
        values.get("caption_extension"),
        CaptionRules(*(values.get(key) for key in _CAPTION_KEYS)),
        values.get("flip_aug"),
        values.get("random_crop"),
        values.get("color_aug"),
        values.get("alpha_mask"),
        _folder(args, masks) if isinstance(masks, str) and masks else None,
    )


def _folder(args: TrainingArguments, text: str) -> Path:
    return (
        confined(args.data_dir, text, field=_FIELD) if args.data_dir else Path(text).expanduser().absolute()
    )


class _Values:
    """Values of a section, with the arguments of the command line behind them."""

    def __init__(self, args: TrainingArguments, given: Mapping[str, Any]) -> None:
        self._args = args
        self._given = given

    def get(self, key: str, argument: str | None = None) -> Any:
        row = rows()[argument or key]
        if key in self._given:
            try:
                value = convert(row, self._given[key])
            except InvalidArgument as error:
                raise InvalidArgument(_FIELD, f"{key} {error.message}") from None
            return row.default if value is None else value
        return getattr(self._args, row.name, row.default)


def _resolution(values: _Values) -> Size:
    resolution = values.get("resolution")
    found = parse_resolution(resolution) if isinstance(resolution, str) else resolution
    if found is None:
        raise InvalidArgument(_FIELD, "a [[datasets]] has no resolution, and the arguments give none")
    width, height = found
    return width, height


def _section(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = content.get(key, {})
    if not isinstance(section, dict):
        raise InvalidArgument(_FIELD, f"{key} is not a section")
    return section


def _sections(content: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    sections = content.get(key, [])
    if not isinstance(sections, list) or not all(isinstance(section, dict) for section in sections):
        raise InvalidArgument(_FIELD, f"{key} is not a list of sections ([[{key}]])")
    return sections


def _only(section: Mapping[str, Any], names: frozenset[str] | set[str], where: str) -> None:
    for key in section:
        if key not in names:
            raise InvalidArgument(
                _FIELD, f"{where} has the key {key!r}, which is not supported{did_you_mean(key, names)}"
            )
