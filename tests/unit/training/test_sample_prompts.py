from __future__ import annotations

from pathlib import Path

import pytest

from backend.errors import InvalidArgument
from backend.training.prompts import SamplePrompt, parse_line, read


def test_a_line_with_all_options() -> None:
    line = "a red ring, --really-- good --n blurry, bad --w 64 --h 96 --d 12 --s 20 --l 5.5 --ss euler_a"
    assert parse_line(line) == SamplePrompt(
        "a red ring, --really-- good", "blurry, bad", 64, 96, 12, 20, 5.5, sampler="euler_a"
    )
    assert parse_line("a red ring --g 3.5") == SamplePrompt("a red ring", guidance=3.5)


def test_a_bare_line() -> None:
    assert parse_line("a red ring") == SamplePrompt("a red ring")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a --w wide", "width wants a whole number"),
        ("a --zz 1", "--zz is not known"),
        ("a --ss magic", "sampler 'magic'"),
    ],
)
def test_a_bad_option_is_named(line: str, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        parse_line(line)


def test_files_of_three_kinds(tmp_path: Path) -> None:
    text = tmp_path / "p.txt"
    text.write_text("# nothing\n\none --s 5\ntwo\n")
    toml = tmp_path / "p.toml"
    toml.write_text(
        '[prompt]\nsample_steps = 5\n[[prompt.subset]]\nprompt = "one"\n[[prompt.subset]]\nprompt = "two"\n'
    )
    js = tmp_path / "p.json"
    js.write_text('[{"prompt": "one", "seed": 3}]')
    assert read(text) == (SamplePrompt("one", steps=5), SamplePrompt("two"))
    assert read(toml) == (SamplePrompt("one", steps=5), SamplePrompt("two", steps=5))
    assert read(js) == (SamplePrompt("one", seed=3),)
    js.write_text("[")
    with pytest.raises(InvalidArgument, match="cannot read"):
        read(js)
