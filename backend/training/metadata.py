"""What a LoRA file says about how it was made: the `ss_*` keys of sd-scripts and the modelspec ones, all text."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.training.checks import Prepared
from backend.training.items import Item, bucket_counts, mean_ratio_error
from backend.training.pictures import tags
from backend.training.training_arguments import TrainingArguments

_FROM_ARGUMENTS = (
    *("learning_rate", "unet_lr", "gradient_checkpointing", "gradient_accumulation_steps"),
    *("lr_scheduler", "lr_warmup_steps", "max_train_steps", "max_grad_norm", "mixed_precision", "seed"),
    *("noise_offset", "noise_offset_random_strength", "adaptive_noise_scale", "multires_noise_iterations"),
    *("multires_noise_discount", "ip_noise_gamma", "ip_noise_gamma_random_strength", "zero_terminal_snr"),
    *("min_snr_gamma", "scale_weight_norms", "prior_loss_weight", "loss_type", "huber_schedule", "huber_c"),
    *("huber_scale", "clip_skip", "max_token_length", "cache_latents", "training_comment"),
    *("network_module", "network_dim", "network_alpha", "network_dropout", "caption_dropout_rate"),
    *("caption_dropout_every_n_epochs", "caption_tag_dropout_rate"),
)
_DATASET_ARGUMENTS = (
    *(
        "enable_bucket",
        "bucket_no_upscale",
        "min_bucket_reso",
        "max_bucket_reso",
        "shuffle_caption",
        "keep_tokens",
    ),
    *("flip_aug", "random_crop", "resize_interpolation"),
)
_FLOW_ARGUMENTS = (
    *("apply_t5_attn_mask", "weighting_scheme", "logit_mean", "logit_std", "mode_scale", "guidance_scale"),
    *("timestep_sampling", "sigmoid_scale", "model_prediction_type", "discrete_flow_shift"),
)
_ALWAYS = (
    "ss_v2",
    "ss_base_model_version",
    "ss_network_module",
    "ss_network_dim",
    "ss_network_alpha",
    "ss_network_args",
)


@dataclass(slots=True)
class Metadata:
    """The metadata of one run's files; `of` gives that of one file."""

    args: TrainingArguments
    prepared: Prepared
    seed: int
    mixed_precision: str
    started_at: float = field(default_factory=time.time)
    model_hash: str = field(init=False)
    session_id: int = field(default_factory=lambda: random.SystemRandom().randrange(2**32))

    def __post_init__(self) -> None:
        self.model_hash = (
            "" if self.args.no_metadata else _model_hash(self.args.pretrained_model_name_or_path)
        )

    def of(
        self, *, steps: int, epoch: int, epochs: int, total_steps: int, batches_per_epoch: int
    ) -> dict[str, str]:
        """All keys and values; with `no_metadata` only the six that loaders rely on."""
        args = self.args
        values: dict[str, Any] = {f"ss_{name}": getattr(args, name) for name in _FROM_ARGUMENTS}
        values |= {
            "ss_session_id": self.session_id,
            "ss_training_started_at": self.started_at,
            "ss_training_finished_at": time.time(),
            "ss_output_name": args.output_name,
            "ss_seed": self.seed,
            "ss_mixed_precision": self.mixed_precision,
            "ss_network_args": json.dumps({**args.network_args, **args.network_texts}),
            "ss_optimizer": _optimizer(args),
            "ss_sd_model_name": args.pretrained_model_name_or_path.name,
            "ss_sd_model_hash": _legacy_model_hash(args.pretrained_model_name_or_path),
            "ss_new_sd_model_hash": self.model_hash,
            "ss_base_model_version": self._version(),
            "ss_v2": self.prepared.model.family == "sd2",
            "ss_text_encoder_lr": list(args.text_encoder_lr) or None,
            "ss_base_weights": [path.name for path in args.base_weights] or None,
            "ss_steps": steps,
            "ss_epoch": epoch,
            "ss_num_epochs": epochs,
            "ss_max_train_steps": total_steps,
            "ss_num_batches_per_epoch": batches_per_epoch,
            "ss_debiased_estimation": args.debiased_estimation_loss,
            "ss_vae_name": args.vae.name if args.vae else None,
        }
        values |= self._data() | self._flow()
        if args.no_metadata:
            return {key: str(values[key]) for key in _ALWAYS}
        return {key: str(value) for key, value in (values | self._modelspec(steps)).items()}

    @property
    def _predicts_v(self) -> bool:
        return self.prepared.model.predicts_v(self.args)

    def _flow(self) -> dict[str, Any]:
        if self.prepared.model.flux is None:
            return {}
        return {"ss_model_type": "flux"} | {
            f"ss_{name}": getattr(self.args, name) for name in _FLOW_ARGUMENTS
        }

    def _data(self) -> dict[str, Any]:
        report, args = self.prepared.report, self.args
        values: dict[str, Any] = {
            "ss_num_train_images": report.showings,
            "ss_num_reg_images": report.reg_showings,
            "ss_num_validation_images": len(self.prepared.validation),
            "ss_tag_frequency": json.dumps(_tag_frequency(self.prepared.items)),
        }
        if args.dataset_config is not None:
            return values | {"ss_datasets": json.dumps(_datasets(self.prepared))}
        spec = self.prepared.specs[0]
        return values | {
            **{f"ss_{name}": getattr(args, name) for name in _DATASET_ARGUMENTS},
            "ss_batch_size_per_device": spec.batch_size,
            "ss_total_batch_size": spec.batch_size * args.gradient_accumulation_steps,
            "ss_resolution": spec.buckets.resolution,
            "ss_color_aug": args.color_aug,
            "ss_face_crop_aug_range": None,
            "ss_bucket_info": json.dumps(_bucket_info(self.prepared.items)),
            "ss_dataset_dirs": json.dumps(_folders(self.prepared.items, is_reg=False)),
            "ss_reg_dataset_dirs": json.dumps(_folders(self.prepared.items, is_reg=True)),
        }

    def _version(self) -> str:
        family = self.prepared.model.family
        if family == "flux":
            return "flux1"
        if family == "sd2":
            return "sd_v2_768_v" if self._predicts_v else "sd_v2"
        return {"sd1": "sd_v1", "sdxl": "sdxl_base_v1-0"}[family]

    def _architecture(self) -> str:
        family = self.prepared.model.family
        if self.prepared.model.flux is not None:
            return f"flux-1-{self.prepared.model.flux.kind}/lora"
        if family == "sd2":
            return f"stable-diffusion-v2-{'768-v' if self._predicts_v else '512'}/lora"
        return {"sd1": "stable-diffusion-v1/lora", "sdxl": "stable-diffusion-xl-v1-base/lora"}[family]

    def _modelspec(self, steps: int) -> dict[str, str]:
        width, height = self.prepared.specs[0].buckets.resolution
        spec = {
            "sai_model_spec": "1.0.1",
            "architecture": self._architecture(),
            "implementation": "https://github.com/huggingface/diffusers",
            "title": self.args.output_name,
            "resolution": f"{width}x{height}",
            "date": time.strftime("%Y-%m-%dT%H:%M:%S"),
            **({} if self.args.is_flux else {"prediction_type": "v" if self._predicts_v else "epsilon"}),
            **self.args.modelspec,
        }
        return {f"modelspec.{key}": value for key, value in spec.items()}


def _model_hash(path: Path) -> str:
    """The SHA-256 of a single-file checkpoint; of a folder what sd-scripts writes for one."""
    if path.is_dir():
        return "IsADirectory"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _legacy_model_hash(path: Path) -> str:
    """The first 8 hex digits of the SHA-256 of 64 KiB of the file from 1 MiB on."""
    if path.is_dir():
        return "IsADirectory"
    with path.open("rb") as file:
        file.seek(0x100000)
        return hashlib.sha256(file.read(0x10000)).hexdigest()[:8]


def _optimizer(args: TrainingArguments) -> str:
    words = ",".join(f"{key}={value}" for key, value in args.optimizer_args.items())
    return f"{args.optimizer_type}({words})" if words else args.optimizer_type


def _folders(items: list[Item], *, is_reg: bool) -> dict[str, dict[str, int]]:
    counts: Counter[str] = Counter()
    repeats: dict[str, int] = {}
    for item in items:
        if item.subset.is_reg == is_reg:
            counts[item.subset.image_dir.name] += 1
            repeats[item.subset.image_dir.name] = item.subset.repeats
    return {name: {"n_repeats": repeats[name], "img_count": count} for name, count in counts.items()}


def _tag_frequency(items: list[Item]) -> dict[str, dict[str, int]]:
    frequency: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        frequency[item.subset.image_dir.name].update(tags([item.picture], item.subset.rules.separator))
    return {folder: dict(counts) for folder, counts in frequency.items()}


def _bucket_info(items: list[Item]) -> dict[str, Any]:
    buckets = {
        str(index): {"resolution": [bucket.width, bucket.height], "count": bucket.count}
        for index, bucket in enumerate(bucket_counts(items))
    }
    return {"buckets": buckets, "mean_img_ar_error": mean_ratio_error(items)}


def _datasets(prepared: Prepared) -> list[dict[str, Any]]:
    described = []
    for index, spec in enumerate(prepared.specs):
        items = [item for item in prepared.items if item.dataset == index]
        described.append(
            {
                "is_dreambooth": True,
                "batch_size_per_device": spec.batch_size,
                "num_train_images": sum(item.copies for item in items if not item.subset.is_reg),
                "num_reg_images": sum(item.copies for item in items if item.subset.is_reg),
                "resolution": list(spec.buckets.resolution),
                "enable_bucket": spec.buckets.enabled,
                "bucket_no_upscale": spec.buckets.no_upscale,
                "min_bucket_reso": spec.buckets.low,
                "max_bucket_reso": spec.buckets.high,
                "tag_frequency": _tag_frequency(items),
                "bucket_info": _bucket_info(items),
                "subsets": [
                    {
                        "image_dir": subset.image_dir.name,
                        "num_repeats": subset.repeats,
                        "is_reg": subset.is_reg,
                        "class_tokens": subset.class_tokens,
                        "img_count": sum(item.subset is subset for item in items),
                    }
                    for subset in spec.subsets
                ],
            }
        )
    return described
