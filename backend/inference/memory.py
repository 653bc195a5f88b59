"""How much memory there is for pictures, and how much they take. Bytes."""

from __future__ import annotations

import math
import os

import psutil
import torch

from backend.errors import InvalidArgument
from backend.inference.container_memory import container
from backend.inference.model import LoadedModel

BUDGET = "LORAPOOL_INFERENCE_MEMORY_GB"
"""Variable that sets how much of the device's memory may be taken: by models and LoRAs, which are kept in it, and by
pictures with what these leave. Where it is not set, pictures have all that is free."""

_SHARE_OF_GPU, _SHARE_OF_HOST = 0.8, 0.4
_MOST_ON_GPU, _MOST_ON_CPU = 16, 8
_DECODER_TENSORS, _UNET_TENSORS = 3, 60


def device() -> torch.device:
    """Where pictures are drawn."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def allowed() -> int | None:
    """What `BUDGET` says; None where it says nothing.

    Raises:
        InvalidArgument: it is no number of gigabytes.
    """
    said = os.environ.get(BUDGET, "")
    if not said:
        return None
    try:
        value = float(said)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise InvalidArgument(BUDGET, f"a number of gigabytes is expected, not {said!r}")
    return int(value * 2**30)


def budget(where: torch.device) -> int:
    """What models and LoRAs may be kept in."""
    said = allowed()
    if said is not None:
        return said
    if where.type == "cuda":
        return int(torch.cuda.mem_get_info(where)[1] * _SHARE_OF_GPU)
    limited = container()
    total = psutil.virtual_memory().total
    return int((min(total, limited.limit) if limited else total) * _SHARE_OF_HOST)


def free(where: torch.device, kept: int) -> int:
    """What pictures may take at the moment, beside `kept` bytes of models and LoRAs."""
    unused = _unused(where)
    said = allowed()
    return unused if said is None else max(0, min(unused, said - kept))


def _unused(where: torch.device) -> int:
    if where.type == "cuda":
        reserved = torch.cuda.memory_reserved(where) - torch.cuda.memory_allocated(where)
        return int(torch.cuda.mem_get_info(where)[0] + reserved)
    available = int(psutil.virtual_memory().available)
    limited = container()
    return min(available, limited.left) if limited else available


def of_picture(model: LoadedModel, width: int, height: int) -> int:
    """An estimate of what one picture takes at its peak: a few of the decoder's widest tensors at full size, or what a
    U-Net holds for a guided pair."""
    vae = getattr(model.pipeline, "vae", None)
    channels = getattr(getattr(vae, "config", None), "block_out_channels", (128, 256))
    widest = int(channels[min(1, len(channels) - 1)])
    decoder = width * height * widest * _DECODER_TENSORS * _item(vae)
    unet = getattr(model.pipeline, "unet", None)
    if unet is None:
        return decoder
    latents = (width // model.pixels_per_latent) * (height // model.pixels_per_latent)
    first = int(unet.config.block_out_channels[0])
    return int(max(decoder, 2 * latents * first * _UNET_TENSORS * _item(unet)))


def at_once(model: LoadedModel, width: int, height: int, there: int) -> int:
    """How many pictures fit at once into `there` bytes.

    Raises:
        InvalidArgument: not even one.
    """
    need = of_picture(model, width, height)
    if need > there:
        side = "width" if width >= height else "height"
        most = allowed()
        limit = f" of the {_gb(most)} that may be taken here ({BUDGET})" if most is not None else ""
        raise InvalidArgument(
            side,
            f"{width}×{height} takes about {_gb(need)} with {model.entry.name}, and {_gb(there)} are free{limit}; "
            "choose a smaller size",
        )
    together = _MOST_ON_GPU if model.device.type == "cuda" else _MOST_ON_CPU
    return max(1, min(together, int(there * 0.8 / max(1, need))))


def _gb(size: int) -> str:
    return f"{size / 2**30:.1f} GB" if size >= 2**29 else f"{size / 2**20:.0f} MB"


def _item(module: object) -> int:
    dtype = getattr(module, "dtype", torch.float32)
    return torch.finfo(dtype).bits // 8
