"""What is kept, and what goes: by kind, age and size; never a LoRA."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import InvalidArgument
from backend.storage.retention import Kind, Leftover, Limit, kind_of, limits, too_much

DAY = 86_400.0


def test_the_setting_is_read() -> None:
    assert limits("logs=90d,5GB pictures=180d  states=1.5TB jobs=0") == {
        Kind.LOGS: Limit(90 * DAY, 5 << 30),
        Kind.PICTURES: Limit(180 * DAY, None),
        Kind.STATES: Limit(None, 3 << 39),
        Kind.JOBS: Limit(None, None),
    }
    assert limits("") == {}


@pytest.mark.parametrize("text", ["loras=1d", "logs", "logs=5", "logs=5 GB", "logs=-1d", "logs=1d,,2GB"])
def test_what_it_cannot_mean_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="LORAPOOL_RETENTION"):
        limits(text)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("output/cat.safetensors", None),
        ("output/cat-000002.ckpt", None),
        ("output/cat-000002-state/model.safetensors", Kind.STATES),
        ("output/cat-state/random_states_0.pkl", Kind.STATES),
        ("output/sample/cat_000010_00_20260101000000.png", Kind.PICTURES),
        ("log.txt", Kind.LOGS),
        ("logs/2026/network_train/events.out.tfevents.1.box.2.0", Kind.LOGS),
        ("config.toml", Kind.JOBS),
    ],
)
def test_kinds(path: str, kind: Kind | None) -> None:
    assert kind_of(PurePosixPath(path)) == kind


@st.composite
def leftovers(draw: st.DrawFn) -> list[Leftover]:
    entries = st.tuples(st.sampled_from(Kind), st.integers(0, 1000), st.floats(0, 100 * DAY))
    found = draw(st.lists(entries, max_size=30))
    return [Leftover(Path(str(n)), *entry) for n, entry in enumerate(found)]


RULES = st.dictionaries(
    st.sampled_from(Kind),
    st.builds(Limit, st.none() | st.floats(0, 50 * DAY), st.none() | st.integers(0, 5000)),
)


@given(leftovers(), RULES)
def test_what_stays_is_within_the_limits_and_newer_than_what_goes(
    found: list[Leftover], rules: dict[Kind, Limit]
) -> None:
    now = 100 * DAY
    gone = list(too_much(found, rules, now))
    stays = [each for each in found if each not in gone]
    for kind in Kind:
        here = [each for each in stays if each.kind is kind]
        left = [each for each in gone if each.kind is kind]
        rule = rules.get(kind, Limit())
        if rule == Limit():
            assert not left
        if rule.age is not None:
            assert all(now - each.modified <= rule.age for each in here)
        if rule.size is not None:
            assert sum(each.size for each in here) <= rule.size
        assert all(young.modified >= old.modified for young in here for old in left)
