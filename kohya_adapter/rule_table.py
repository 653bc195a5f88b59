"""Settings that exclude or need each other: what the trainers of sd-scripts assert on when they start.

One row is one rule: the field that it is said at, when a form breaks it, what is said.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from kohya_adapter.allowed import are_pairs
from kohya_adapter.form import Form
from kohya_adapter.problems import Severity


class Rule(NamedTuple):
    """`breaks` says whether a form breaks the rule; the problem stands at `field`."""

    field: str
    breaks: Callable[[Form], bool]
    message: str
    severity: Severity = "error"


def caches_text_encoders(form: Form) -> bool:
    """Whether text encoder outputs are cached, for the family that the form is for."""
    prefix = {"flux": "flux1_", "hunyuan": "hunyuan_image_"}.get(form.family, f"{form.family}_")
    keys = (f"{prefix}cache_text_encoder_outputs", f"{prefix}cache_text_encoder_outputs_to_disk")
    return any(form.get(key) for key in keys)


def _caches_latents(form: Form) -> bool:
    inpainting = form.on("train_inpainting") and form.family in ("sd", "sdxl")
    return (form.on("cache_latents") or form.on("cache_latents_to_disk")) and not inpainting


def _trains_text_encoder(form: Form) -> bool:
    return form.number("text_encoder_lr") > 0 or form.number("unet_lr") == 0


def _takes_no_warmup(form: Form) -> bool:
    name = form.text("lr_scheduler")
    return bool(form.text("lr_scheduler_type")) or name in ("constant", "adafactor")


def _has_warmup(form: Form) -> bool:
    return form.number("lr_warmup") != 0 or form.number("lr_warmup_steps") > 0


def _samples(form: Form) -> bool:
    return form.number("sample_every_n_steps") > 0 or form.number("sample_every_n_epochs") > 0


def _has_prompts(form: Form) -> bool:
    lines = (line.strip() for line in form.text("sample_prompts").splitlines())
    return any(line and not line.startswith("#") for line in lines)


def _saves_copies(form: Form, unit: str) -> bool:
    return form.number(f"save_every_n_{unit}") > 0


def _offset_is_on(form: Form) -> bool:
    return form["noise_offset_type"] == "Original" and form.number("noise_offset") != 0


def _finds_its_own_rate(form: Form) -> bool:
    return re.match(r"prodigy|dadapt", form.text("optimizer").lower()) is not None


def _swaps_blocks(form: Form) -> bool:
    return form.family not in ("sd", "sdxl") and form.number("blocks_to_swap") > 0


RULES: tuple[Rule, ...] = (
    # Model
    Rule(
        "pretrained_model_name_or_path",
        lambda f: not f.text("pretrained_model_name_or_path"),
        "name a base model",
    ),
    Rule(
        "save_model_as",
        lambda f: f["save_model_as"] != "safetensors",
        "choose safetensors; .ckpt files can run code",
    ),
    Rule(
        "scale_v_pred_loss_like_noise_pred",
        lambda f: f.on("scale_v_pred_loss_like_noise_pred") and not f.on("v_parameterization"),
        "works only for a v-prediction model; tick that too, or leave this off",
    ),
    Rule(
        "v_pred_like_loss",
        lambda f: f.number("v_pred_like_loss") != 0 and f.on("v_parameterization"),
        "is for models that predict noise; set it to 0 for a v-prediction model",
    ),
    Rule(
        "clip_skip",
        lambda f: f.number("clip_skip") > 1 and (f.on("v2") or f.family != "sd"),
        "has no good effect with this kind of model; 1 leaves it as the model expects",
        "warning",
    ),
    # Dataset
    Rule(
        "train_data_dir",
        lambda f: not f.text("train_data_dir") and not f.text("dataset_config"),
        "name the folder that holds your image folders, or a dataset TOML",
    ),
    Rule(
        "train_data_dir",
        lambda f: bool(f.text("train_data_dir") and f.text("dataset_config")),
        "has no effect: the dataset TOML says which folders are used",
        "warning",
    ),
    Rule(
        "max_resolution",
        lambda f: not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)?", str(f["max_resolution"])),
        "give pixels as 512, or width and height as 512,768",
    ),
    Rule(
        "color_aug",
        lambda f: f.on("color_aug") and _caches_latents(f),
        "cannot be used with cached latents; turn the latent cache off, or this",
    ),
    Rule(
        "random_crop",
        lambda f: f.on("random_crop") and _caches_latents(f),
        "cannot be used with cached latents; turn the latent cache off, or this",
    ),
    Rule(
        "persistent_data_loader_workers",
        lambda f: f.on("persistent_data_loader_workers") and f.number("max_data_loader_n_workers") == 0,
        "there are no loader processes to keep; set their number above 0, or turn this off",
    ),
    # Captions
    Rule(
        "shuffle_caption",
        lambda f: f.on("shuffle_caption") and caches_text_encoders(f),
        "cannot be used with cached text encoder outputs, which hold one order of the tags",
    ),
    Rule(
        "caption_dropout_rate",
        lambda f: f.number("caption_dropout_rate") > 0 and caches_text_encoders(f) and f.family != "anima",
        "cannot be used with cached text encoder outputs",
    ),
    Rule(
        "weighted_captions",
        lambda f: f.on("weighted_captions") and caches_text_encoders(f),
        "cannot be used with cached text encoder outputs",
    ),
    Rule(
        "text_encoder_lr",
        lambda f: f.family in ("sdxl", "anima") and caches_text_encoders(f) and _trains_text_encoder(f),
        "the text encoders cannot be trained while their outputs are cached; set this to 0, or turn the cache off",
    ),
    Rule(
        "train_t5xxl",
        lambda f: f.family == "flux" and f.on("train_t5xxl") and caches_text_encoders(f),
        "T5 cannot be trained while its outputs are cached",
    ),
    Rule(
        "train_blocks",
        lambda f: f.family == "flux" and f["train_blocks"] != "all" and not f.on("split_mode"),
        "acts in split mode only; to leave blocks out, set Double or Single blocks to train to none",
        "warning",
    ),
    # Network
    Rule("network_dim", lambda f: f.number("network_dim") < 1, "the rank is 1 or more"),
    Rule(
        "network_alpha",
        lambda f: f.number("network_alpha") < 0,
        "alpha is not negative; 0 stands for the rank",
    ),
    Rule(
        "dim_from_weights",
        lambda f: f.on("dim_from_weights") and not f.text("network_weights"),
        "needs the LoRA file to continue from",
    ),
    # Learning
    Rule(
        "learning_rate",
        lambda f: not any(f.number(key) for key in ("learning_rate", "unet_lr", "text_encoder_lr")),
        "all learning rates are 0, so nothing would be learned",
    ),
    Rule(
        "t5xxl_lr",
        lambda f: f.number("t5xxl_lr") > 0 and f.number("text_encoder_lr") == 0,
        "needs a text encoder rate above 0",
    ),
    Rule(
        "learning_rate",
        lambda f: _finds_its_own_rate(f) and max(f.number("unet_lr"), f.number("learning_rate")) < 0.1,
        "this optimizer finds its own rate and wants 1 here and in the rates below; so small a factor learns nothing",
        "warning",
    ),
    Rule(
        "learning_rate",
        lambda f: (
            not _finds_its_own_rate(f) and max(f.number("unet_lr"), f.number("text_encoder_lr")) >= 0.05
        ),
        "is far above what this optimizer stands; the loss will most likely become NaN",
        "warning",
    ),
    Rule(
        "optimizer_args",
        lambda f: not are_pairs(f, "optimizer_args"),
        "write name=value, with blanks only between",
    ),
    Rule(
        "lr_scheduler_args",
        lambda f: not are_pairs(f, "lr_scheduler_args"),
        "write name=value, with blanks only between",
    ),
    Rule(
        "lr_scheduler",
        lambda f: f["lr_scheduler"] == "adafactor" and f.text("optimizer").lower() != "adafactor",
        "the adafactor schedule works only with the Adafactor optimizer",
    ),
    Rule(
        "lr_scheduler",
        lambda f: (
            f["lr_scheduler"] == "piecewise_constant" and "step_rules" not in f.text("lr_scheduler_args")
        ),
        "piecewise_constant needs step_rules in the schedule arguments",
    ),
    Rule(
        "lr_scheduler",
        lambda f: (
            f["lr_scheduler"] == "cosine_with_min_lr"
            and "--lr_scheduler_min_lr_ratio" not in f.text("additional_parameters")
        ),
        "cosine_with_min_lr needs --lr_scheduler_min_lr_ratio 0.1 among the trainer arguments",
    ),
    Rule(
        "lr_warmup_steps",
        lambda f: f.number("lr_warmup_steps") > 0 and f.number("lr_warmup") > 0 and f["lr_warmup"] != 10,
        "wins over the warm-up in percent, which has no effect",
        "warning",
    ),
    # Length, saving, samples
    Rule(
        "epoch",
        lambda f: (
            f.number("max_train_steps") == 0 and f.number("max_train_epochs") == 0 and f.number("epoch") < 1
        ),
        "there are no steps and no epochs, so nothing would be trained",
    ),
    Rule(
        "epoch",
        lambda f: f["epoch"] != 1 and (f.number("max_train_steps") > 0 or f.number("max_train_epochs") > 0),
        "has no effect while a number of steps or of epochs is given",
        "warning",
    ),
    Rule(
        "save_last_n_epochs",
        lambda f: f.number("save_last_n_epochs") > 0 and not _saves_copies(f, "epochs"),
        "has no effect: no copies are saved by epochs",
        "warning",
    ),
    Rule(
        "save_last_n_steps",
        lambda f: f.number("save_last_n_steps") > 0 and not _saves_copies(f, "steps"),
        "has no effect: no copies are saved by steps",
        "warning",
    ),
    Rule(
        "save_state",
        lambda f: f.on("save_state") and not _saves_copies(f, "epochs") and not _saves_copies(f, "steps"),
        "the state is saved only at the end: no copies are saved on the way",
        "warning",
    ),
    Rule(
        "sample_prompts",
        lambda f: _samples(f) and not _has_prompts(f),
        "there is no prompt, so no samples will be painted",
        "warning",
    ),
    Rule(
        "sample_every_n_steps",
        lambda f: (
            _has_prompts(f) and not _samples(f) and "--sample_at_first" not in f.text("additional_parameters")
        ),
        "is 0, so the prompts are never painted; say every how many steps or epochs",
        "warning",
    ),
    # Noise and loss
    Rule(
        "adaptive_noise_scale",
        lambda f: (
            f["noise_offset_type"] == "Original"
            and f.number("adaptive_noise_scale") != 0
            and not _offset_is_on(f)
        ),
        "needs a noise offset above 0, which it adapts",
    ),
    Rule(
        "min_timestep",
        lambda f: 0 < f.number("max_timestep") <= f.number("min_timestep"),
        "must be below the largest timestep",
    ),
    # Memory
    Rule(
        "mixed_precision",
        lambda f: f["mixed_precision"] == "fp8",
        "the trainer computes in bf16 or fp16; for a base model in 8 bits tick that instead",
    ),
    Rule(
        "full_fp16",
        lambda f: f.on("full_fp16") and f["mixed_precision"] != "fp16",
        "needs mixed precision fp16",
    ),
    Rule(
        "full_bf16",
        lambda f: f.on("full_bf16") and f["mixed_precision"] != "bf16",
        "needs mixed precision bf16",
    ),
    Rule(
        "fp8_base",
        lambda f: (
            (f.on("fp8_base") or (f.family == "flux" and f.on("fp8_base_unet")))
            and f["mixed_precision"] == "no"
        ),
        "needs mixed precision bf16 or fp16",
    ),
    Rule(
        "cpu_offload_checkpointing",
        lambda f: f.family == "flux" and f.on("cpu_offload_checkpointing") and _swaps_blocks(f),
        "cannot be used together with blocks to swap",
    ),
    Rule(
        "anima_unsloth_offload_checkpointing",
        lambda f: f.family == "anima" and f.on("anima_unsloth_offload_checkpointing") and _swaps_blocks(f),
        "cannot be used together with blocks to swap",
    ),
    Rule(
        "anima_torch_compile",
        lambda f: f.family == "anima" and f.on("anima_compile") and f.on("anima_torch_compile"),
        "compile each block or the whole model, not both",
    ),
    Rule(
        "sd3_fused_backward_pass",
        lambda f: (
            f.family == "sd3"
            and f.on("sd3_fused_backward_pass")
            and (f.text("optimizer").lower() != "adafactor" or f.number("gradient_accumulation_steps") != 1)
        ),
        "needs the Adafactor optimizer and gradient accumulation 1",
    ),
    # Logging
    Rule(
        "wandb_api_key",
        lambda f: f["log_with"] in ("wandb", "all") and not f.text("wandb_api_key"),
        "is empty; the run can log to Weights & Biases only where the instances have a key of their own",
        "warning",
    ),
)

SD_SCRIPTS_RULES: tuple[Rule, ...] = (
    Rule(
        "lr_warmup",
        lambda f: (
            _takes_no_warmup(f) and _has_warmup(f) and "schedulefree" not in f.text("optimizer").lower()
        ),
        "this schedule refuses a warm-up; set both warm-ups to 0, or choose constant_with_warmup",
    ),
    Rule(
        "min_bucket_reso",
        lambda f: (
            f.on("enable_bucket")
            and not f.text("dataset_config")
            and f.number("min_bucket_reso") > min(_resolution(f))
        ),
        "is above the resolution; sd-scripts refuses that even when pictures are never enlarged",
    ),
    Rule(
        "max_bucket_reso",
        lambda f: (
            f.on("enable_bucket")
            and not f.text("dataset_config")
            and f.number("max_bucket_reso") < max(_resolution(f))
        ),
        "is below the resolution; sd-scripts refuses that",
    ),
)
"""Rules of sd-scripts itself, which the built-in trainer does not share."""


def _resolution(form: Form) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", str(form["max_resolution"]))] or [512]
