"""A training run as asked for: every argument that the built-in trainer honours, typed. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.training.allowed import FLUX_MODULE, StepRules


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingArguments:
    """One training run as asked for. Names, units and meanings are those of sd-scripts; None is "not given".

    `network_args` are those that are numbers, `network_texts` the others.
    """

    pretrained_model_name_or_path: Path
    vae: Path | None
    clip_l: Path | None
    t5xxl: Path | None
    ae: Path | None
    v2: bool
    v_parameterization: bool
    network_weights: Path | None
    base_weights: tuple[Path, ...]
    base_weights_multiplier: tuple[float, ...]
    resume: Path | None

    train_data_dir: Path | None
    reg_data_dir: Path | None
    conditioning_data_dir: Path | None
    dataset_config: Path | None
    resolution: tuple[int, int] | None
    train_batch_size: int
    enable_bucket: bool
    min_bucket_reso: int
    max_bucket_reso: int
    bucket_reso_steps: int
    bucket_no_upscale: bool
    resize_interpolation: str | None
    flip_aug: bool
    random_crop: bool
    color_aug: bool
    alpha_mask: bool
    max_data_loader_n_workers: int
    validation_split: float
    validation_seed: int | None
    validate_every_n_steps: int | None
    validate_every_n_epochs: int | None
    max_validation_steps: int | None

    caption_extension: str
    shuffle_caption: bool
    caption_separator: str
    secondary_separator: str | None
    keep_tokens: int
    keep_tokens_separator: str | None
    enable_wildcard: bool
    caption_prefix: str | None
    caption_suffix: str | None
    caption_dropout_rate: float
    caption_dropout_every_n_epochs: int
    caption_tag_dropout_rate: float
    token_warmup_min: int
    token_warmup_step: float
    max_token_length: int | None
    weighted_captions: bool
    t5xxl_max_token_length: int | None
    apply_t5_attn_mask: bool

    cache_latents: bool
    cache_latents_to_disk: bool
    cache_text_encoder_outputs: bool
    cache_text_encoder_outputs_to_disk: bool
    vae_batch_size: int
    no_half_vae: bool

    network_module: str
    network_dim: int
    network_alpha: float
    network_dropout: float | None
    network_args: Mapping[str, float]
    network_texts: Mapping[str, str]
    network_train_unet_only: bool
    network_train_text_encoder_only: bool
    dim_from_weights: bool
    scale_weight_norms: float | None

    optimizer_type: str
    optimizer_args: Mapping[str, Any]
    learning_rate: float
    unet_lr: float | None
    text_encoder_lr: tuple[float, ...]
    max_grad_norm: float
    lr_scheduler: str
    lr_scheduler_args: StepRules
    lr_warmup_steps: int | float
    lr_decay_steps: int | float
    lr_scheduler_num_cycles: int
    lr_scheduler_power: float
    lr_scheduler_timescale: int | None
    lr_scheduler_min_lr_ratio: float | None
    max_train_steps: int
    max_train_epochs: int | None
    gradient_accumulation_steps: int
    gradient_checkpointing: bool
    mixed_precision: str
    full_bf16: bool
    fp8_base: bool
    fp8_base_unet: bool
    blocks_to_swap: int | None
    xformers: bool
    mem_eff_attn: bool
    sdpa: bool
    seed: int | None
    clip_skip: int | None

    prior_loss_weight: float
    masked_loss: bool
    loss_type: str
    huber_schedule: str
    huber_c: float
    huber_scale: float
    min_snr_gamma: float | None
    debiased_estimation_loss: bool
    scale_v_pred_loss_like_noise_pred: bool
    v_pred_like_loss: float | None
    noise_offset: float | None
    noise_offset_random_strength: bool
    adaptive_noise_scale: float | None
    multires_noise_iterations: int | None
    multires_noise_discount: float
    ip_noise_gamma: float | None
    ip_noise_gamma_random_strength: bool
    zero_terminal_snr: bool
    min_timestep: int
    max_timestep: int | None
    guidance_scale: float
    timestep_sampling: str
    sigmoid_scale: float
    discrete_flow_shift: float
    model_prediction_type: str
    weighting_scheme: str
    logit_mean: float
    logit_std: float
    mode_scale: float

    output_dir: Path
    output_name: str
    save_precision: str | None
    save_every_n_epochs: int | None
    save_every_n_steps: int | None
    save_n_epoch_ratio: int | None
    save_last_n_epochs: int | None
    save_last_n_epochs_state: int | None
    save_last_n_steps: int | None
    save_last_n_steps_state: int | None
    save_state: bool
    save_state_on_train_end: bool
    no_metadata: bool
    training_comment: str | None
    modelspec: Mapping[str, str]

    sample_prompts: Path | None
    sample_sampler: str
    sample_every_n_steps: int | None
    sample_every_n_epochs: int | None
    sample_at_first: bool

    logging_dir: Path | None
    log_prefix: str

    data_dir: Path | None
    notes: tuple[str, ...]

    @property
    def is_flux(self) -> bool:
        """Whether the run is one for FLUX.1, which has a network module of its own."""
        return self.network_module == FLUX_MODULE

    @property
    def trains_unet(self) -> bool:
        """Whether the LoRA has a U-Net part."""
        return not self.network_train_text_encoder_only

    @property
    def trains_text_encoder(self) -> bool:
        """Whether the LoRA has a text encoder part."""
        return not self.network_train_unet_only
