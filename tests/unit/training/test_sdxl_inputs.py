"""What SDXL is told beside the noisy latents: two encoders' states, pooled text, sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image

from backend.training import checks, clip_vocabulary
from backend.training.feed import Feed
from backend.training.plan import Plan
from backend.training.text import CaptionTokens, TextEncoders
from backend.training.training_arguments import TrainingArguments
from tests.support.models import small_text_encoders, small_unet


def test_text_is_encoded_as_diffusers_does() -> None:
    encoders = [encoder.eval() for encoder in small_text_encoders("sdxl")]
    tokenizers = [clip_vocabulary.tokenizer(), clip_vocabulary.tokenizer("!")]
    parts: dict[str, Any] = {"vae": None, "unet": small_unet("sdxl"), "scheduler": None}
    pipeline = StableDiffusionXLPipeline(
        text_encoder=encoders[0],
        text_encoder_2=encoders[1],
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        **parts,
    )
    captions = ["a red circle, sks style", "a cat"]
    with torch.no_grad():
        theirs, _, pooled, _ = pipeline.encode_prompt(
            captions, device="cpu", do_classifier_free_guidance=False
        )
        ours = TextEncoders(encoders, None)(CaptionTokens(tokenizers, 77, None)(captions))
        long = TextEncoders(encoders, None)(CaptionTokens(tokenizers, 77, 225)(captions))
    assert torch.allclose(ours.states, theirs, atol=1e-5)
    assert ours.pooled is not None and torch.allclose(ours.pooled, pooled, atol=1e-5)
    assert long.states.shape == (2, 227, theirs.shape[-1])
    assert long.pooled is not None and torch.allclose(long.pooled, pooled, atol=1e-5)


def test_sizes_are_those_of_the_picture_the_cut_and_the_bucket(
    parsed: Callable[..., TrainingArguments], pictures: Path
) -> None:
    # Given a picture of 96×64 that is cut to 64×64 in its middle, mirrored or not
    for path in (pictures / "3_sks style").glob("*.png"):
        Image.new("RGB", (96, 64)).save(path)
    prepared = checks.prepare(parsed("--random_crop"))
    feed = Feed(
        prepared.items,
        [],
        [1],
        Plan(9, 1, 1, 9),
        seed=1,
        reg_weight=1.0,
        cache=None,
        mask_factor=None,
        rank=0,
        workers=1,
    )
    (still, *_) = (feed._still(index) for index in range(3))
    assert still.sizes.tolist() == [[64.0, 96.0, 0.0, 16.0, 64.0, 64.0]]
    # Then a cut elsewhere is told as it is
    lefts = {float(batch.sizes[0, 3]) for _, batches in feed.steps(1) for batch in batches}
    assert len(lefts) > 3 and all(0 <= left <= 32 for left in lefts)
