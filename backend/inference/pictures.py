"""PNG files with their generation parameters in them, as AUTOMATIC1111's web UI writes and most programs read them.

The text chunk `parameters`: the prompt (with `<lora:name:weight>` for each LoRA), a line `Negative prompt: …` where
there is one, and a line of `Key: value` pairs. Text outside ASCII goes into an iTXt chunk.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from backend.errors import InvalidArgument
from backend.training.pictures import FORMATS

MOST_PIXELS = 64 << 20


@dataclass(frozen=True, slots=True)
class Infotext:
    """What is written into a picture. `loras` maps names to weights, `hashes` names to the hashes of their files."""

    prompt: str
    negative_prompt: str
    steps: int
    sampler: str
    guidance: float
    seed: int
    width: int
    height: int
    model: str
    loras: Sequence[tuple[str, float]] = ()
    hashes: Mapping[str, str] | None = None
    strength: float | None = None
    clip_skip: int = 0

    def text(self) -> str:
        """The whole chunk."""
        prompt = " ".join([self.prompt, *(f"<lora:{name}:{weight:g}>" for name, weight in self.loras)])
        pairs: dict[str, str] = {
            "Steps": str(self.steps),
            "Sampler": self.sampler,
            "CFG scale": f"{self.guidance:g}",
            "Seed": str(self.seed),
            "Size": f"{self.width}x{self.height}",
            "Model": self.model,
        }
        if self.strength is not None:
            pairs["Denoising strength"] = f"{self.strength:g}"
        if self.clip_skip:
            pairs["Clip skip"] = str(self.clip_skip + 1)
        if self.hashes:
            pairs["Lora hashes"] = ", ".join(f"{name}: {digest}" for name, digest in self.hashes.items())
        pairs["Version"] = "lorapool"
        line = ", ".join(f"{key}: {_quoted(value)}" for key, value in pairs.items())
        negative = [f"Negative prompt: {self.negative_prompt}"] if self.negative_prompt else []
        return "\n".join([prompt, *negative, line])


def png(image: Image.Image, infotext: Infotext | None = None) -> bytes:
    """The bytes of a PNG file."""
    chunks = PngImagePlugin.PngInfo()
    if infotext is not None:
        text = infotext.text()
        if text.isascii():
            chunks.add_text("parameters", text)
        else:
            chunks.add_itxt("parameters", text)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=chunks, compress_level=4)
    return buffer.getvalue()


def opened(data: bytes, size: tuple[int, int] | None = None) -> Image.Image:
    """The picture that a query starts from, in RGB, at `size`.

    Raises:
        InvalidArgument: it is no picture, or a very large one.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise InvalidArgument(
                    "image",
                    f"has {image.width}×{image.height} pixels; up to {MOST_PIXELS} are taken: make it smaller",
                )
            plain = image.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        raise InvalidArgument(
            "image", "is no picture that can be read; send a whole PNG, JPEG or WebP file"
        ) from None
    return plain if size is None or plain.size == size else plain.resize(size, Image.Resampling.LANCZOS)


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if any(c in value for c in ",:\n") else value
