"""Latents of all pictures, encoded once before training and kept in memory, and on disk where that is asked for.

On disk they lie outside the data set, which may be read-only or shared, and are addressed by the content of the picture
and of the VAE; so a changed picture is encoded again, and several runs may share them.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from backend.training import fingerprint
from backend.training.buckets import Size
from backend.training.files import write_file
from backend.training.items import Item
from backend.training.latents import Encoder, pixels_of
from backend.training.seeds import generator

Key: TypeAlias = tuple[int, bool]
"""Index of the item, and whether it is mirrored."""
_PIXELS_AT_ONCE = 512 * 512


class LatentCache:
    """The latents of all items, in memory."""

    def __init__(self, latents: dict[Key, Tensor]) -> None:
        self._latents = latents

    def get(self, index: int, flip: bool) -> Tensor:
        """The latents (c, h, w) of an item."""
        return self._latents[index, flip]


class DiskCache:
    """Latents in files named by what they are made of."""

    def __init__(self, folder: Path, vae: nn.Module) -> None:
        self._folder = folder / fingerprint.of_weights(vae)

    def path(self, item: Item, flip: bool) -> Path:
        """Where the latents of an item are, or would be."""
        digest = hashlib.blake2b(item.picture.path.read_bytes(), digest_size=16)
        digest.update(repr((item.placement, item.interpolation, flip)).encode())
        name = digest.hexdigest()
        return self._folder / name[:2] / f"{name}.safetensors"

    def read(self, path: Path) -> Tensor | None:
        """The latents (c, h, w) in a file, or None when there are none or the file is spoilt."""
        try:
            tensors: dict[str, Tensor] = load_file(path)
        except Exception:
            return None
        return tensors.get("latents")

    def write(self, path: Path, latents: Tensor) -> None:
        """Keep latents (c, h, w)."""
        write_file(path, (save({"latents": latents.contiguous()}),))


def build(
    items: list[Item],
    encoder: Encoder,
    *,
    seed: int,
    batch_size: int,
    disk: DiskCache | None,
    advance: Callable[[int, int], None],
) -> LatentCache:
    """Encode every item, mirrored too where its subset is flipped.

    Pictures of a bucket go through the VAE together, `batch_size` of them or as many as 512×512 pixels hold.
    `advance(done, total)` is called as they come.
    """
    keys = [
        (index, flip)
        for index, item in enumerate(items)
        for flip in (False, True)
        if item.subset.flip_aug or not flip
    ]
    paths = {(index, flip): disk.path(items[index], flip) for index, flip in keys} if disk else {}
    latents = {key: found for key, path in paths.items() if disk and (found := disk.read(path)) is not None}
    advance(len(latents), len(keys))
    with ThreadPoolExecutor(2) as pool:
        for batch in _batches([key for key in keys if key not in latents], items, batch_size):
            pixels = torch.stack(list(pool.map(lambda key: pixels_of(items[key[0]], flip=key[1]), batch)))
            # What is on disk must not depend on the run that happened to write it.
            chances = [
                generator(0, paths[key].name) if disk else generator(seed, "latents", *key) for key in batch
            ]
            for key, encoded in zip(batch, encoder(pixels, _Noise(chances)).cpu(), strict=True):
                latents[key] = encoded.clone()
                if disk:
                    disk.write(paths[key], latents[key])
            advance(len(latents), len(keys))
    return LatentCache(latents)


class _Noise:
    """Normal noise for a batch, each picture from a generator of its own."""

    def __init__(self, chances: list[torch.Generator]) -> None:
        self._chances = chances

    def __call__(self, shape: torch.Size) -> Tensor:
        return torch.stack([torch.randn(shape[1:], generator=chance) for chance in self._chances])


def _batches(keys: list[Key], items: list[Item], batch_size: int) -> Iterator[list[Key]]:
    by_bucket: dict[Size, list[Key]] = defaultdict(list)
    for key in keys:
        by_bucket[items[key[0]].placement.bucket].append(key)
    for (width, height), members in by_bucket.items():
        size = max(batch_size, _PIXELS_AT_ONCE // (width * height))
        for start in range(0, len(members), size):
            yield members[start : start + size]
