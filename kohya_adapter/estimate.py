"""What a form's dataset is and what its run will be: pictures, captions, buckets, batches, steps. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from backend.errors import InvalidArgument, PathOutsideDataFolder
from backend.training import arguments, dataset_config, items
from backend.training.checks import Report
from backend.training.dataset import DatasetSpec, from_folders
from backend.training.items import Item
from backend.training.training_arguments import TrainingArguments
from kohya_adapter.argument_fields import problem_of
from kohya_adapter.config import trainer_config
from kohya_adapter.form import Form
from kohya_adapter.problems import Problem
from kohya_adapter.script_arguments import script_arguments

_WANTED = (
    "train_data_dir",
    "reg_data_dir",
    "dataset_config",
    "resolution",
    "enable_bucket",
    "min_bucket_reso",
    "max_bucket_reso",
    "bucket_reso_steps",
    "bucket_no_upscale",
    "caption_extension",
    "train_batch_size",
    "gradient_accumulation_steps",
    "max_train_steps",
    "max_train_epochs",
)
"""The arguments that decide how many steps there are and what they see."""

_CAPTION_EXTENSIONS = (".txt", ".caption", ".cap")


def estimate(form: Form, data_dir: Path, *, sd_scripts: bool) -> tuple[Report | None, list[Problem]]:
    """What the run will be, None when the dataset cannot be used, and what is odd about it.

    `form` has absolute paths. A dataset file that only sd-scripts understands is a warning where sd-scripts trains.
    """
    try:
        args = _arguments(form, data_dir)
    except InvalidArgument as error:
        return None, [problem_of(error, form)]
    field = "train_data_dir" if args.dataset_config is None else "dataset_config"
    try:
        specs = (from_folders(args),) if args.dataset_config is None else dataset_config.load(args)
        found = items.read(specs, field=field, data_dir=data_dir)
        report = Report.of(args, specs, found)
    except InvalidArgument as error:
        only_theirs = sd_scripts and args.dataset_config is not None
        return None, [problem_of(error, form, severity="warning" if only_theirs else "error")]
    except PathOutsideDataFolder as error:
        return None, [Problem(error.field or field, str(error))]
    return report, [*_captions(found), *_lengths(form, report), *_sizes(form, found, sd_scripts=sd_scripts)]


def dataset_of(form: Form, data_dir: Path) -> tuple[tuple[DatasetSpec, ...], str]:
    """The folders of a form's dataset, and the field that names them; raises as `from_folders` does."""
    args = _arguments(form, data_dir)
    if args.dataset_config is None:
        return (from_folders(args),), "train_data_dir"
    return dataset_config.load(args), "dataset_config"


def _arguments(form: Form, data_dir: Path) -> TrainingArguments:
    config = trainer_config(form, script_arguments(form.family))
    wanted = {key: config[key] for key in _WANTED if key in config}
    here = {"pretrained_model_name_or_path": str(data_dir), "output_dir": str(data_dir)}
    return arguments.from_values(wanted | here, data_dir=data_dir)


def _captions(found: list[Item]) -> Iterator[Problem]:
    train = [item for item in found if not item.subset.is_reg]
    missing = [item for item in train if not item.picture.has_caption_file]
    if not missing:
        return
    wanted = missing[0].subset.caption_extension
    said = (
        f"{len(missing)} of {len(train)} pictures have no {wanted} caption; the name of their folder is used"
    )
    for extension in _CAPTION_EXTENSIONS:
        others = sum(item.picture.path.with_suffix(extension).is_file() for item in missing)
        if extension != wanted and others:
            said += f". {others} have a {extension} file: is that the ending you want?"
    yield Problem("caption_extension", said, "warning")


def _lengths(form: Form, report: Report) -> Iterator[Problem]:
    """Numbers that never come true in a run of this length."""
    limits = {
        "sample_every_n_steps": report.total_steps,
        "save_every_n_steps": report.total_steps,
        "sample_every_n_epochs": report.epochs,
        "save_every_n_epochs": report.epochs,
    }
    for key, most in limits.items():
        if form.number(key) > most:
            unit = "steps" if key.endswith("steps") else "epochs"
            yield Problem(key, f"never happens: the training has {most} {unit}", "warning")
    if form.number("lr_warmup_steps") >= report.total_steps:
        said = f"the warm-up is not over when the training is: it has {report.total_steps} steps"
        yield Problem("lr_warmup_steps", said, "warning")


def _sizes(form: Form, found: list[Item], *, sd_scripts: bool) -> Iterator[Problem]:
    """Without buckets and without cached latents sd-scripts takes pictures of exactly the resolution only."""
    cached = form.on("cache_latents") or form.on("cache_latents_to_disk")
    if not sd_scripts or cached or form.on("enable_bucket") or form.text("dataset_config"):
        return
    other = [item for item in found if item.picture.size != item.placement.bucket]
    if other:
        first = other[0].picture
        said = f"{len(other)} pictures do not have the resolution, such as {first.path.name}; "
        yield Problem("enable_bucket", said + "turn buckets on, or the latent cache")
