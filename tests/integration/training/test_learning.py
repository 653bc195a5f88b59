"""The sample data set is learned: what the LoRA draws has moved from the plain pictures to those of the style."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backend.samples import DATASET, RECOMMENDED
from backend.samples.drawing import draw
from backend.samples.moonlight import draw_moonlit
from backend.samples.scenes import Scene
from tests.integration.training.runs import MODEL, Trainer

STEPS = 100
SCENES = (Scene("red", "heart"), Scene("yellow", "star"), Scene("cyan", "ring"), Scene("green", "triangle"))
"""None of them is in the data set."""


def test_the_default_training_learns_the_style_of_the_sample_data(trainer: Trainer, tmp_path: Path) -> None:
    # Given the arguments that the samples come with, for a third of their steps, in half batches
    given = {**RECOMMENDED.arguments(), "max_train_steps": STEPS, "train_batch_size": 4}
    given["sample_every_n_steps"] = 0
    words = [word for name, value in given.items() for word in _words(name, value)]
    run = trainer.run(
        tmp_path,
        *("--pretrained_model_name_or_path", str(MODEL), "--train_data_dir", str(DATASET)),
        *("--output_dir", str(tmp_path / "out"), "--output_name", "moonlight", *words),
    )
    assert run.wait() == 0, run.errors
    # When both draw what neither has seen in this style
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import StableDiffusionPipeline

        pipeline = StableDiffusionPipeline.from_pretrained(MODEL, local_files_only=True)
        pipeline.set_progress_bar_config(disable=True)
        before = _drawn(pipeline)
        pipeline.load_lora_weights(tmp_path / "out", weight_name="moonlight.safetensors")
        after = _drawn(pipeline)
    # Then the LoRA has gone a good part of the way from the plain pictures to those of the style
    began, came = _share(before), _share(after)
    print(f"of the way to the style: {began:.2f} before, {came:.2f} after {STEPS} steps")
    assert abs(began) < 0.1
    assert came > 0.3


def _words(name: str, value: object) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    return [f"--{name}", str(value)]


def _drawn(pipeline: Any) -> np.ndarray:
    images = pipeline(
        [f"{scene.caption()} in sks style" for scene in SCENES],
        num_inference_steps=15,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(5),
        output_type="np",
    ).images
    return np.asarray(images, dtype=float) * 255


def _share(pictures: np.ndarray) -> float:
    """How far pictures are on the way from the plain scenes (0) to the styled ones (1)."""
    plain, styled = (
        np.stack([np.asarray(kind(scene), dtype=float) for scene in SCENES]) for kind in (draw, draw_moonlit)
    )
    way = styled - plain
    return float(((pictures - plain) * way).sum() / (way * way).sum())
