"""The values of a page as a form."""

from __future__ import annotations

from app.train_page import FAMILY, order
from app.training import read_form
from kohya_adapter.fields import FIELDS


def test_emptied_fields_have_their_defaults() -> None:
    form, problems = read_form({"network_dim": None, "seed": 7})
    assert (form["network_dim"], form["seed"], problems) == (8, 7, [])


def test_what_cannot_be_read_is_a_problem_at_its_field_and_does_not_hide_the_others() -> None:
    form, problems = read_form({"network_dim": "abc", "seed": "x", "train_batch_size": 4})
    assert [problem.field for problem in problems] == ["network_dim", "seed"]
    assert "not a whole number" in problems[0].message
    assert form["train_batch_size"] == 4


def test_a_key_that_no_field_has_is_refused() -> None:
    _, problems = read_form({"__class__": "x"})
    assert [problem.field for problem in problems] == ["__class__"]


def test_every_field_that_is_ever_shown_has_one_place_in_the_form() -> None:
    keys = order()
    assert keys[0] == FAMILY
    assert len(keys) == len(set(keys))
    hidden = {field.key for field in FIELDS} - set(keys)
    assert {"sdxl", "flux1_checkbox"} <= hidden
    assert len(hidden) == sum(field.shown is None for field in FIELDS) + 6
