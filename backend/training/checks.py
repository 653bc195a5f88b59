"""Everything about a run that can be known before it starts: files, folders, counts. Imports no torch.

The trainer calls `prepare` before it loads anything; a form calls `check` for its preview.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

from backend.errors import InvalidArgument
from backend.training import allowed, dataset_config, items, model_folder, position, prompts
from backend.training.dataset import DatasetSpec, from_folders
from backend.training.flux import checks as flux_checks
from backend.training.flux import layout as flux_layout
from backend.training.flux import ranks
from backend.training.flux.layout import Given
from backend.training.items import BucketCount, Item
from backend.training.model_folder import ModelFacts
from backend.training.order import count_batches
from backend.training.plan import plan
from backend.training.prompts import SamplePrompt
from backend.training.training_arguments import TrainingArguments


@dataclass(frozen=True, slots=True)
class Report:
    """What a run will do: pictures, showings per epoch, buckets, batches, steps; and what looks odd, in words."""

    pictures: int
    showings: int
    reg_pictures: int
    reg_showings: int
    captioned: int
    buckets: tuple[BucketCount, ...]
    batches_per_epoch: int
    steps_per_epoch: int
    epochs: int
    total_steps: int
    warnings: tuple[str, ...]

    @classmethod
    def of(
        cls,
        args: TrainingArguments,
        specs: Sequence[DatasetSpec],
        found: list[Item],
        warnings: Sequence[str] = (),
    ) -> Report:
        """The report on a run over the items `found`."""
        batches = count_batches(found, [spec.batch_size for spec in specs])
        schedule = plan(args, batches)
        train = [item for item in found if not item.subset.is_reg]
        regs = [item for item in found if item.subset.is_reg]
        return cls(
            pictures=len(train),
            showings=sum(item.copies for item in train),
            reg_pictures=len(regs),
            reg_showings=sum(item.copies for item in regs),
            captioned=sum(item.picture.has_caption_file for item in train),
            buckets=tuple(items.bucket_counts(found)),
            batches_per_epoch=batches,
            steps_per_epoch=schedule.steps_per_epoch,
            epochs=schedule.epochs,
            total_steps=schedule.total_steps,
            warnings=tuple(warnings),
        )


@dataclass(frozen=True, slots=True)
class Prepared:
    """The parts of a checked run; `validation` are the items that are held back from training."""

    specs: tuple[DatasetSpec, ...]
    items: list[Item]
    validation: list[Item]
    model: ModelFacts
    prompts: tuple[SamplePrompt, ...]
    report: Report

    @property
    def batch_sizes(self) -> list[int]:
        """The batch size of each dataset."""
        return [spec.batch_size for spec in self.specs]


def check(args: TrainingArguments) -> Report:
    """What the run will do.

    Raises:
        InvalidArgument: something it needs is missing, broken, or does not fit together.
        PathOutsideDataFolder: a file that it names by another file lies outside the data folder.
    """
    return prepare(args).report


def prepare(args: TrainingArguments) -> Prepared:
    """Look at every file that the run needs; raises as `check` does."""
    model = inspect(args)
    _check_model(args, model)
    _check_files(args)
    if args.dataset_config is not None:
        specs, field = dataset_config.load(args), "dataset_config"
    else:
        specs, field = (from_folders(args),), "train_data_dir"
    found = items.read(specs, field=field, data_dir=args.data_dir)
    _check_buckets(found, model)
    _check_subsets(args, specs)
    training, validation = items.hold_out(found, specs, seed=args.seed)
    sample_prompts = prompts.read(args.sample_prompts) if args.sample_prompts else ()
    report = Report.of(args, specs, training, _warnings(args, specs, training, model))
    _check_resume(args, report.total_steps)
    if not args.is_flux and any(prompt.guidance is not None for prompt in sample_prompts):
        raise InvalidArgument("sample_prompts", "--g is what FLUX is told; for Stable Diffusion give --l")
    return Prepared(specs, training, validation, model, sample_prompts, report)


def inspect(args: TrainingArguments) -> ModelFacts:
    """The facts of the base model; raises as `check` does."""
    if args.is_flux:
        return flux_layout.inspect(
            args.pretrained_model_name_or_path, Given(args.clip_l, args.t5xxl, args.ae)
        )
    return model_folder.inspect(args.pretrained_model_name_or_path)


def check_machine(args: TrainingArguments) -> None:
    """What this machine lacks for the run.

    Raises:
        InvalidArgument: the optimizer needs a package that is not installed here.
    """
    kind = allowed.optimizer(args.optimizer_type)
    if kind.package and importlib.util.find_spec(kind.package) is None:
        plain = kind.name.removeprefix("Paged").removesuffix("8bit").removesuffix("32bit")
        raise InvalidArgument(
            "optimizer_type",
            f"{kind.name} needs the package {kind.package}, which is not installed on this machine; "
            f"choose {plain}, which learns the same and needs a little more memory",
        )


def _check_model(args: TrainingArguments, model: ModelFacts) -> None:
    if model.flux is not None:
        ranks.read(
            args.network_dim,
            args.network_args,
            args.network_texts,
            doubles=model.flux.doubles,
            singles=model.flux.singles,
        )
        return
    if args.v2 and model.family != "sd2":
        kind = {"sd1": "Stable Diffusion 1.x", "sdxl": "SDXL"}[model.stable_family]
        raise InvalidArgument("v2", f"is for Stable Diffusion 2.x, and {model.path} is {kind}; turn it off")
    v_prediction = model.predicts_v(args)
    if args.scale_v_pred_loss_like_noise_pred and not v_prediction:
        raise InvalidArgument("scale_v_pred_loss_like_noise_pred", "needs a v-prediction model")
    if args.v_pred_like_loss and v_prediction:
        raise InvalidArgument("v_pred_like_loss", "is for models that predict noise; this one predicts v")
    if args.max_timestep is not None and args.max_timestep > model.train_timesteps:
        raise InvalidArgument("max_timestep", f"is over the {model.train_timesteps} timesteps of the model")


def _check_files(args: TrainingArguments) -> None:
    if args.network_weights is not None:
        model_folder.check_safetensors(args.network_weights, "network_weights")
    for path in args.base_weights:
        model_folder.check_safetensors(path, "base_weights")
    if args.vae is not None and args.vae.suffix == ".safetensors":
        model_folder.check_safetensors(args.vae, "vae")
    elif args.vae is not None and not (args.vae / "config.json").is_file():
        raise InvalidArgument(
            "vae", f"{args.vae} is neither a safetensors file nor a VAE folder in diffusers' layout"
        )
    if args.sample_prompts is not None and not args.sample_prompts.is_file():
        raise InvalidArgument("sample_prompts", f"the file {args.sample_prompts} does not exist")
    if args.output_dir.exists() and not args.output_dir.is_dir():
        raise InvalidArgument("output_dir", f"{args.output_dir} is a file, not a folder")


def _check_resume(args: TrainingArguments, total_steps: int) -> None:
    if args.resume is None:
        return
    done = position.read(args.resume).current_step
    if done >= total_steps:
        raise InvalidArgument(
            "resume",
            f"the state is of step {done} and the run has {total_steps} steps: nothing is left to train; "
            "raise max_train_steps or max_train_epochs",
        )


def _check_subsets(args: TrainingArguments, specs: tuple[DatasetSpec, ...]) -> None:
    """What a dataset TOML asks for folder by folder and the arguments exclude."""
    if args.dataset_config is None:
        return
    subsets = [subset for spec in specs for subset in spec.subsets]
    for name in ("random_crop", "color_aug"):
        if args.cache_latents and any(getattr(subset, name) for subset in subsets):
            raise InvalidArgument(name, "in dataset_config needs cache_latents off")
    cached = args.cache_text_encoder_outputs or args.cache_text_encoder_outputs_to_disk
    if cached and any(subset.rules.changes for subset in subsets):
        raise InvalidArgument(
            "cache_text_encoder_outputs", "needs captions that stay as they are, also in dataset_config"
        )
    masked = any(subset.alpha_mask or subset.mask_dir for subset in subsets)
    if args.masked_loss and not masked:
        raise InvalidArgument(
            "masked_loss", "needs masks: alpha_mask or conditioning_data_dir in dataset_config"
        )


def _check_buckets(found: list[Item], model: ModelFacts) -> None:
    for bucket in items.bucket_counts(found):
        if bucket.width % model.side_step or bucket.height % model.side_step:
            raise InvalidArgument(
                "resolution",
                f"{bucket.width}×{bucket.height} is not divisible by {model.side_step}, "
                f"as {'FLUX' if model.flux else 'the VAE of this model'} needs; set bucket_reso_steps to "
                f"{model.side_step} or a multiple of it",
            )


def _warnings(
    args: TrainingArguments, specs: tuple[DatasetSpec, ...], training: list[Item], model: ModelFacts
) -> list[str]:
    train = [item for item in training if not item.subset.is_reg]
    found = [] if model.flux is None else list(flux_checks.warnings(args, model.flux))
    if args.clip_skip and args.clip_skip != 2 and model.family == "sdxl":
        found.append(
            "clip_skip has no effect on SDXL, which takes the last layer but one of both text encoders"
        )
    missing = sum(not item.picture.has_caption_file for item in train)
    if missing:
        extension = train[0].subset.caption_extension
        found.append(
            f"{missing} of {len(train)} pictures have no {extension} caption; the folder's name is used"
        )
    for spec in specs:
        rules = spec.buckets
        if rules.enabled and rules.no_upscale:
            found.append("bucket_no_upscale is on: min_bucket_reso and max_bucket_reso have no effect")
        elif rules.enabled and rules.low > min(rules.resolution):
            found.append(
                f"min_bucket_reso {rules.low} is over the resolution {min(rules.resolution)}, which is used"
            )
    if args.seed is None:
        found.append("no seed is given: one is drawn and written into the log and the file")
    return list(dict.fromkeys(found))
