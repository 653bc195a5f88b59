"""Captions into token ids, and token ids into what the U-Net attends to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

_KEPT = 4096


class CaptionTokens:
    """Token ids of captions, remembered, since most captions come back every epoch.

    A caption longer than the text encoder takes is cut; with `max_token_length` (150 or 225) it is cut there instead
    and split into chunks that are encoded one by one.
    """

    def __init__(self, tokenizer: Any, positions: int, max_token_length: int | None) -> None:
        self._tokenizer = tokenizer
        self.length = min(int(tokenizer.model_max_length), positions)
        self._chunks = 1 if max_token_length is None else max(1, max_token_length // (self.length - 2))
        self._known: dict[str, Tensor] = {}

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """The ids (captions, chunks, length)."""
        return torch.stack([self._ids(caption) for caption in captions])

    def _ids(self, caption: str) -> Tensor:
        found = self._known.get(caption)
        if found is None:
            found = self._tokenize(caption)
            if len(self._known) < _KEPT:
                self._known[caption] = found
        return found

    def _tokenize(self, caption: str) -> Tensor:
        tokenizer, inner = self._tokenizer, self.length - 2
        words = tokenizer(
            caption, add_special_tokens=False, truncation=True, max_length=inner * self._chunks
        )["input_ids"]
        begin, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        rows = []
        for chunk in range(self._chunks):
            part = words[chunk * inner : (chunk + 1) * inner]
            rows.append([begin, *part, end, *[pad] * (inner - len(part))])
        return torch.tensor(rows)


def encode_tokens(text_encoder: nn.Module, ids: Tensor, clip_skip: int | None) -> Tensor:
    """The text encoder's states (b, length, width) of ids (b, chunks, length).

    `clip_skip` n takes the n-th layer from the end, through the final norm. Chunks are joined between the first begin
    and the last end token.
    """
    batch, chunks, length = ids.shape
    flat = ids.reshape(batch * chunks, length)
    if clip_skip is None or clip_skip <= 1:
        states: Tensor = text_encoder(flat).last_hidden_state
    else:
        layer = text_encoder(flat, output_hidden_states=True).hidden_states[-clip_skip]
        inner = getattr(text_encoder, "text_model", text_encoder)
        states = inner.final_layer_norm(layer)  # type: ignore[operator]
    if chunks == 1:
        return states
    states = states.reshape(batch, chunks, length, -1)
    middle = states[:, :, 1:-1].reshape(batch, chunks * (length - 2), -1)
    return torch.cat([states[:, 0, :1], middle, states[:, -1, -1:]], dim=1)


class FrozenText:
    """The states of captions under a text encoder that does not change, remembered on the device."""

    _KEPT = 512

    def __init__(self, text_encoder: nn.Module, tokens: CaptionTokens, clip_skip: int | None) -> None:
        self._text_encoder = text_encoder
        self._tokens = tokens
        self._clip_skip = clip_skip
        self._known: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, captions: Sequence[str], device: torch.device) -> Tensor:
        """The states (captions, length, width)."""
        return torch.cat([self._states(caption, device) for caption in captions])

    def _states(self, caption: str, device: torch.device) -> Tensor:
        found = self._known.get(caption)
        if found is None:
            found = encode_tokens(self._text_encoder, self._tokens([caption]).to(device), self._clip_skip)
            if len(self._known) < self._KEPT:
                self._known[caption] = found
        return found
