"""What the command line says about pictures, as the keys of a query. Pure but for reading a picture's file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backend.errors import InvalidArgument


def keys(
    model: str,
    loras: Sequence[str],
    size: str,
    steps: int,
    guidance: float,
    seed: int | None,
    negative: str,
    scheduler: str,
) -> dict[str, Any]:
    """The keys that were given; raises InvalidArgument for a LoRA or a size that cannot be read."""
    given = {
        "model": model or None,
        "loras": [lora(text) for text in loras] or None,
        "steps": steps,
        "guidance": guidance,
        "seed": seed,
        "negative_prompt": negative or None,
        "scheduler": scheduler,
        **_size(size),
    }
    return {key: value for key, value in given.items() if value is not None}


def lora(text: str) -> dict[str, Any]:
    """`NAME:WEIGHT`, or `NAME` at its full weight."""
    name, colon, weight = text.rpartition(":")
    if not colon:
        return {"name": text}
    try:
        return {"name": name, "weight": float(weight)}
    except ValueError:
        raise InvalidArgument("lora", f"NAME:WEIGHT is expected, not {text!r}") from None


def weights(text: str) -> list[float]:
    """Numbers with commas between."""
    try:
        return [float(word) for word in text.split(",") if word.strip()]
    except ValueError:
        raise InvalidArgument("weights", f"numbers with commas between are expected, not {text!r}") from None


def start(image: Path | None, strength: float) -> dict[str, Any]:
    """The keys of a picture to start from."""
    if image is None:
        return {}
    try:
        return {"image": image.read_bytes(), "strength": strength}
    except OSError as error:
        raise InvalidArgument("image", f"cannot read {image}: {error.strerror}") from None


def _size(text: str) -> dict[str, int]:
    if not text:
        return {}
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise InvalidArgument("size", f"WIDTHxHEIGHT is expected, such as 512x768, not {text!r}")
    return {"width": int(width), "height": int(height)}
