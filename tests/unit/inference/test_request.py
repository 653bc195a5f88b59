from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import InvalidArgument
from backend.inference.request import GenerationRequest, LoraChoice, models_of, parse


def test_defaults_are_filled_in() -> None:
    assert parse(b'{"prompt": "a ring", "seed": null}') == GenerationRequest("a ring")


def test_what_is_written_is_read_back() -> None:
    request = parse(
        {
            "prompt": "a ring",
            "model": "sd15",
            "loras": [{"name": "a", "weight": -0.5}, "b"],
            "width": 512,
            "height": 768.0,
            "image": base64.b64encode(b"picture").decode(),
            "strength": 1,
            "scheduler": "dpm++_2m_karras",
            "output": "file",
        }
    )
    assert request.loras == (LoraChoice("a", -0.5), LoraChoice("b"))
    assert (request.height, request.image) == (768, b"picture")
    assert parse(json.dumps(request.to_json())) == request


def test_a_lora_in_the_prompt_is_not_read_as_words() -> None:
    with pytest.raises(InvalidArgument, match=r"prompt: names a LoRA: <lora:moon:0\.8>\. Take that out"):
        parse({"prompt": "a cat <lora:moon:0.8>"})
    assert parse({"prompt": "a <b> cat (lora: no)"}).prompt == "a <b> cat (lora: no)"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": "x" * 10_001}, "prompt"),
        ({"prompt": "x", "width": 60}, "width"),
        ({"prompt": "x", "width": 0}, "width"),
        ({"prompt": "x", "width": True}, "width"),
        ({"prompt": "x", "height": 1e9}, "height"),
        ({"prompt": "x", "steps": 0}, "steps"),
        ({"prompt": "x", "guidance": float("inf")}, "guidance"),
        ({"prompt": "x", "guidance": "much"}, "guidance"),
        ({"prompt": "x", "count": 65}, "count"),
        ({"prompt": "x", "seed": -1}, "seed"),
        ({"prompt": "x", "strength": 0}, "strength"),
        ({"prompt": "x", "scheduler": "fast"}, "scheduler"),
        ({"prompt": "x", "loras": "a"}, "loras"),
        ({"prompt": "x", "loras": [3]}, "loras[0]"),
        ({"prompt": "x", "loras": ["a", {"name": "b", "weight": float("nan")}]}, "loras[1].weight"),
        ({"prompt": "x", "loras": [{"name": "b", "strength": 1}]}, "loras[0].strength"),
        ({"prompt": "x", "image": "%%%"}, "image"),
        ({"prompt": "x", "model": " "}, "model"),
        ({"prompt": "x", "promt": "y"}, "promt"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(values: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse(values)
    assert refused.value.field == field


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_is_read_or_refused(value: Any) -> None:
    for body in (json.dumps(value), json.dumps({"prompt": "x", "loras": value, "width": value})):
        try:
            assert isinstance(parse(body), GenerationRequest)
        except InvalidArgument as refused:
            assert refused.message


def test_a_body_that_nests_deeper_than_python_reads_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="not JSON"):
        parse(b"[" * 100_000)


def test_the_models_of_a_query_are_its_model_then_its_loras() -> None:
    assert models_of(b'{"prompt": "x", "model": "m", "loras": ["a", "b"]}') == ["m", "a", "b"]
    assert models_of(b'{"prompt": "x"}') == [""]
    assert models_of(b"no query") == models_of(b" " * (1 << 20)) == []
