"""What FLUX wants of the arguments, and which of them it has no use for. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from backend.errors import InvalidArgument
from backend.training.argument_table import rows
from backend.training.flux.layout import FluxLayout
from backend.training.training_arguments import TrainingArguments

ONLY_FLUX = (
    *("clip_l", "t5xxl", "ae", "t5xxl_max_token_length", "apply_t5_attn_mask", "guidance_scale"),
    *("timestep_sampling", "sigmoid_scale", "discrete_flow_shift", "model_prediction_type"),
    *("weighting_scheme", "logit_mean", "logit_std", "mode_scale"),
    *("fp8_base", "fp8_base_unet", "blocks_to_swap"),
)
"""Arguments that other families refuse."""
_OTHERS = {
    "vae": "FLUX's autoencoder is named by ae; clear this one",
    "v2": "is for Stable Diffusion 2.x; turn it off",
    "v_parameterization": "is for Stable Diffusion; FLUX predicts the way from latents to noise",
    "scale_v_pred_loss_like_noise_pred": "is for Stable Diffusion; weighting_scheme weighs noise levels of FLUX",
    "v_pred_like_loss": "is for Stable Diffusion; weighting_scheme weighs noise levels of FLUX",
    "zero_terminal_snr": "is for Stable Diffusion; FLUX's noise levels end at nothing but noise already",
    "weighted_captions": "is for CLIP's prompts; T5 reads plain language, so take the brackets out",
}
_NO_EFFECT = {
    "min_snr_gamma": "FLUX has no SNR in its loss; weighting_scheme weighs noise levels",
    "debiased_estimation_loss": "FLUX has no SNR in its loss; weighting_scheme weighs noise levels",
    "noise_offset": "FLUX is trained with plain noise",
    "multires_noise_iterations": "FLUX is trained with plain noise",
    "min_timestep": "FLUX's noise levels follow timestep_sampling",
    "max_timestep": "FLUX's noise levels follow timestep_sampling",
    "clip_skip": "FLUX takes CLIP's pooled text and T5's last states",
    "max_token_length": "t5xxl_max_token_length says how much of a caption is read",
}
_MUCH = 8
"""Gigabytes from which on a GPU's memory is worth a word."""
_USUAL = {"max_timestep": (None, 1000), "clip_skip": (None, 1), "min_timestep": (None, 0)}


def check(args: TrainingArguments) -> None:
    """Refuse what FLUX cannot honour, or for another family what is FLUX's.

    Raises:
        InvalidArgument: at the argument to change.
    """
    if not args.is_flux:
        for name in ONLY_FLUX:
            if not rows()[name].is_neutral(getattr(args, name)):
                raise InvalidArgument(
                    name, "is for FLUX.1, whose network_module is networks.lora_flux; clear it"
                )
        return
    for name, why in _OTHERS.items():
        if getattr(args, name):
            raise InvalidArgument(name, why)
    if args.loss_type in ("huber", "smooth_l1") and args.huber_schedule == "snr":
        raise InvalidArgument(
            "huber_schedule", "snr needs Stable Diffusion's noise; choose constant or exponential"
        )
    if args.discrete_flow_shift <= 0:
        raise InvalidArgument("discrete_flow_shift", "must be above 0; 1 leaves the noise levels as they are")


def warnings(args: TrainingArguments, layout: FluxLayout) -> Iterator[str]:
    """What a FLUX run is told and has no use for, as in sd-scripts; and how much memory its transformer takes."""
    for name, why in _NO_EFFECT.items():
        if getattr(args, name) not in _USUAL.get(name, (None, False, 0)):
            yield f"{name} has no effect on FLUX: {why}"
    if args.sample_prompts is not None:
        yield "samples of FLUX are drawn with its own Euler steps; sample_sampler has no effect"
    size = layout.parameters * (4 if args.mixed_precision == "no" else 2) / 1e9
    if size > _MUCH and not (args.fp8_base or args.fp8_base_unet or args.blocks_to_swap):
        yield (
            f"the transformer's weights alone take {size:.0f} GB of GPU memory; mixed_precision bf16 with fp8_base "
            f"makes them {layout.parameters / 1e9:.0f} GB, and blocks_to_swap keeps some of them in main memory"
        )
    if not layout.guided:
        yield "this FLUX model takes no guidance (schnell); guidance_scale has no effect"
