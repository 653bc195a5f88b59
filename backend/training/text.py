"""Captions into token ids, and token ids into what the U-Net attends to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from backend.training import weighted_caption

_KEPT = 4096


class Tokens(NamedTuple):
    """Captions for each text encoder: ids (b, chunks, length), and what each token weighs where that is asked for.

    Of FLUX the ids have no chunks, and `mask` (b, length) is 0 where T5's are padding, if that is asked for.
    """

    ids: tuple[Tensor, ...]
    weights: Tensor | None = None
    mask: Tensor | None = None

    def to(self, device: torch.device) -> Tokens:
        """The same on a device."""
        weights = None if self.weights is None else self.weights.to(device)
        mask = None if self.mask is None else self.mask.to(device)
        return Tokens(tuple(ids.to(device) for ids in self.ids), weights, mask)


class Text(NamedTuple):
    """What the model attends to: states (b, length, width); with SDXL and FLUX also the pooled text (b, width).

    `mask` (b, length) says which states count, where not all do.
    """

    states: Tensor
    pooled: Tensor | None = None
    mask: Tensor | None = None

    def to(self, device: torch.device) -> Text:
        """The same on a device."""
        return Text(*(None if part is None else part.to(device) for part in self))  # type: ignore[arg-type]


class Learning(NamedTuple):
    """Text of which one encoder learns: what the others say, and the tokens that it reads."""

    frozen: Text
    tokens: Tokens


class Tokenizer(Protocol):
    """Captions into the token ids of all text encoders of a model."""

    def __call__(self, captions: Sequence[str]) -> Tokens:
        """The tokens of captions."""


class CaptionTokens:
    """Token ids of captions, remembered, since most captions come back every epoch.

    A caption longer than the text encoder takes is cut; with `max_token_length` (150 or 225) it is cut there instead
    and split into chunks that are encoded one by one. With `weighted`, brackets in a caption give its words a weight.
    """

    def __init__(
        self,
        tokenizers: Sequence[Any],
        positions: int,
        max_token_length: int | None,
        *,
        weighted: bool = False,
    ) -> None:
        self._tokenizers = tuple(tokenizers)
        self._weighted = weighted
        self.length = min(int(tokenizers[0].model_max_length), positions)
        self._chunks = 1 if max_token_length is None else max(1, max_token_length // (self.length - 2))
        self._known: dict[str, tuple[list[Tensor], Tensor]] = {}

    def __call__(self, captions: Sequence[str]) -> Tokens:
        """The tokens of captions."""
        found = [self._of(caption) for caption in captions]
        ids = tuple(torch.stack(column) for column in zip(*(rows for rows, _ in found), strict=True))
        return Tokens(ids, torch.stack([weights for _, weights in found]) if self._weighted else None)

    def _of(self, caption: str) -> tuple[list[Tensor], Tensor]:
        found = self._known.get(caption)
        if found is None:
            pieces = weighted_caption.parse(caption) if self._weighted else ((caption, 1.0),)
            found = (
                [self._ids(tokenizer, pieces)[0] for tokenizer in self._tokenizers],
                self._weights(pieces),
            )
            if len(self._known) < _KEPT:
                self._known[caption] = found
        return found

    def _weights(self, pieces: weighted_caption.Pieces) -> Tensor:
        return self._ids(self._tokenizers[0], pieces)[1] if self._weighted else torch.ones(1)

    def _ids(self, tokenizer: Any, pieces: weighted_caption.Pieces) -> tuple[Tensor, Tensor]:
        """Ids and weights (chunks, length) of a caption in pieces of one weight each."""
        inner = self.length - 2
        words: list[int] = []
        weights: list[float] = []
        for text, weight in pieces:
            more = tokenizer(text, add_special_tokens=False, truncation=True, max_length=inner * self._chunks)
            words += more["input_ids"]
            weights += [weight] * len(more["input_ids"])
        begin, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        rows, scales = [], []
        for start in range(0, inner * self._chunks, inner):
            part, scale = words[start : start + inner], weights[start : start + inner]
            left = inner - len(part)
            rows.append([begin, *part, end, *[pad] * left])
            scales.append([1.0, *scale, 1.0, *[1.0] * left])
        return torch.tensor(rows), torch.tensor(scales)


class TextEncoders(nn.Module):
    """The text encoders of a model as one: one, whose last states count, or SDXL's two, whose last but one do."""

    def __init__(self, encoders: Sequence[nn.Module], clip_skip: int | None) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self._clip_skip = clip_skip

    def forward(self, tokens: Tokens) -> Text:
        """The text of tokens; chunks are joined between the first begin and the last end token."""
        if len(self.encoders) == 1:
            states = _states(self.encoders[0], tokens.ids[0], self._clip_skip)
            return Text(_weighted(states, tokens.weights))
        outputs = [
            encoder(_flat(ids), output_hidden_states=True)
            for encoder, ids in zip(self.encoders, tokens.ids, strict=True)
        ]
        shape = tokens.ids[0].shape
        states = torch.cat([_joined(output.hidden_states[-2], shape) for output in outputs], dim=-1)
        pooled = cast(Tensor, outputs[-1].text_embeds)
        return Text(_weighted(states, tokens.weights), pooled.reshape(*shape[:2], -1)[:, 0])


def _states(encoder: nn.Module, ids: Tensor, clip_skip: int | None) -> Tensor:
    """The states (b, length, width); `clip_skip` n takes the n-th layer from the end, through the final norm."""
    if clip_skip is None or clip_skip <= 1:
        states: Tensor = encoder(_flat(ids)).last_hidden_state
    else:
        layer = encoder(_flat(ids), output_hidden_states=True).hidden_states[-clip_skip]
        inner = getattr(encoder, "text_model", encoder)
        states = inner.final_layer_norm(layer)  # type: ignore[operator]
    return _joined(states, ids.shape)


def _flat(ids: Tensor) -> Tensor:
    return ids.reshape(-1, ids.shape[-1])


def _joined(states: Tensor, shape: torch.Size) -> Tensor:
    batch, chunks, length = shape
    if chunks == 1:
        return states
    states = states.reshape(batch, chunks, length, -1)
    middle = states[:, :, 1:-1].reshape(batch, chunks * (length - 2), -1)
    return torch.cat([states[:, 0, :1], middle, states[:, -1, -1:]], dim=1)


def _weighted(states: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return states
    return states * _joined(_flat(weights)[..., None], weights.shape).reshape(*states.shape[:2], 1)
