"""Pictures into latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from backend.errors import RunFailed
from backend.training.colour import recoloured
from backend.training.items import Item
from backend.training.pictures import fitted, open_picture


@dataclass(frozen=True, slots=True)
class Encoder:
    """A VAE as pictures (b, 3, h, w) in [-1, 1] to latents (b, c, h/f, w/f) of the U-Net's scale."""

    vae: Any
    device: torch.device
    dtype: torch.dtype

    @torch.no_grad()
    def __call__(self, pixels: Tensor, noise: Callable[[torch.Size], Tensor]) -> Tensor:
        """Sample the posterior with the given normal noise.

        Raises:
            RunFailed: the VAE gives no finite numbers at this precision.
        """
        posterior = self.vae.encode(pixels.to(self.device, self.dtype)).latent_dist
        mean: Tensor = posterior.mean.float()
        latents: Tensor = mean + posterior.std.float() * noise(mean.shape).to(mean.device)
        config = self.vae.config
        latents = (latents - (config.get("shift_factor") or 0.0)) * config["scaling_factor"]
        if not bool(latents.isfinite().all()):
            raise RunFailed(
                "the VAE gives NaN at this precision; train with no_half_vae or mixed_precision bf16"
            )
        return latents


def pixels_of(
    item: Item, *, flip: bool, at: tuple[float, float] = (0.5, 0.5), chance: Random | None = None
) -> Tensor:
    """The picture of an item as a tensor (3, height, width) in [-1, 1].

    `at` is where it is cut; `chance` decides on other colours, where the subset wants them.

    Raises:
        RunFailed: the picture cannot be read any more.
    """
    try:
        image = fitted(open_picture(item.picture.path), item.placement, item.interpolation, at)
    except (OSError, ValueError, SyntaxError) as error:
        raise RunFailed(f"the picture {item.picture.path} can no longer be read: {error}") from None
    if chance is not None and item.subset.color_aug:
        image = recoloured(image, chance)
    if flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    array = torch.from_numpy(np.array(image, dtype=np.uint8))
    return array.permute(2, 0, 1).float().div_(127.5).sub_(1.0)
