from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.training.captions import CaptionRules, process

_tags = st.lists(st.text("abcdefg ", min_size=1, max_size=5).filter(str.strip), min_size=1, max_size=8)


def caption(
    text: str, rules: CaptionRules, seed: int = 0, epoch: int = 1, step: int = 1, total: int = 100
) -> str:
    return process((text,), rules, Random(seed), epoch=epoch, step=step, total=total)


def test_without_rules_a_caption_stays_as_it_is() -> None:
    assert caption("a  b,c", CaptionRules()) == "a  b,c"
    assert process((), CaptionRules(), Random(0), epoch=1, step=1, total=1) == ""


def test_prefix_and_suffix_stand_around() -> None:
    assert caption("red", CaptionRules(prefix="sks", suffix="style")) == "sks red style"


@given(_tags, st.integers(0, 3), st.integers())
def test_shuffling_keeps_every_tag_and_the_first_ones_in_place(tags: list[str], kept: int, seed: int) -> None:
    shuffled = caption(",".join(tags), CaptionRules(shuffle=True, keep_tokens=kept), seed).split(", ")
    clean = [tag.strip() for tag in tags]
    assert shuffled[:kept] == clean[:kept]
    assert sorted(shuffled) == sorted(clean)


def test_shuffling_depends_on_the_generator() -> None:
    rules = CaptionRules(shuffle=True)
    assert len({caption("a,b,c,d,e", rules, seed) for seed in range(20)}) > 5


def test_the_parts_around_the_separator_stay() -> None:
    rules = CaptionRules(shuffle=True, keep_tokens_separator="|||")
    found = {caption("x, y ||| a, b, c ||| z", rules, seed) for seed in range(20)}
    assert all(one.startswith("x, y, ") and one.endswith(", z") for one in found)
    assert len(found) > 1
    assert caption("x, y ||| a, b ||| z", CaptionRules(keep_tokens_separator="|||")) == "x, y,a, b,z"


def test_dropout_empties_a_share_of_captions() -> None:
    dropped = sum(caption("a", CaptionRules(dropout_rate=0.3), seed) == "" for seed in range(1000))
    assert 250 < dropped < 350


def test_dropout_by_epochs() -> None:
    rules = CaptionRules(dropout_every_n_epochs=2)
    assert [caption("a", rules, epoch=epoch) for epoch in (1, 2, 3, 4)] == ["a", "", "a", ""]


def test_tag_dropout_spares_the_kept_ones() -> None:
    rules = CaptionRules(tag_dropout_rate=1.0, keep_tokens=1)
    assert caption("keep, b, c", rules) == "keep"


def test_wildcards() -> None:
    rules = CaptionRules(wildcard=True)
    found = {caption("a {red|green} ring", rules, seed) for seed in range(30)}
    assert found == {"a red ring", "a green ring"}
    assert caption("{{kept}}", rules) == "{kept}"
    lines = {process(("one", "two"), rules, Random(seed), epoch=1, step=1, total=1) for seed in range(30)}
    assert lines == {"one", "two"}


@pytest.mark.parametrize(("step", "shown"), [(0, 1), (5, 2), (10, 4), (11, 4)])
def test_token_warm_up_shows_more_tags_with_time(step: int, shown: int) -> None:
    rules = CaptionRules(warmup_min=1, warmup_step=10)
    assert len(caption("a,b,c,d", rules, step=step).split(", ")) == shown


def test_secondary_separators_hold_tags_together_until_the_end() -> None:
    rules = CaptionRules(shuffle=True, secondary_separator=";;;")
    assert {caption("a;;;b, c", rules, seed) for seed in range(20)} == {"a,b, c", "c, a,b"}
