"""A hundred random forms, each field any value that its type allows, also far beyond the slider."""

from __future__ import annotations

import tomllib

from hypothesis import given, settings
from hypothesis import strategies as st

from kohya_adapter import FIELDS, SECRETS, Field, Form, dumps, loads, toml_text
from kohya_adapter.config import kohya_config, trainer_config
from kohya_adapter.script_arguments import script_arguments

_TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=30)


def _value(field: Field) -> st.SearchStrategy[object]:
    match field.type:
        case "bool":
            return st.booleans()
        case "int":
            return st.integers(-(10**6), 10**6)
        case "float":
            return st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**6), 10**6))
        case _:
            listed = st.sampled_from(field.choices or ("",))
            return listed if field.choices and not field.free else listed | _TEXT


@st.composite
def forms(draw: st.DrawFn) -> Form:
    """Forms with some fields changed; secrets stay empty, since no file holds them."""
    keys = [field for field in FIELDS if field.key not in SECRETS]
    changed = draw(st.lists(st.sampled_from(keys), max_size=40, unique_by=lambda field: field.key))
    return Form({field.key: draw(_value(field)) for field in changed})


@settings(max_examples=100, deadline=None)
@given(forms())
def test_a_form_survives_its_json(form: Form) -> None:
    loaded = loads(dumps(form))
    assert loaded.form == form
    assert {key: type(value) for key, value in loaded.form.items()} == {k: type(v) for k, v in form.items()}
    assert loaded.warnings == ()


@settings(max_examples=100, deadline=None)
@given(forms())
def test_the_file_that_we_run_holds_only_what_the_trainer_knows(form: Form) -> None:
    config = trainer_config(form, script_arguments(form.family))
    assert set(config) <= set(script_arguments(form.family))
    assert tomllib.loads(toml_text.dumps(config)) == config


@settings(max_examples=100, deadline=None)
@given(forms())
def test_every_key_that_we_run_has_kohyas_value(form: Form) -> None:
    theirs, ours = kohya_config(form), trainer_config(form, script_arguments(form.family))
    added = {key for key in ours if key not in theirs}
    assert all(ours[key] == theirs[key] for key in ours if key in theirs)
    assert all(ours[key] == 0 for key in added - {"max_train_epochs"})
