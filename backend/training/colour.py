"""Slightly other colours, so that a LoRA does not learn the tint of its pictures (`color_aug`)."""

from __future__ import annotations

from random import Random

import numpy as np
from PIL import Image

_SHARE = 1 / 3
_HUE = 16
_GAMMA = (0.95, 1.05)


def recoloured(image: Image.Image, chance: Random) -> Image.Image:
    """Every third RGB picture with its hue turned by up to 16 degrees, or its gamma between 0.95 and 1.05."""
    if chance.random() >= _SHARE:
        return image
    return _turned(image, chance) if chance.random() < 0.5 else _bent(image, chance)


def _turned(image: Image.Image, chance: Random) -> Image.Image:
    values = np.array(image.convert("HSV"))
    values[..., 0] += np.uint8(round(chance.uniform(-_HUE, _HUE) / 360 * 256) % 256)
    return Image.fromarray(values, "HSV").convert("RGB")


def _bent(image: Image.Image, chance: Random) -> Image.Image:
    gamma = chance.uniform(*_GAMMA)
    return image.point([round((value / 255) ** gamma * 255) for value in range(256)] * 3)
