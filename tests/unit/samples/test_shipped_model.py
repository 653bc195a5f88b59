"""The base model that ships: it loads offline and draws what it is asked."""

import shutil
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPTokenizer

from backend.samples import MODEL, RECOMMENDED
from backend.samples.scenes import COLOURS, GREY
from backend.samples.tokenizer import words

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def pipeline() -> Any:
    loaded = StableDiffusionPipeline.from_pretrained(MODEL, local_files_only=True)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def picture(pipeline: Any, prompt: str) -> numpy.ndarray:
    images = pipeline(
        prompt,
        num_inference_steps=20,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(1),
        output_type="np",
    ).images
    return numpy.asarray(images[0] * 255)


def mean_colour(area: numpy.ndarray) -> numpy.ndarray:
    return area.reshape(-1, 3).mean(axis=0)


def test_a_red_circle_is_red_in_the_middle_and_grey_in_the_corner(pipeline: Any) -> None:
    drawn = picture(pipeline, "a red circle")

    assert drawn.shape == (64, 64, 3)
    assert numpy.abs(mean_colour(drawn[26:38, 26:38]) - COLOURS["red"]).max() < 40
    assert numpy.abs(mean_colour(drawn[:8, :8]) - GREY).max() < 25


def test_a_background_that_is_named_is_drawn(pipeline: Any) -> None:
    drawn = picture(pipeline, "a yellow star on blue background")

    assert numpy.abs(mean_colour(drawn[:8, :8]) - COLOURS["blue"]).max() < 40


def test_a_trigger_word_without_a_lora_leaves_the_picture_as_it_is(pipeline: Any) -> None:
    plain, triggered = (picture(pipeline, prompt) for prompt in ("a red circle", "a red circle in sks style"))

    assert numpy.abs(plain - triggered).mean() < 12


def test_the_model_predicts_velocity_and_says_so(pipeline: Any) -> None:
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert RECOMMENDED.v_parameterization


def test_every_word_of_the_captions_is_one_token() -> None:
    tokenizer = CLIPTokenizer.from_pretrained(MODEL / "tokenizer", local_files_only=True)

    assert [word for word in words() if tokenizer.tokenize(word) != [word + "</w>"]] == []


def test_vocab_and_merges_files_make_the_same_tokenizer(tmp_path: Path) -> None:
    whole = CLIPTokenizer.from_pretrained(MODEL / "tokenizer", local_files_only=True)
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(MODEL / "tokenizer" / name, tmp_path)
    rebuilt = CLIPTokenizer.from_pretrained(tmp_path, local_files_only=True)

    prompt = "a small orange ring on blue background, sks style, qwe"
    assert rebuilt(prompt).input_ids == whole(prompt).input_ids


def test_weights_are_half_precision_and_small() -> None:
    files = [path for path in MODEL.parent.rglob("*") if path.is_file()]

    assert sum(path.stat().st_size for path in files) <= 12 * MEGABYTE
    assert sorted(path.parent.name for path in MODEL.rglob("*.safetensors")) == [
        "text_encoder",
        "unet",
        "vae",
    ]
