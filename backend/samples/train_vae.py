"""Training of the autoencoder: pictures of 64×64×3 to latents of 16×16×4 and back."""

import random
from collections.abc import Callable
from typing import Any

import numpy
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn

from backend.samples.drawing import SIZE

LATENT_CHANNELS = 4
DOWNSCALE = 4
BATCH = 8
PEAK_RATE = 2e-3
KL_WEIGHT = 1e-5
"""Weight of the mean KL divergence per latent value beside the reconstruction error."""
OPPONENT = torch.tensor([[0.58, 0.58, 0.58], [1.06, -1.06, 0.0], [0.61, 0.61, -1.22]])
"""Orthogonal brightness, red-green and blue-yellow axes. Hue counts half as much again as brightness:

pictures differ mostly in brightness, and an autoencoder trained on plain RGB error learns hue last.
"""

Report = Callable[[str], None]


def build_vae() -> Any:
    """An untrained AutoencoderKL that divides width and height by four."""
    widths = (16, 32, 48)
    vae = AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=4,
        mid_block_add_attention=False,
        sample_size=SIZE,
        force_upcast=False,
    )
    with torch.no_grad():
        # A posterior of unit variance would drown the first, weak latents, and hue with them.
        vae.quant_conv.weight[LATENT_CHANNELS:] = 0.0
        vae.quant_conv.bias[LATENT_CHANNELS:] = -6.0
    return vae


def as_tensor(pictures: list[Image.Image]) -> Tensor:
    """Pictures as one uint8 tensor of shape (count, 3, height, width)."""
    return (
        torch.from_numpy(numpy.stack([numpy.asarray(p) for p in pictures])).permute(0, 3, 1, 2).contiguous()
    )


def as_signal(pixels: Tensor) -> Tensor:
    """Pixels of 0…255 as floats of −1…1, which is what an autoencoder takes."""
    return pixels.float() / 127.5 - 1.0


def train_vae(vae: Any, pixels: Tensor, crop_steps: int, full_steps: int, report: Report) -> None:
    """Train in place on uint8 pixels of shape (count, 3, 64, 64).

    The network is convolutional, so most of the steps see crops of half the width, at a quarter of the cost.
    Afterwards `scaling_factor` brings the latents to unit variance.
    """
    steps = crop_steps + full_steps
    optimizer = torch.optim.AdamW(vae.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=PEAK_RATE, total_steps=steps, pct_start=0.05, final_div_factor=100
    )
    rng = random.Random(0)
    vae.train()
    for step in range(steps):
        batch = augmented(pixels, SIZE // 2 if step < crop_steps else SIZE, BATCH, rng)
        loss = reconstruction_loss(vae, batch)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            report(f"autoencoder step {step + 1}/{steps} loss {loss.item():.4f}")
    vae.eval()
    vae.register_to_config(scaling_factor=1.0 / latents_of(vae, pixels[:512]).std().item())


def augmented(pixels: Tensor, side: int, count: int, rng: random.Random) -> Tensor:
    """Random crops of `side` pixels, half of them mirrored, as signal."""
    crops = []
    for _ in range(count):
        picture = pixels[rng.randrange(len(pixels))]
        x, y = (rng.randint(0, picture.shape[-1] - side) for _ in range(2))
        crop = picture[:, y : y + side, x : x + side]
        crops.append(crop.flip(-1) if rng.random() < 0.5 else crop)
    return as_signal(torch.stack(crops))


def reconstruction_loss(vae: Any, signal: Tensor) -> Tensor:
    """Absolute and squared error of brightness and hue, absolute error of borders, and KL divergence."""
    posterior = vae.encode(signal).latent_dist
    error = torch.einsum("dc,bchw->bdhw", OPPONENT, vae.decode(posterior.sample()).sample - signal)
    borders = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    divergence = 0.5 * (posterior.mean.pow(2) + posterior.var - 1.0 - posterior.logvar).mean()
    result: Tensor = error.abs().mean() + error.pow(2).mean() + 0.5 * borders + KL_WEIGHT * divergence
    return result


@torch.no_grad()
def latents_of(vae: Any, pixels: Tensor, batch: int = 128) -> Tensor:
    """Means of the latents, unscaled: (count, 4, 16, 16) for uint8 pixels of (count, 3, 64, 64)."""
    parts = (pixels[start : start + batch] for start in range(0, len(pixels), batch))
    return torch.cat([vae.encode(as_signal(part)).latent_dist.mean for part in parts])
