from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from backend.errors import InvalidArgument
from backend.training import checks
from backend.training.items import Item
from backend.training.loss import LossRules, loss_per_picture
from backend.training.masks import mask_of
from backend.training.training_arguments import TrainingArguments

Parsed = Callable[..., TrainingArguments]


def half(path: Path, mode: str) -> None:
    """64×64, its left half counts."""
    values = np.zeros((64, 64), dtype=np.uint8)
    values[:, :32] = 255
    mask = Image.fromarray(values)
    if mode == "alpha":
        picture = Image.open(path).convert("RGBA")
        picture.putalpha(mask)
        picture.save(path)
    else:
        mask.save(path)


def first(args: TrainingArguments) -> Item:
    return checks.prepare(args).items[0]


def test_the_alpha_of_a_picture_is_its_mask(parsed: Parsed, pictures: Path) -> None:
    half(pictures / "3_sks style" / "0.png", "alpha")
    items = checks.prepare(parsed("--alpha_mask")).items
    mask = mask_of(items[0], factor=8)
    assert mask is not None and mask.shape == (1, 8, 8)
    assert torch.equal(mask[0, 3], torch.tensor([1.0] * 4 + [0.0] * 4))
    flipped = mask_of(items[0], factor=8, flip=True)
    assert flipped is not None and torch.equal(flipped, mask.flip(2))
    assert mask_of(items[1], factor=8) is None
    assert mask_of(first(parsed()), factor=8) is None


def test_masks_come_from_a_folder_too(parsed: Parsed, pictures: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks" / "3_sks style"
    masks.mkdir(parents=True)
    for number in range(3):
        half(masks / f"{number}.png", "file")
    args = parsed("--masked_loss", "--conditioning_data_dir", str(tmp_path / "masks"))
    mask = mask_of(first(args), factor=16)
    assert mask is not None and torch.equal(mask[0, 0], torch.tensor([1.0, 1.0, 0.0, 0.0]))
    (masks / "1.png").unlink()
    with pytest.raises(InvalidArgument, match=r"has no mask for 1\.png"):
        checks.prepare(args)


def test_a_mask_of_another_size_is_fitted_as_its_picture(
    parsed: Parsed, pictures: Path, tmp_path: Path
) -> None:
    item = first(parsed())
    half(tmp_path / "mask.png", "file")
    with Image.open(tmp_path / "mask.png") as mask:
        mask.resize((128, 128)).save(tmp_path / "mask.png")
    masked = mask_of(replace(item, picture=replace(item.picture, mask=tmp_path / "mask.png")), factor=32)
    assert masked is not None
    assert torch.allclose(masked, torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]), atol=0.01)


def test_the_loss_counts_where_the_mask_does() -> None:
    torch.manual_seed(0)
    prediction, target = torch.randn(2, 4, 4, 4), torch.randn(2, 4, 4, 4)
    alphas, timesteps = torch.linspace(0.99, 0.01, 10), torch.tensor([1, 8])
    masks = torch.zeros(2, 1, 4, 4)
    masks[0, :, :2], masks[1] = 1.0, 0.5
    masked = loss_per_picture(
        prediction, target, alphas, timesteps, LossRules(), predicts_v=False, masks=masks
    )
    squares = (prediction - target).square()
    assert masked[0] == pytest.approx(float(squares[0, :, :2].mean() / 2))
    assert masked[1] == pytest.approx(float(squares[1].mean() / 2))


@pytest.mark.parametrize(
    ("more", "field", "told"),
    [
        (["--masked_loss"], "masked_loss", "needs masks"),
        (["--conditioning_data_dir", "/x"], "conditioning_data_dir", "which only masked_loss uses"),
        (["--color_aug", "--cache_latents"], "color_aug", "needs cache_latents off"),
        (["--cache_text_encoder_outputs"], "cache_text_encoder_outputs", "needs network_train_unet_only"),
        (
            ["--cache_text_encoder_outputs", "--network_train_unet_only", "--shuffle_caption"],
            "cache_text_encoder_outputs",
            "take out shuffle_caption",
        ),
        (["--full_bf16"], "full_bf16", "needs mixed_precision bf16"),
        (["--base_weights_multiplier", "0.5"], "base_weights_multiplier", "more numbers than"),
        (["--full_fp16"], "full_fp16", "use full_bf16"),
    ],
)
def test_what_does_not_go_together_is_refused(parsed: Parsed, more: list[str], field: str, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told) as caught:
        parsed(*more)
    assert caught.value.field == field
