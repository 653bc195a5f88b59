from __future__ import annotations

import pytest
import torch
from torch import nn

from backend.training.text import CaptionTokens, TextEncoders
from backend.training.weighted_caption import parse
from tests.support.models import small_text_encoders


@pytest.mark.parametrize(
    ("caption", "pieces"),
    [
        ("a red circle", [("a red circle", 1.0)]),
        ("", [("", 1.0)]),
        ("a (red) circle", [("a ", 1.0), ("red", 1.1), (" circle", 1.0)]),
        ("a ((red)) circle", [("a ", 1.0), ("red", 1.21), (" circle", 1.0)]),
        ("a [red] circle", [("a ", 1.0), ("red", 1 / 1.1), (" circle", 1.0)]),
        ("(red:1.5), (blue : .5)", [("red", 1.5), (", ", 1.0), ("blue ", 0.5)]),
        ("(a (red:2) one)", [("a ", 1.1), ("red", 2.2), (" one", 1.1)]),
        (r"sks \(style\)", [("sks (style)", 1.0)]),
        ("12:30, a) b] (open", [("12:30, a) b] ", 1.0), ("open", 1.1)]),
    ],
)
def test_brackets_weigh_words(caption: str, pieces: list[tuple[str, float]]) -> None:
    found = parse(caption)
    assert [text for text, _ in found] == [text for text, _ in pieces]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in pieces])


def test_a_weight_scales_the_states_of_its_tokens_alone() -> None:
    from backend.training import clip_vocabulary

    encoder: nn.Module = small_text_encoders("sd1")[0].eval()
    tokenizer = clip_vocabulary.tokenizer()
    encoders = TextEncoders([encoder], None)
    plain, weighted = (CaptionTokens([tokenizer], 77, 150, weighted=on) for on in (False, True))
    with torch.no_grad():
        usual = encoders(plain(["a red circle"])).states
        scaled = encoders(weighted(["a (red:1.5) circle"])).states
    assert torch.allclose(scaled[:, 2], 1.5 * usual[:, 2], atol=1e-5)
    others = [position for position in range(usual.shape[1]) if position != 2]
    assert torch.allclose(scaled[:, others], usual[:, others], atol=1e-6)
