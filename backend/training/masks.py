"""Which parts of a picture count in the loss: masks from files or from the pictures' own alpha, at latent size."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from backend.errors import RunFailed
from backend.training.items import Item
from backend.training.pictures import fitted, open_mask


def mask_of(
    item: Item, *, factor: int, flip: bool = False, at: tuple[float, float] = (0.5, 0.5)
) -> Tensor | None:
    """The mask (1, h, w) of an item in [0, 1], each value the mean of `factor`² pixels; None where it has none.

    Raises:
        RunFailed: the mask cannot be read any more.
    """
    if item.picture.mask is None and not item.subset.alpha_mask:
        return None
    try:
        mask = open_mask(item.picture, alpha=item.subset.alpha_mask)
    except (OSError, ValueError, SyntaxError) as error:
        raise RunFailed(f"the mask of {item.picture.path} can no longer be read: {error}") from None
    if mask is None:
        return None
    mask = fitted(mask, item.placement, "area", at)
    if flip:
        mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    width, height = item.placement.bucket
    mask = mask.resize((width // factor, height // factor), Image.Resampling.BOX)
    return torch.from_numpy(np.array(mask, dtype=np.float32) / 255)[None]
