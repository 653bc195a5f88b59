from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from backend.errors import RunFailed
from backend.training import latent_cache
from backend.training.checks import prepare
from backend.training.feed import Feed
from backend.training.items import Item
from backend.training.latent_cache import DiskCache, LatentCache
from backend.training.latents import Encoder, pixels_of
from backend.training.plan import Plan
from backend.training.training_arguments import TrainingArguments
from tests.unit.training.shipped import MODEL

Parsed = Callable[..., TrainingArguments]


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AutoencoderKL.from_pretrained(MODEL / "vae", torch_dtype=torch.float32).eval()


@pytest.fixture
def items(parsed: Parsed) -> list[Item]:
    return prepare(parsed()).items


def build(
    vae: AutoencoderKL,
    items: list[Item],
    *,
    disk: Path | None = None,
    seed: int = 1,
    said: list[int] | None = None,
) -> LatentCache:
    def advance(done: int, _: int) -> None:
        if said is not None:
            said.append(done)

    encoder = Encoder(vae, torch.device("cpu"), torch.float32)
    cache = DiskCache(disk, vae) if disk else None
    return latent_cache.build(items, encoder, seed=seed, batch_size=2, disk=cache, advance=advance)


def test_latents_decode_to_the_picture(vae: AutoencoderKL, items: list[Item]) -> None:
    latents = build(vae, items).get(0, False)
    with torch.no_grad():
        decoded = vae.decode(latents[None] / vae.config.scaling_factor).sample[0]
    assert float((decoded - pixels_of(items[0], flip=False)).abs().mean()) < 0.25


def test_mirrored_pictures_are_encoded_where_they_are_shown(vae: AutoencoderKL, items: list[Item]) -> None:
    flipped = [replace(items[0], subset=replace(items[0].subset, flip_aug=True)), items[1]]
    cache = build(vae, flipped)
    cache.get(0, True)
    with pytest.raises(KeyError):
        cache.get(1, True)
    assert torch.equal(pixels_of(items[0], flip=True), pixels_of(items[0], flip=False).flip(2))


def test_the_disk_is_asked_first_and_lies_outside_the_data_set(
    vae: AutoencoderKL, items: list[Item], tmp_path: Path, pictures: Path
) -> None:
    before = sorted(pictures.rglob("*"))
    first = build(vae, items, disk=tmp_path / "cache", seed=1)
    assert sorted(pictures.rglob("*")) == before
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 3
    said: list[int] = []
    again = build(vae, items, disk=tmp_path / "cache", seed=2, said=said)
    assert said == [3]
    assert all(torch.equal(first.get(index, False), again.get(index, False)) for index in range(3))


def test_a_changed_picture_and_a_spoilt_file_are_encoded_again(
    vae: AutoencoderKL, items: list[Item], tmp_path: Path
) -> None:
    build(vae, items, disk=tmp_path / "cache")
    Image.new("RGB", (64, 64), "white").save(items[0].picture.path)
    DiskCache(tmp_path / "cache", vae).path(items[1], False).write_bytes(b"spoilt")
    said: list[int] = []
    build(vae, items, disk=tmp_path / "cache", said=said)
    assert (said[0], said[-1]) == (1, 3)


def test_a_picture_that_vanishes_ends_the_run(vae: AutoencoderKL, items: list[Item]) -> None:
    items[0].picture.path.unlink()
    with pytest.raises(RunFailed, match="can no longer be read"):
        build(vae, items)


def test_a_vae_that_overflows_is_said(items: list[Item], vae: AutoencoderKL) -> None:
    broken = Encoder(vae, torch.device("cpu"), torch.float32)
    with pytest.raises(RunFailed, match="no_half_vae"):
        broken(torch.full((1, 3, 64, 64), torch.nan), lambda shape: torch.zeros(shape))


def feed(items: list[Item], cache: LatentCache | None, seed: int = 1) -> Feed:
    plan = Plan(batches_per_epoch=5, accumulation=2, processes=1, total_steps=7)
    return Feed(
        items,
        [],
        [2],
        plan,
        seed=seed,
        reg_weight=0.5,
        cache=cache,
        mask_factor=None,
        rank=0,
        workers=2,
    )


def test_a_feed_that_starts_later_gives_the_same_batches(vae: AutoencoderKL, items: list[Item]) -> None:
    shuffled = [
        replace(
            item, subset=replace(item.subset, flip_aug=True, rules=replace(item.subset.rules, shuffle=True))
        )
        for item in items
    ]
    for cache in (build(vae, shuffled), None):
        whole = dict(feed(shuffled, cache).steps(1))
        rest = dict(feed(shuffled, cache).steps(5))
        assert list(whole) == list(range(1, 8)) and list(rest) == [5, 6, 7]
        for step, batches in rest.items():
            for one, two in zip(batches, whole[step], strict=True):
                assert one.captions == two.captions
                left, right = (one.latents, two.latents) if cache else (one.pixels, two.pixels)
                assert left is not None and right is not None and torch.equal(left, right)
    assert [len(batches) for batches in whole.values()] == [2, 2, 1, 2, 2, 1, 2]


def test_regularisation_pictures_weigh_less(items: list[Item]) -> None:
    reg = [replace(item, subset=replace(item.subset, is_reg=True)) for item in items]
    (_, batches), *_ = feed(reg, None).steps(7)
    assert batches[0].weights.tolist() == [0.5, 0.5]
