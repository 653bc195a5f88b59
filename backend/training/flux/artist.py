"""Pictures of FLUX while it trains, by diffusers' pipeline around the running models."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline
from PIL.Image import Image
from torch import nn

from backend.training.flux.model import attention
from backend.training.flux.text import ClipPooled
from backend.training.frozen_text import Conditions
from backend.training.model import BaseModel
from backend.training.prompts import SamplePrompt
from backend.training.text import Learning, Text, Tokens

_STEPS, _GUIDANCE = 20, 3.5


class FluxArtist:
    """Draws with FLUX, as `samples.Artist` wants it. Texts come from `conditions`, so that T5 may stay away."""

    def __init__(self, model: BaseModel, conditions: Conditions, *, side: int, side_step: int) -> None:
        self._model, self._conditions, self.side, self.side_step = model, conditions, side, side_step

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The models that have to be on the device."""
        return self._model.unet, self._model.vae

    def draw(self, prompt: SamplePrompt, width: int, height: int, seed: int) -> Image:
        """The picture of a prompt; `scale` above 1 is classifier-free guidance beside FLUX's own."""
        device = next(self._model.unet.parameters()).device
        text = self._text(prompt.prompt, device)
        options: dict[str, Any] = {}
        if prompt.scale is not None and prompt.scale > 1:
            other = self._text(prompt.negative, device)
            options = {
                "true_cfg_scale": prompt.scale,
                "negative_prompt_embeds": other.states,
                "negative_pooled_prompt_embeds": other.pooled,
            }
        tokens = (width // self.side_step) * (height // self.side_step)
        image: Image = self._pipeline()(
            prompt_embeds=text.states,
            pooled_prompt_embeds=text.pooled,
            joint_attention_kwargs=attention(text.mask, tokens),
            num_inference_steps=prompt.steps or _STEPS,
            guidance_scale=_GUIDANCE if prompt.guidance is None else prompt.guidance,
            generator=torch.Generator().manual_seed(seed),
            width=width,
            height=height,
            **options,
        ).images[0]
        return image

    def _text(self, caption: str, device: torch.device) -> Text:
        found = self._conditions([caption], device)
        assert not isinstance(found, Tokens)
        if isinstance(found, Learning):
            pooled = ClipPooled(self._model.text_encoders[0])(found.tokens)
            found = found.frozen._replace(pooled=pooled)
        dtype = self._model.vae.dtype
        assert isinstance(dtype, torch.dtype) and found.pooled is not None
        return found._replace(states=found.states.to(dtype), pooled=found.pooled.to(dtype))

    def _pipeline(self) -> Any:
        known = inspect.signature(FlowMatchEulerDiscreteScheduler).parameters
        config = {key: value for key, value in self._model.scheduler_config.items() if key in known}
        pipeline: Any = FluxPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(**config),
            vae=self._model.vae,
            transformer=self._model.unet,
            text_encoder=None,
            tokenizer=None,
            text_encoder_2=None,
            tokenizer_2=None,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline
