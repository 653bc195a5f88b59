"""Captions for FLUX: T5's states, which the transformer attends to, and the pooled text of CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from backend.training.text import Text, Tokens


class FluxTokens:
    """Token ids of captions for CLIP (b, 77) and T5 (b, length), both cut and padded to their length.

    With `masked` the text knows where T5's padding is.
    """

    def __init__(self, tokenizers: Sequence[Any], positions: int, length: int, *, masked: bool) -> None:
        self._clip, self._t5 = tokenizers
        self._positions = min(int(self._clip.model_max_length), positions)
        self._length, self._masked = length, masked

    def __call__(self, captions: Sequence[str]) -> Tokens:
        """The tokens of captions."""
        options = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        clip = self._clip(list(captions), max_length=self._positions, **options)
        t5 = self._t5(list(captions), max_length=self._length, **options)
        mask = t5["attention_mask"] if self._masked else None
        return Tokens((clip["input_ids"], t5["input_ids"]), mask=mask)


class ClipPooled(nn.Module):
    """CLIP's pooled text (b, width) of tokens."""

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, tokens: Tokens) -> Tensor:
        """The pooled text."""
        return cast(Tensor, self.clip(tokens.ids[0]).pooler_output)


class FluxTextEncoders(nn.Module):
    """T5 and, where it does not learn, CLIP, as one."""

    def __init__(self, clip: nn.Module | None, t5: nn.Module) -> None:
        super().__init__()
        self.clip, self.t5 = None if clip is None else ClipPooled(clip), t5

    def forward(self, tokens: Tokens) -> Text:
        """The text of tokens; without CLIP it has no pooled part."""
        states = self.t5(tokens.ids[1], attention_mask=tokens.mask).last_hidden_state
        return Text(states, None if self.clip is None else self.clip(tokens), tokens.mask)
