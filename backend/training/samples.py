"""Sample pictures while training: the prompts of the file, drawn with the LoRA as it is now."""

from __future__ import annotations

import inspect
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffusers
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from backend.errors import InvalidInput
from backend.training import prompts
from backend.training.files import write_file
from backend.training.model import BaseModel
from backend.training.progress import Reporter
from backend.training.prompts import SamplePrompt
from backend.training.seeds import derive

if TYPE_CHECKING:
    from collections.abc import Callable

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


class Sampler:
    """Draws the prompts of `file`, which is read again each time, so that it can be edited while the run goes."""

    def __init__(
        self,
        file: Path,
        first: tuple[SamplePrompt, ...],
        folder: Path,
        name: str,
        model: BaseModel,
        *,
        default_sampler: str,
        native_size: int,
        clip_skip: int | None,
        predicts_v: bool,
        zero_snr: bool,
        seed: int,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[Any]],
        reporter: Reporter,
    ) -> None:
        self._file, self._prompts, self._folder, self._name, self._model = file, first, folder, name, model
        self._xl = len(model.text_encoders) == 2
        self._default, self._native_size, self._clip_skip = default_sampler, native_size, clip_skip
        self._config = {
            **model.scheduler_config,
            "prediction_type": "v_prediction"
            if predicts_v
            else model.scheduler_config.get("prediction_type", "epsilon"),
        }
        if zero_snr:
            self._config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        self._seed, self._device, self._autocast, self._reporter = seed, device, autocast, reporter

    def draw(self, *, step: int, epoch: int, by_epoch: bool) -> list[Path]:
        """Draw every prompt; the files."""
        self._read_again()
        if not self._prompts:
            return []
        self._reporter.phase("sampling")
        model = self._model
        parts = (model.unet, model.vae, *model.text_encoders)
        before = [(part, part.training, next(part.parameters()).device) for part in parts]
        for part in parts:
            part.eval().to(self._device)
        try:
            with torch.no_grad(), self._autocast():
                return [
                    self._draw_one(index, prompt, step, epoch, by_epoch)
                    for index, prompt in enumerate(self._prompts)
                ]
        finally:
            for part, was_training, device in before:
                part.train(was_training).to(device)

    def _read_again(self) -> None:
        try:
            self._prompts = prompts.read(self._file)
        except InvalidInput as error:
            self._reporter.log(f"the prompts are left as they were: {error}")

    def _draw_one(self, index: int, prompt: SamplePrompt, step: int, epoch: int, by_epoch: bool) -> Path:
        seed = prompt.seed if prompt.seed is not None else derive(self._seed, "sample", index) % 2**32
        pipeline = self._pipeline(prompt.sampler or self._default)
        size = {"width": prompt.width or self._native_size, "height": prompt.height or self._native_size}
        images = pipeline(
            prompt.prompt,
            negative_prompt=prompt.negative,
            num_inference_steps=prompt.steps,
            guidance_scale=prompt.scale,
            generator=torch.Generator().manual_seed(seed),
            clip_skip=self._clip_skip - 1
            if self._clip_skip and self._clip_skip > 1 and not self._xl
            else None,
            **{side: max(8, pixels // 8 * 8) for side, pixels in size.items()},
        ).images
        counter = f"e{epoch:06d}" if by_epoch else f"{step:06d}"
        drawn = f"_{prompt.seed}" if prompt.seed is not None else ""
        stamp = time.strftime("%Y%m%d%H%M%S")
        path = self._folder / f"{self._name}_{counter}_{index:02d}_{stamp}{drawn}.png"
        write_file(path, (_png(images[0]),))
        self._reporter.file("sample", path, step=step, epoch=epoch, label=prompt.prompt)
        self._reporter.log(f"sample {path}")
        return path

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
            self._reporter.log(f"{sampler} cannot draw from a zero-terminal-SNR model; ddim is used")
            return self._scheduler("ddim")
        known = inspect.signature(scheduler).parameters
        return scheduler(**{key: value for key, value in {**self._config, **extra}.items() if key in known})


def _knows_zero_snr(scheduler: type) -> bool:
    return "rescale_betas_zero_snr" in inspect.signature(scheduler).parameters


def _png(image: Any) -> bytes:
    import io

    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
