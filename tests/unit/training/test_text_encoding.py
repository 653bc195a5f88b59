from __future__ import annotations

import warnings

import pytest
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from backend.training.frozen_text import FrozenText
from backend.training.text import CaptionTokens, TextEncoders, Tokens
from tests.unit.training.shipped import MODEL


@pytest.fixture(scope="module")
def encoder() -> CLIPTextModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CLIPTextModel.from_pretrained(MODEL / "text_encoder", dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(MODEL / "tokenizer")


def tokens(tokenizer: CLIPTokenizer, max_token_length: int | None = None) -> CaptionTokens:
    return CaptionTokens([tokenizer], 16, max_token_length)


def test_ids_are_those_of_the_tokenizer(tokenizer: CLIPTokenizer) -> None:
    captions = ["a red circle", "", "a red circle on blue background at the left " * 4]
    theirs = tokenizer(
        captions, padding="max_length", truncation=True, max_length=16, return_tensors="pt"
    ).input_ids
    assert torch.equal(tokens(tokenizer)(captions).ids[0], theirs[:, None, :])


def test_a_long_caption_is_split_into_chunks(tokenizer: CLIPTokenizer, encoder: CLIPTextModel) -> None:
    long = "a red circle on blue background " * 4
    split = tokens(tokenizer, 42)([long]).ids[0]
    assert split.shape == (1, 3, 16)
    words = tokenizer(long, add_special_tokens=False).input_ids
    assert split[0, :, 1:-1].flatten()[: len(words)].tolist() == words
    with torch.no_grad():
        states = TextEncoders([encoder], None)(Tokens((split,))).states
        first = TextEncoders([encoder], None)(Tokens((split[:, :1],))).states
    assert states.shape == (1, 1 + 3 * 14 + 1, encoder.config.hidden_size)
    assert torch.allclose(states[:, :15], first[:, :15], atol=1e-6)


def test_clip_skip_takes_an_earlier_layer_through_the_norm(
    tokenizer: CLIPTokenizer, encoder: CLIPTextModel
) -> None:
    ids = tokens(tokenizer)(["a red circle"])
    with torch.no_grad():
        last, also_last, earlier = (TextEncoders([encoder], skip)(ids).states for skip in (None, 1, 2))
        hidden = encoder(ids.ids[0][:, 0], output_hidden_states=True).hidden_states
        inner = getattr(encoder, "text_model", encoder)
    assert torch.equal(last, also_last)
    assert torch.allclose(earlier, inner.final_layer_norm(hidden[-2]), atol=1e-6)
    assert not torch.allclose(earlier, last, atol=1e-2)


def test_states_of_a_frozen_encoder_are_remembered(tokenizer: CLIPTokenizer, encoder: CLIPTextModel) -> None:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    handle = encoder.register_forward_hook(count)
    frozen = FrozenText(TextEncoders([encoder], None), tokens(tokenizer))
    one = frozen(["a red circle", "a blue ring"], torch.device("cpu"))
    two = frozen(["a blue ring", "a red circle"], torch.device("cpu"))
    handle.remove()
    assert calls == 2
    assert torch.equal(one.states, two.states.flip(0))
