"""Which arguments want or exclude each other, before any file is looked at."""

from __future__ import annotations

from backend.errors import InvalidArgument
from backend.training.flux import checks as flux
from backend.training.training_arguments import TrainingArguments


def check_combinations(args: TrainingArguments) -> None:
    """Refuse what cannot be meant.

    Raises:
        InvalidArgument: at the argument to change.
    """
    _check_data(args)
    _check_masks(args)
    _check_network(args)
    _check_text(args)
    _check_precision(args)
    _check_noise(args)
    _check_output(args)
    flux.check(args)


def _check_data(args: TrainingArguments) -> None:
    if args.train_data_dir is None and args.dataset_config is None:
        raise InvalidArgument("train_data_dir", "is required, or dataset_config in its place")
    if args.resolution is None and args.dataset_config is None:
        raise InvalidArgument("resolution", "is required, for example 512 or 512,768")
    if args.random_crop and args.cache_latents:
        raise InvalidArgument(
            "random_crop", "needs cache_latents off: a cached picture is always cut the same way"
        )
    if args.color_aug and args.cache_latents:
        raise InvalidArgument("color_aug", "needs cache_latents off: a cached picture always has its colours")
    if args.min_bucket_reso > args.max_bucket_reso:
        raise InvalidArgument("min_bucket_reso", f"is over max_bucket_reso ({args.max_bucket_reso})")
    if args.bucket_reso_steps % 8:
        raise InvalidArgument("bucket_reso_steps", f"is {args.bucket_reso_steps}; it must be a multiple of 8")
    if "/" in args.caption_extension or "\0" in args.caption_extension:
        raise InvalidArgument(
            "caption_extension", f"is {args.caption_extension!r}; it is an ending like .txt"
        )
    if not args.caption_separator:
        raise InvalidArgument("caption_separator", "is empty; the usual one is a comma")


def _check_network(args: TrainingArguments) -> None:
    if args.network_train_unet_only and args.network_train_text_encoder_only:
        raise InvalidArgument(
            "network_train_unet_only", "and network_train_text_encoder_only leave nothing to train"
        )
    if args.dim_from_weights and args.network_weights is None:
        raise InvalidArgument("dim_from_weights", "needs network_weights to take the rank from")
    rates = []
    if args.trains_unet:
        rates.append(args.learning_rate if args.unet_lr is None else args.unet_lr)
    if args.trains_text_encoder:
        rates += args.text_encoder_lr or (args.learning_rate,)
    if not any(rates):
        raise InvalidArgument("learning_rate", "is 0 everywhere: nothing would be learned")
    if args.max_train_steps < 1 and args.max_train_epochs is None:
        raise InvalidArgument(
            "max_train_steps", "is 0 and max_train_epochs is not given: nothing would be trained"
        )
    if args.lr_scheduler == "cosine_with_min_lr" and args.lr_scheduler_min_lr_ratio is None:
        raise InvalidArgument(
            "lr_scheduler_min_lr_ratio", "is required by cosine_with_min_lr, for example 0.1"
        )


def _check_masks(args: TrainingArguments) -> None:
    if args.dataset_config is not None:
        return
    if args.masked_loss and not args.alpha_mask and args.conditioning_data_dir is None:
        raise InvalidArgument(
            "masked_loss",
            "needs masks: alpha_mask for the pictures' own, or conditioning_data_dir with their files",
        )
    if args.conditioning_data_dir is not None and not args.masked_loss:
        raise InvalidArgument(
            "conditioning_data_dir", "holds masks, which only masked_loss uses; turn that on"
        )


def _check_text(args: TrainingArguments) -> None:
    """Texts can be encoded beforehand when nothing about them changes; of FLUX T5's part, while CLIP learns."""
    if not (args.cache_text_encoder_outputs or args.cache_text_encoder_outputs_to_disk):
        return
    name = "cache_text_encoder_outputs"
    if args.trains_text_encoder and not args.is_flux:
        raise InvalidArgument(
            name, "needs network_train_unet_only: a text encoder that learns changes its output"
        )
    for other in CHANGING_CAPTIONS:
        if getattr(args, other):
            raise InvalidArgument(name, f"needs captions that stay as they are; take out {other}")


CHANGING_CAPTIONS = (
    *(
        "shuffle_caption",
        "caption_dropout_rate",
        "caption_dropout_every_n_epochs",
        "caption_tag_dropout_rate",
    ),
    *("token_warmup_step", "enable_wildcard"),
)


def _check_precision(args: TrainingArguments) -> None:
    if args.full_bf16 and args.mixed_precision != "bf16":
        raise InvalidArgument("full_bf16", f"needs mixed_precision bf16, not {args.mixed_precision}")
    if len(args.base_weights_multiplier) > len(args.base_weights):
        raise InvalidArgument("base_weights_multiplier", "has more numbers than base_weights has files")


def _check_noise(args: TrainingArguments) -> None:
    if args.adaptive_noise_scale is not None and args.noise_offset is None:
        raise InvalidArgument("adaptive_noise_scale", "needs noise_offset, which it adapts")
    if args.max_timestep is not None and args.min_timestep >= args.max_timestep:
        raise InvalidArgument("min_timestep", f"must be below max_timestep ({args.max_timestep})")


def _check_output(args: TrainingArguments) -> None:
    if "/" in args.output_name or "\0" in args.output_name or args.output_name in (".", ".."):
        raise InvalidArgument("output_name", f"is {args.output_name!r}; it is a file name without folder")
    if (
        args.sample_every_n_steps or args.sample_every_n_epochs or args.sample_at_first
    ) and not args.sample_prompts:
        raise InvalidArgument("sample_prompts", "is required for samples: a file with one prompt a line")
