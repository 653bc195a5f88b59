"""What captions say to the U-Net when no text encoder learns: encoded once, remembered, and kept on disk if asked for.

On disk they lie where latents do, outside the data set, under a digest of the caption, the encoders and how they are
used; so several runs may share them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from backend.training import fingerprint
from backend.training.files import write_file
from backend.training.text import CaptionTokens, Text, TextEncoders, Tokens

_KEPT = 512


class FrozenText:
    """The text of captions under text encoders that do not change."""

    def __init__(self, encoders: TextEncoders, tokens: CaptionTokens) -> None:
        self._encoders, self._tokens = encoders, tokens
        self._known: dict[str, Text] = {}
        self._kept = _KEPT

    def __call__(self, captions: Sequence[str], device: torch.device) -> Text:
        """The text of captions, on the device."""
        found = [self._of(caption, device) for caption in captions]
        pooled = [text.pooled for text in found if text.pooled is not None]
        return Text(torch.cat([text.states for text in found]), torch.cat(pooled) if pooled else None)

    def remember(
        self,
        captions: Sequence[str],
        device: torch.device,
        disk: TextDisk | None,
        advance: Callable[[int, int], None],
    ) -> None:
        """Encode all captions now and keep them in memory, so that the encoders can leave the device."""
        self._kept = len(captions)
        for done, caption in enumerate(captions, start=1):
            path = disk.path(self._tokens([caption])) if disk else None
            text = disk.read(path) if disk and path else None
            if text is None:
                text = self._encoded(caption, device).to(torch.device("cpu"))
                if disk and path:
                    disk.write(path, text)
            self._known[caption] = text
            if done % 100 == 0 or done == len(captions):
                advance(done, len(captions))

    def _of(self, caption: str, device: torch.device) -> Text:
        found = self._known.get(caption)
        if found is None:
            found = self._encoded(caption, device)
            if len(self._known) < self._kept:
                self._known[caption] = found
        return found.to(device)

    @torch.no_grad()
    def _encoded(self, caption: str, device: torch.device) -> Text:
        encoded: Text = self._encoders(self._tokens([caption]).to(device))
        return encoded


class TextDisk:
    """Texts in files named by what they are made of."""

    def __init__(self, folder: Path, encoders: TextEncoders, clip_skip: int | None) -> None:
        self._folder = folder / f"{fingerprint.of_weights(encoders)}-{clip_skip or 1}"

    def path(self, tokens: Tokens) -> Path:
        """Where the text of these tokens is, or would be."""
        weights = None if tokens.weights is None else tokens.weights.tolist()
        content = repr(([ids.tolist() for ids in tokens.ids], weights))
        name = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
        return self._folder / name[:2] / f"{name}.safetensors"

    def read(self, path: Path) -> Text | None:
        """The text in a file, or None when there is none or the file is spoilt."""
        try:
            tensors: dict[str, Tensor] = load_file(path)
            return Text(tensors["states"], tensors.get("pooled"))
        except Exception:
            return None

    def write(self, path: Path, text: Text) -> None:
        """Keep a text."""
        tensors = {"states": text.states.contiguous()}
        if text.pooled is not None:
            tensors["pooled"] = text.pooled.contiguous()
        write_file(path, (save(tensors),))
