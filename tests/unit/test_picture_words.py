from __future__ import annotations

import pytest

from backend import picture_words as words
from backend.errors import InvalidArgument


def test_what_is_given_becomes_keys_and_the_rest_is_left_out() -> None:
    found = words.keys("m", ["cat:0.8", "jobs/t/a-000001"], "512x768", 20, 7.5, None, "", "euler")
    assert found == {
        "model": "m",
        "loras": [{"name": "cat", "weight": 0.8}, {"name": "jobs/t/a-000001"}],
        "width": 512,
        "height": 768,
        "steps": 20,
        "guidance": 7.5,
        "scheduler": "euler",
    }
    assert words.weights("0.6, 1") == [0.6, 1.0]


@pytest.mark.parametrize("size", ["512", "x", "512x", "bigxsmall"])
def test_a_size_that_cannot_be_read(size: str) -> None:
    with pytest.raises(InvalidArgument, match="512x768"):
        words.keys("", [], size, 1, 1, None, "", "default")


def test_a_weight_that_is_no_number() -> None:
    with pytest.raises(InvalidArgument):
        words.lora("cat:much")
    with pytest.raises(InvalidArgument):
        words.weights("0.6;1")
