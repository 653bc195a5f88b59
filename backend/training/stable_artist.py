"""Pictures of Stable Diffusion while it trains, by diffusers' pipelines around the running models."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import diffusers
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL.Image import Image
from torch import nn

from backend.training.model import BaseModel
from backend.training.prompts import SCALE, STEPS, SamplePrompt

_SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "pndm": ("PNDMScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm_2": ("KDPM2DiscreteScheduler", {}),
    "dpm_2_a": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpmsolver": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver"}),
    "dpmsolver++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpmsingle": ("DPMSolverSinglestepScheduler", {}),
}


class StableArtist:
    """Draws with Stable Diffusion 1.x, 2.x or SDXL, as `samples.Artist` wants it; `side` is its native size."""

    side_step = 8

    def __init__(
        self,
        model: BaseModel,
        *,
        default_sampler: str,
        side: int,
        clip_skip: int | None,
        predicts_v: bool,
        zero_snr: bool,
        say: Callable[[str], None],
    ) -> None:
        self._model, self.side, self._default, self._say = model, side, default_sampler, say
        self._xl = len(model.text_encoders) == 2
        self._clip_skip = clip_skip
        self._config = {
            **model.scheduler_config,
            "prediction_type": "v_prediction"
            if predicts_v
            else model.scheduler_config.get("prediction_type", "epsilon"),
        }
        if zero_snr:
            self._config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The models that have to be on the device."""
        return (self._model.unet, self._model.vae, *self._model.text_encoders)

    def draw(self, prompt: SamplePrompt, width: int, height: int, seed: int) -> Image:
        """The picture of a prompt."""
        image: Image = self._pipeline(prompt.sampler or self._default)(
            prompt.prompt,
            negative_prompt=prompt.negative,
            num_inference_steps=prompt.steps or STEPS,
            guidance_scale=SCALE if prompt.scale is None else prompt.scale,
            generator=torch.Generator().manual_seed(seed),
            clip_skip=self._clip_skip - 1
            if self._clip_skip and self._clip_skip > 1 and not self._xl
            else None,
            width=width,
            height=height,
        ).images[0]
        return image

    def _pipeline(self, sampler: str) -> Any:
        model = self._model
        parts: dict[str, Any] = {
            "vae": model.vae,
            "unet": model.unet,
            "text_encoder": model.text_encoders[0],
            "tokenizer": model.tokenizers[0],
            "scheduler": self._scheduler(sampler.removeprefix("k_")),
        }
        pipeline: Any
        if self._xl:
            pipeline = StableDiffusionXLPipeline(
                **parts,
                text_encoder_2=model.text_encoders[1],
                tokenizer_2=model.tokenizers[1],
                add_watermarker=False,
            )
        else:
            pipeline = StableDiffusionPipeline(
                **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
            )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _scheduler(self, sampler: str) -> Any:
        name, extra = _SCHEDULERS[sampler]
        scheduler = getattr(diffusers, name)
        if self._config.get("rescale_betas_zero_snr") and not _knows_zero_snr(scheduler):
            self._say(f"{sampler} cannot draw from a zero-terminal-SNR model; ddim is used")
            return self._scheduler("ddim")
        known = inspect.signature(scheduler).parameters
        return scheduler(**{key: value for key, value in {**self._config, **extra}.items() if key in known})


def _knows_zero_snr(scheduler: type) -> bool:
    return "rescale_betas_zero_snr" in inspect.signature(scheduler).parameters
