"""How much memory a base model takes at the least while it is trained on: its weights in the precision of the run.

Read from the heads of its safetensors files, which say the shape of every tensor; no weight is read.
"""

from __future__ import annotations

import json
import math
import struct
from functools import lru_cache
from pathlib import Path

from kohya_adapter.form import Form

_PARTS = ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3", "vae")
_WHOLE = ("diffusion_pytorch_model.safetensors", "model.safetensors")
_LONGEST_HEAD = 64 << 20
_HALF = ("fp16", "bf16")


def least_memory(form: Form) -> int | None:
    """Bytes, None where the model cannot be read here. `form` has absolute paths.

    Gradients, the optimizer's state of the LoRA and what the pictures need come on top of it.
    """
    try:
        numbers = sum(_numbers(file, file.stat().st_mtime_ns) for file in _files(form))
    except (OSError, ValueError):
        return None
    if not numbers:
        return None
    each = 1 if form.on("fp8_base") else 2 if form.text("mixed_precision") in _HALF else 4
    return numbers * each


def _files(form: Form) -> list[Path]:
    model = Path(form.text("pretrained_model_name_or_path"))
    if model.suffix == ".safetensors":
        return [model]
    found = []
    for part in _PARTS:
        folder = model / part
        whole = [folder / name for name in _WHOLE if (folder / name).is_file()]
        # A model in shards, or one of which there is a variant alone.
        found += whole[:1] or sorted(folder.glob("*.safetensors"))
    return found


@lru_cache(maxsize=256)
def _numbers(file: Path, _version: int) -> int:
    """How many numbers its tensors have."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8).ljust(8, b"\xff"))
        if length > _LONGEST_HEAD:
            raise ValueError(f"{file} is no safetensors file")
        head = json.loads(stream.read(length))
    return sum(math.prod(tensor["shape"]) for name, tensor in head.items() if name != "__metadata__")
