from __future__ import annotations

import io

import pytest
from PIL import Image

from backend.errors import InvalidArgument
from backend.inference.pictures import Infotext, opened, png

PLAIN = Infotext("a red ring", "", 20, "Euler a", 7.5, 5, 64, 48, "tiny-shapes")
FULL = Infotext(
    "a red ring",
    "blurry",
    20,
    "DDIM",
    7,
    5,
    64,
    48,
    "tiny, shapes",
    loras=[("cat", 0.8), ("hat", -1.0)],
    hashes={"cat": "0123456789ab"},
    strength=0.6,
    clip_skip=1,
)


def test_the_text_is_the_one_that_the_web_ui_writes() -> None:
    assert PLAIN.text() == (
        "a red ring\nSteps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 5, Size: 64x48, Model: tiny-shapes, "
        "Version: lorapool"
    )
    assert FULL.text() == (
        "a red ring <lora:cat:0.8> <lora:hat:-1>\nNegative prompt: blurry\nSteps: 20, Sampler: DDIM, CFG scale: 7, "
        'Seed: 5, Size: 64x48, Model: "tiny, shapes", Denoising strength: 0.6, Clip skip: 2, '
        'Lora hashes: "cat: 0123456789ab", Version: lorapool'
    )


@pytest.mark.parametrize("prompt", ["a red ring", "ein roter Ring – 赤い輪"])
def test_a_png_carries_it(prompt: str) -> None:
    infotext = Infotext(prompt, "", 20, "DDIM", 7, 5, 8, 8, "m")
    with Image.open(io.BytesIO(png(Image.new("RGB", (8, 8), "red"), infotext))) as read:
        assert read.info["parameters"] == infotext.text()
        assert read.convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def test_a_picture_to_start_from_is_brought_to_size_and_what_is_none_refused() -> None:
    assert opened(png(Image.new("L", (10, 20))), (16, 8)).size == (16, 8)
    with pytest.raises(InvalidArgument, match="no picture"):
        opened(b"nothing")
