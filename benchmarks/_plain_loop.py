"""The rival of `trainer.py`: a LoRA training loop with diffusers and peft as their own examples write it.

Every step decodes its pictures through a `DataLoader`, encodes them and their captions, adds noise, and takes one
AdamW step over the gradients of peft's adapters. No caches, no checkpoints, no samples. What is random comes from
`Chances`, so that a test can give it the trainer's own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from transformers import CLIPTextModel, CLIPTokenizer

from benchmarks._measured import Measured, peak_memory

_UNET = (
    r".*(transformer_blocks\.\d+\..*(to_q|to_k|to_v|to_out\.0|ff\.net\.0\.proj|ff\.net\.2)|proj_in|proj_out)"
)
_WEIGHTS = {"bf16": torch.bfloat16, "fp16": torch.float16}
_TEXT = r".*(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])"


class Chances:
    """What is drawn at random: the order of the pictures, the VAE's noise, the noise to learn, the timesteps."""

    def batches(self, pictures: int, size: int) -> Iterator[Sequence[int]]:
        """Batches of indices without end."""
        while True:
            order = torch.randperm(pictures).tolist()
            yield from (order[start : start + size] for start in range(0, pictures - size + 1, size))

    def posterior(self, indices: Sequence[int], shape: torch.Size) -> Tensor:
        """The noise (b, c, h, w) that latents are drawn with."""
        return torch.randn(shape)

    def noise(self, step: int, shape: torch.Size) -> Tensor:
        """The noise (b, c, h, w) of a step; timesteps are asked for after it."""
        return torch.randn(shape)

    def timesteps(self, step: int, count: int, total: int) -> Tensor:
        """The timesteps (b,) of a step."""
        return torch.randint(0, total, (count,))


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained: a model folder, one folder of square pictures with captions, and how."""

    model: Path
    pictures: Path
    resolution: int
    batch: int
    steps: int
    rank: int
    rate: float
    with_text: bool
    precision: str = "no"


class Pictures(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Pixels (3, h, w) in [-1, 1] and token ids of every picture, read anew each time."""

    def __init__(self, task: Task, tokenizer: Any, length: int) -> None:
        self._task, self._tokenizer, self._length = task, tokenizer, length
        self._paths = sorted(task.pictures.glob("*.png"))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        path = self._paths[index]
        side = self._task.resolution
        image = Image.open(path).convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        caption = path.with_suffix(".txt").read_text().strip()
        tokens = self._tokenizer(
            caption, padding="max_length", truncation=True, max_length=self._length, return_tensors="pt"
        )
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1
        return {"pixels": pixels, "ids": tokens.input_ids[0]}


@dataclass(slots=True)
class PlainLoop:
    """The loop; `prepare` runs once the adapters are there, for example to set their weights."""

    task: Task
    chances: Chances = field(default_factory=Chances)
    prepare: Callable[[nn.Module, nn.Module], None] = lambda unet, text: None

    def run(self) -> Measured:
        """Train; when each step was done, and its loss."""
        task, accelerator = self.task, Accelerator(mixed_precision=self.task.precision)
        tokenizer, text, unet, vae, scheduler = _load(task.model)
        for part in (vae, text, unet):
            part.requires_grad_(False)
            part.to(accelerator.device, _WEIGHTS.get(task.precision, torch.float32))
        unet.add_adapter(LoraConfig(r=task.rank, lora_alpha=task.rank, target_modules=_UNET))
        if task.with_text:
            text.add_adapter(LoraConfig(r=task.rank, lora_alpha=task.rank, target_modules=_TEXT))
        self.prepare(unet, text)
        learning = [weight for model in (unet, text) for weight in model.parameters() if weight.requires_grad]
        for weight in learning:
            weight.data = weight.data.float()
        optimizer = torch.optim.AdamW(learning, lr=task.rate)
        length = min(tokenizer.model_max_length, text.config.max_position_embeddings)
        pictures = Pictures(task, tokenizer, length)
        batches = _first(self.chances.batches(len(pictures), task.batch), task.steps)
        loader = DataLoader(pictures, batch_sampler=batches)
        unet, text, optimizer, loader = accelerator.prepare(unet, text, optimizer, loader)
        measured = Measured()
        unet.train()
        text.train(task.with_text)
        for step, batch in enumerate(loader, start=1):
            indices = batches[step - 1]
            latents = self._latents(vae, batch["pixels"], indices)
            noise = self.chances.noise(step, latents.shape).to(latents.device)
            total = scheduler.config.num_train_timesteps
            timesteps = self.chances.timesteps(step, len(latents), total).to(latents.device)
            noisy = scheduler.add_noise(latents, noise, timesteps)
            states = text(batch["ids"])[0]
            prediction = unet(noisy, timesteps, states, return_dict=False)[0]
            velocity = scheduler.config.prediction_type == "v_prediction"
            target = scheduler.get_velocity(latents, noise, timesteps) if velocity else noise
            loss = functional.mse_loss(prediction.float(), target.float())
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(learning, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            measured.step(float(loss.detach()))
        measured.peak = peak_memory()
        return measured

    def _latents(self, vae: Any, pixels: Tensor, indices: Sequence[int]) -> Tensor:
        with torch.no_grad():
            posterior = vae.encode(pixels.to(vae.dtype)).latent_dist
            drawn = self.chances.posterior(indices, posterior.mean.shape).to(pixels.device)
            latents: Tensor = (posterior.mean + posterior.std * drawn).float() * vae.config.scaling_factor
        return latents


def _first(batches: Iterator[Sequence[int]], count: int) -> list[list[int]]:
    return [list(next(batches)) for _ in range(count)]


def _load(folder: Path) -> tuple[Any, Any, Any, Any, Any]:
    here: dict[str, Any] = {"local_files_only": True}
    return (
        CLIPTokenizer.from_pretrained(folder / "tokenizer", **here),
        CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32, **here),
        UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32, **here),
        AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32, **here),
        DDPMScheduler.from_pretrained(folder / "scheduler", **here),
    )


def main() -> None:
    """Run the task of the command line, a JSON object, and print what was measured as another."""
    values = json.loads(sys.argv[1])
    task = Task(Path(values.pop("model")), Path(values.pop("pictures")), **values)
    print(json.dumps(PlainLoop(task).run().report()))


if __name__ == "__main__":
    main()
