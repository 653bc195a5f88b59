"""One query while it is drawn.

Stable Diffusion is drawn step by step: each query has a scheduler and random generators of its own, only the U-Net
and the decoder see several queries in one batch. So a picture does not depend on what was drawn beside it (but for the
last bits of floating point), and a query may join or leave between any two steps. Other pipelines are called whole.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers import AutoPipelineForImage2Image
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

from backend.errors import InvalidArgument
from backend.inference import pictures, schedulers
from backend.inference.model import LoadedModel
from backend.inference.request import GenerationRequest


@dataclass(frozen=True, slots=True)
class Text:
    """An encoded prompt, the unguided half first where there is guidance: (1 or 2, length, width), and SDXL's pooled
    vectors (1 or 2, width)."""

    hidden: Tensor
    pooled: Tensor | None = None


class StepwiseDrawing:
    """A query of Stable Diffusion 1.x, 2.x or XL. `pictures` many, `height` × `width` pixels.

    Raises:
        InvalidArgument: it cannot be drawn with this model.
    """

    def __init__(
        self, model: LoadedModel, request: GenerationRequest, width: int, height: int, seeds: Sequence[int]
    ) -> None:
        self.model, self.request, self.width, self.height = model, request, width, height
        self.pictures = len(seeds)
        self.guided = request.guidance > 1.0
        self.scheduler = schedulers.make(request.scheduler, model.pipeline.scheduler)
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._step_options = self._options()
        self.scheduler.set_timesteps(request.steps, device=model.device)
        self.timesteps = self.scheduler.timesteps
        self._place = 0
        self.text = _encoded(model, request, self.guided)
        self.latents = self._first_latents()
        self._original: Tensor | None = None

    @property
    def steps(self) -> int:
        """How many steps there are in all."""
        return len(self.timesteps)

    @property
    def step(self) -> int:
        """How many are done."""
        return self._place

    @property
    def done(self) -> bool:
        return self._place >= len(self.timesteps)

    def _options(self) -> dict[str, Any]:
        known = inspect.signature(self.scheduler.step).parameters
        options: dict[str, Any] = {"generator": self._generators} if "generator" in known else {}
        return options | ({"eta": 0.0} if "eta" in known else {})

    def _first_latents(self) -> Tensor:
        model, unet, factor = self.model, self.model.pipeline.unet, self.model.pixels_per_latent
        shape = (self.pictures, unet.config.in_channels, self.height // factor, self.width // factor)
        if self.request.image is None:
            noise = randn_tensor(
                shape, generator=self._generators, device=model.device, dtype=self.text.hidden.dtype
            )
            return cast(Tensor, noise * self.scheduler.init_noise_sigma)
        count = min(int(self.request.steps * self.request.strength), self.request.steps)
        if count < 1:
            raise InvalidArgument("strength", "is so small that no step is left; raise it or the steps")
        first = max(self.request.steps - count, 0) * self.scheduler.order
        self.timesteps = self.scheduler.timesteps[first:]
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(first)
        encoded = self._encoded_image()
        noise = randn_tensor(
            encoded.shape, generator=self._generators, device=model.device, dtype=encoded.dtype
        )
        return cast(
            Tensor, self.scheduler.add_noise(encoded, noise, self.timesteps[:1].repeat(self.pictures))
        )

    def _encoded_image(self) -> Tensor:
        vae, processor = self.model.pipeline.vae, self.model.pipeline.image_processor
        picture = pictures.opened(self.request.image or b"", (self.width, self.height))
        pixels = processor.preprocess(picture, height=self.height, width=self.width)
        pixels = pixels.to(self.model.device, vae.dtype)
        latents = [vae.encode(pixels).latent_dist.sample(generator) for generator in self._generators]
        return cast(Tensor, torch.cat(latents).to(self.text.hidden.dtype) * vae.config.scaling_factor)

    def advance(self, prediction: Tensor) -> None:
        """Take the U-Net's output for `inputs` and make the step."""
        if self.guided:
            unguided, guided = prediction.chunk(2)
            prediction = unguided + self.request.guidance * (guided - unguided)
        taken = self.scheduler.step(
            prediction, self.timesteps[self._place], self.latents, **self._step_options, return_dict=True
        )
        self.latents = taken.prev_sample
        self._original = getattr(taken, "pred_original_sample", None)
        self._place += 1

    def inputs(self) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """What the U-Net is to be asked next: latents, timesteps, text, and SDXL's additions."""
        latents = torch.cat([self.latents] * 2) if self.guided else self.latents
        at = self.timesteps[self._place]
        latents = self.scheduler.scale_model_input(latents, at)
        hidden = self.text.hidden.repeat_interleave(self.pictures, dim=0)
        added: dict[str, Tensor] = {}
        if self.text.pooled is not None:
            sizes = torch.tensor([[self.height, self.width, 0, 0, self.height, self.width]])
            added = {
                "text_embeds": self.text.pooled.repeat_interleave(self.pictures, dim=0),
                "time_ids": sizes.to(self.model.device, hidden.dtype).repeat(len(latents), 1),
            }
        return latents, at.expand(len(latents)), hidden, added

    def preview(self) -> Tensor:
        """The latents of the first picture as the model expects them to become."""
        return (self.latents if self._original is None else self._original)[:1]


@torch.no_grad()
def make_step(drawings: Sequence[StepwiseDrawing], at_once: int) -> None:
    """One step of each drawing, the U-Net asked for up to `at_once` latents in a call. All of one model and size."""
    asked = [drawing.inputs() for drawing in drawings]
    latents, times, hidden = (torch.cat([each[n] for each in asked]) for n in range(3))  # type: ignore[misc]
    added = {name: torch.cat([each[3][name] for each in asked]) for name in asked[0][3]}
    unet = drawings[0].model.pipeline.unet
    answers = []
    for start in range(0, len(latents), at_once):
        part = slice(start, start + at_once)
        extra = {name: value[part] for name, value in added.items()}
        options = {"added_cond_kwargs": extra} if extra else {}
        answers.append(
            unet(
                latents[part], times[part], encoder_hidden_states=hidden[part], return_dict=False, **options
            )[0]
        )
    predictions = torch.cat(answers)
    start = 0
    for drawing, (own, *_) in zip(drawings, asked, strict=True):
        drawing.advance(predictions[start : start + len(own)])
        start += len(own)


@torch.no_grad()
def decoded(model: LoadedModel, latents: Tensor, at_once: int) -> Tensor:
    """Latents as pixels (n, height, width, 3), uint8, on the CPU."""
    vae, found = model.pipeline.vae, []
    latents = latents.to(vae.dtype) / vae.config.scaling_factor
    for start in range(0, len(latents), at_once):
        pixels = vae.decode(latents[start : start + at_once], return_dict=False)[0]
        pixels = (pixels.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
        found.append((pixels * 255).round().to(torch.uint8).cpu())
    return torch.cat(found)


def images(pixels: Tensor) -> list[Image.Image]:
    """Pixels (n, height, width, 3) as pictures."""
    return [Image.fromarray(each.numpy()) for each in pixels]


@torch.no_grad()
def _encoded(model: LoadedModel, request: GenerationRequest, guided: bool) -> Text:
    key = (request.prompt, request.negative_prompt if guided else None, request.clip_skip)
    known = model.texts.get(key)
    if known is None:
        known = _encode(model, request, guided)
        model.remember_text(key, known)
    return Text(*known)


def _encode(model: LoadedModel, request: GenerationRequest, guided: bool) -> tuple[Tensor, ...]:
    said = model.pipeline.encode_prompt(
        prompt=request.prompt,
        device=model.device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=guided,
        negative_prompt=request.negative_prompt if guided else None,
        clip_skip=request.clip_skip or None,
    )
    positive, negative, *pooled = said
    hidden = torch.cat([negative, positive]) if guided else positive
    if not pooled:
        return (hidden,)
    return hidden, torch.cat([pooled[1], pooled[0]]) if guided else pooled[0]


class Abandoned(Exception):
    """Nobody wants this drawing any more."""


@torch.no_grad()
def draw_whole(
    model: LoadedModel,
    request: GenerationRequest,
    width: int,
    height: int,
    seeds: Sequence[int],
    on_step: Callable[[int, int], None],
) -> list[Image.Image]:
    """The pictures of any other pipeline, by its own call. `on_step(step, steps)` may raise `Abandoned`.

    Raises:
        InvalidArgument: this pipeline does not take what was asked for.
    """
    pipeline = model.pipeline if request.image is None else _from_picture(model.pipeline)
    known = inspect.signature(pipeline.__call__).parameters
    wanted: dict[str, Any] = {
        "prompt": request.prompt,
        "num_inference_steps": request.steps,
        "guidance_scale": request.guidance,
        "num_images_per_prompt": 1,
        "width": width,
        "height": height,
    }
    if request.negative_prompt and "negative_prompt" in known:
        wanted["negative_prompt"] = request.negative_prompt
    if request.scheduler != "default":
        raise InvalidArgument(
            "scheduler", f"{type(pipeline).__name__} draws with its own scheduler; use default"
        )
    if request.image is not None:
        wanted |= {
            "image": pictures.opened(request.image, (width, height)),
            "strength": request.strength,
        }

    def stepped(_: Any, step: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        on_step(step + 1, request.steps)
        return tensors

    if "callback_on_step_end" in known:
        wanted["callback_on_step_end"] = stepped
    drawn: list[Image.Image] = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        drawn += pipeline(**{k: v for k, v in wanted.items() if k in known}, generator=generator).images
    return drawn


def _from_picture(pipeline: Any) -> Any:
    """The same parts as a pipeline that starts from a picture."""
    try:
        return AutoPipelineForImage2Image.from_pipe(pipeline)
    except (ValueError, AttributeError, TypeError):
        raise InvalidArgument("image", f"{type(pipeline).__name__} does not start from a picture") from None
