"""What is written as TOML is read back the same."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kohya_adapter import toml_text

_TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=10)
_SCALARS = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), _TEXT)
_VALUES = st.recursive(
    _SCALARS | st.lists(_SCALARS, max_size=3),
    lambda inner: st.one_of(
        st.dictionaries(_TEXT, inner, max_size=3),
        st.lists(st.dictionaries(_TEXT, inner, max_size=2), max_size=2),
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.dictionaries(_TEXT, _VALUES, max_size=5))
def test_any_values_survive(values: dict[str, object]) -> None:
    assert tomllib.loads(toml_text.dumps(values)) == values


def test_a_value_that_toml_has_no_form_for_is_an_error() -> None:
    with pytest.raises(TypeError):
        toml_text.dumps({"a": None})
