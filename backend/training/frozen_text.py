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
from torch import Tensor, nn

from backend.training import fingerprint
from backend.training.files import write_file
from backend.training.text import Learning, Text, Tokenizer, Tokens

_KEPT = 512
_NUMBERS = 2**26


class FrozenText:
    """The text of captions under text encoders that do not change."""

    def __init__(self, encoders: nn.Module, tokens: Tokenizer) -> None:
        self._encoders, self._tokens = encoders, tokens
        self._known: dict[str, Text] = {}
        self._kept = _KEPT

    def __call__(self, captions: Sequence[str], device: torch.device) -> Text:
        """The text of captions, on the device."""
        found = [self._of(caption, device) for caption in captions]
        return Text(*(_together(parts) for parts in zip(*found, strict=True)))  # type: ignore[arg-type]

    def remember(
        self,
        captions: Sequence[str],
        disk: TextDisk | None,
        advance: Callable[[int, int], None],
    ) -> None:
        """Encode all captions now and keep them in memory, so that the encoders can leave the device."""
        self._kept = len(captions)
        for done, caption in enumerate(captions, start=1):
            path = disk.path(self._tokens([caption])) if disk else None
            text = disk.read(path) if disk and path else None
            if text is None:
                text = self._encoded(caption).to(torch.device("cpu"))
                if disk and path:
                    disk.write(path, text)
            self._known[caption] = text
            if done % 100 == 0 or done == len(captions):
                advance(done, len(captions))

    def _of(self, caption: str, device: torch.device) -> Text:
        found = self._known.get(caption)
        if found is None:
            found = self._encoded(caption).to(device)
            if self._room(found):
                self._known[caption] = found
        return found.to(device)

    def _room(self, text: Text) -> bool:
        """T5 says two million numbers about a caption, so of such texts fewer are kept."""
        return len(self._known) < min(self._kept, max(1, _NUMBERS // text.states.numel()))

    @torch.no_grad()
    def _encoded(self, caption: str) -> Text:
        device = next(self._encoders.parameters()).device
        encoded: Text = self._encoders(self._tokens([caption]).to(device))
        return encoded


def _together(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None


class Conditions:
    """What captions are to the model: tokens where all its text encoders learn, their text, or some of each."""

    def __init__(self, tokens: Tokenizer, frozen: FrozenText | None, *, learns: bool) -> None:
        self._tokens, self.frozen, self._learns = tokens, frozen, learns

    def __call__(self, captions: Sequence[str], device: torch.device) -> Tokens | Text | Learning:
        """The condition of captions, on the device."""
        if self.frozen is None:
            return self._tokens(captions).to(device)
        text = self.frozen(captions, device)
        return Learning(text, self._tokens(captions).to(device)) if self._learns else text


class TextDisk:
    """Texts in files named by what they are made of."""

    def __init__(self, folder: Path, encoders: nn.Module, clip_skip: int | None) -> None:
        self._folder = folder / f"{fingerprint.of_weights(encoders)}-{clip_skip or 1}"

    def path(self, tokens: Tokens) -> Path:
        """Where the text of these tokens is, or would be."""
        weights = None if tokens.weights is None else tokens.weights.tolist()
        masked = () if tokens.mask is None else (tokens.mask.tolist(),)
        content = repr(([ids.tolist() for ids in tokens.ids], weights, *masked))
        name = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
        return self._folder / name[:2] / f"{name}.safetensors"

    def read(self, path: Path) -> Text | None:
        """The text in a file, or None when there is none or the file is spoilt."""
        try:
            tensors: dict[str, Tensor] = load_file(path)
            return Text(tensors["states"], tensors.get("pooled"), tensors.get("mask"))
        except Exception:
            return None

    def write(self, path: Path, text: Text) -> None:
        """Keep a text."""
        parts = text._asdict().items()
        write_file(path, (save({name: part.contiguous() for name, part in parts if part is not None}),))
