"""How well a pipeline draws what is asked: the nearest of sixty reference pictures names colour and shape."""

from dataclasses import dataclass
from typing import Any

import numpy
import torch

from backend.samples.drawing import draw
from backend.samples.scenes import COLOURS, SHAPES, Scene


@dataclass(frozen=True)
class Accuracy:
    """Counts of right answers among `prompts` pictures."""

    prompts: int
    colour: int
    shape: int
    both: int


def measure(pipeline: Any, steps: int = 20, guidance: float = 3.0, seed: int = 3) -> Accuracy:
    """Draw each colour × shape once and name each picture by its nearest reference (mean squared error)."""
    scenes = [Scene(colour, shape) for colour in COLOURS for shape in SHAPES]
    references = numpy.stack([numpy.asarray(draw(scene), dtype=numpy.float32) for scene in scenes])
    found = [
        scenes[int(((references - picture) ** 2).mean(axis=(1, 2, 3)).argmin())]
        for start in range(0, len(scenes), 12)
        for picture in _pictures(pipeline, scenes[start : start + 12], steps, guidance, seed)
    ]
    pairs = list(zip(scenes, found, strict=True))
    return Accuracy(
        prompts=len(pairs),
        colour=sum(wanted.colour == got.colour for wanted, got in pairs),
        shape=sum(wanted.shape == got.shape for wanted, got in pairs),
        both=sum(wanted == got for wanted, got in pairs),
    )


def _pictures(pipeline: Any, scenes: list[Scene], steps: int, guidance: float, seed: int) -> Any:
    images = pipeline(
        [scene.caption() for scene in scenes],
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
    ).images
    return images * 255.0
