"""Training of the denoiser and the text encoder together, on latents of captioned pictures."""

import random
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim.swa_utils import AveragedModel
from transformers import CLIPTextConfig, CLIPTextModel

from backend.samples.drawing import SIZE, draw
from backend.samples.pictures import varied_picture
from backend.samples.scenes import Scene, random_scene, spoken_caption
from backend.samples.tokenizer import MAX_LENGTH
from backend.samples.train_vae import DOWNSCALE, LATENT_CHANNELS, Report, as_tensor, latents_of

BATCH = 32
PEAK_RATE = 1.5e-3
CAPTION_DROPOUT = 0.1
"""Share of pictures shown without a caption, which classifier-free guidance needs."""
EMA_DECAY = 0.998
TEXT_WIDTH = 64
POSTER = "a poster"
"""Caption of the varied pictures. They are here so that the denoiser has met more than plain scenes, and a
LoRA can reach for it."""


def build_unet() -> Any:
    """An untrained denoiser for latents of (batch, 4, 16, 16)."""
    return UNet2DConditionModel(
        sample_size=SIZE // DOWNSCALE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(32, 64, 96),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        layers_per_block=1,
        norm_num_groups=16,
    )


def build_text_encoder(tokenizer: Any) -> Any:
    """An untrained two-layer CLIP text model: token ids of (batch, 24) to (batch, 24, 64)."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_scheduler() -> Any:
    """Noise schedule of Stable Diffusion with zero terminal SNR, so that plain black and white backgrounds work.

    Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", arXiv 2305.08891.
    """
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )


class CaptionedLatents:
    """Scaled latents of many pictures, and a caption for each, worded anew each time it is drawn."""

    def __init__(self, vae: Any, count: int, rng: random.Random) -> None:
        """Draw and encode `count` pictures: five of six are scenes, the others varied pictures."""
        self.rng = rng
        self.scenes: list[Scene | None] = [None if n % 6 == 5 else random_scene(rng) for n in range(count)]
        pixels = as_tensor([self._picture(scene) for scene in self.scenes])
        self.latents = latents_of(vae, pixels) * vae.config.scaling_factor

    def _picture(self, scene: Scene | None) -> Any:
        if scene is None:
            return varied_picture(self.rng)
        jitter = (self.rng.uniform(-3, 3), self.rng.uniform(-3, 3))
        return draw(scene, jitter, self.rng.uniform(0.92, 1.08))

    def draw(self, count: int) -> tuple[Tensor, list[str]]:
        """`count` random latents of shape (count, 4, 16, 16) with captions, some of them empty."""
        chosen = self.rng.choices(range(len(self.scenes)), k=count)
        return self.latents[chosen], [self._caption(self.scenes[index]) for index in chosen]

    def _caption(self, scene: Scene | None) -> str:
        if self.rng.random() < CAPTION_DROPOUT:
            return ""
        return POSTER if scene is None else spoken_caption(scene, self.rng)


def train_unet(
    unet: Any, text_encoder: Any, tokenizer: Any, examples: CaptionedLatents, steps: int, report: Report
) -> None:
    """Train both in place with v-prediction and leave the moving average of their weights in them."""
    networks = nn.ModuleList([unet, text_encoder])
    average = AveragedModel(networks, avg_fn=_moving_average)
    optimizer = torch.optim.AdamW(networks.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=PEAK_RATE, total_steps=steps, pct_start=0.05, final_div_factor=100
    )
    scheduler = build_scheduler()
    networks.train()
    for step in range(steps):
        latents, captions = examples.draw(BATCH)
        loss = denoising_loss(unet, text_encoder, scheduler, latents, token_ids(tokenizer, captions))
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(networks.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(networks)
        if step % 100 == 0 or step == steps - 1:
            report(f"denoiser step {step + 1}/{steps} loss {loss.item():.4f}")
    networks.load_state_dict(average.module.state_dict())
    networks.eval()


def _moving_average(average: Tensor, current: Tensor, _count: Tensor | int) -> Tensor:
    return average.lerp(current, 1.0 - EMA_DECAY)


def token_ids(tokenizer: Any, captions: list[str]) -> Tensor:
    """Ids of (batch, 24), padded and cut."""
    ids: Tensor = tokenizer(
        captions, padding="max_length", truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
    ).input_ids
    return ids


def denoising_loss(unet: Any, text_encoder: Any, scheduler: Any, latents: Tensor, ids: Tensor) -> Tensor:
    """Mean squared error of the predicted velocity at uniformly drawn timesteps."""
    times = torch.randint(0, scheduler.config.num_train_timesteps, (len(latents),))
    noise = torch.randn_like(latents)
    noisy = scheduler.add_noise(latents, noise, times)
    prediction = unet(noisy, times, text_encoder(ids).last_hidden_state).sample
    return mse_loss(prediction, scheduler.get_velocity(latents, noise, times))
