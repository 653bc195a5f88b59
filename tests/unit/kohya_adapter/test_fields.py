"""The table of fields has all of Kohya's, with Kohya's defaults, and words of our own for each."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from kohya_adapter import BASIC, BY_KEY, FIELDS, SECRETS, Form, groups

DATA = Path(__file__).parent / "data"


def kohya_rows() -> dict[str, dict[str, str]]:
    with (DATA / "gui_parameters.tsv").open(encoding="utf-8") as file:
        return {row["json_key"]: row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}


def test_every_field_of_the_real_form_is_there_once() -> None:
    assert len(FIELDS) == len(BY_KEY) == 287
    assert set(BY_KEY) == set(kohya_rows())


def test_widget_default_range_and_choices_are_those_of_the_real_form() -> None:
    rows = kohya_rows()
    for field in FIELDS:
        row = rows[field.key]
        choices = json.loads(row["choices"]) if row["choices"] else []
        assert field.widget == row["widget"].lower(), field.key
        assert field.default == (json.loads(row["default"]) if row["default"] else ""), field.key
        assert field.minimum == (float(row["min"]) if row["min"] else None), field.key
        assert field.maximum == (float(row["max"]) if row["max"] else None), field.key
        assert list(field.choices) == (choices if isinstance(choices, list) else []), field.key


def test_every_field_says_what_it_does() -> None:
    for field in FIELDS:
        assert field.label and field.group, field.key
        assert field.help.endswith(".") and len(field.help.split()) >= 4, field.key


def test_defaults_have_the_type_of_their_field() -> None:
    types = {"str": str, "int": int, "float": (int, float), "bool": bool}
    for field in FIELDS:
        assert isinstance(field.default, types[field.type]), field.key
        assert isinstance(field.default, bool) == (field.type == "bool"), field.key


def test_the_short_form_is_short_and_has_what_a_first_training_needs() -> None:
    keys = {field.key for field in BASIC}
    assert len(keys) <= 24
    assert {"pretrained_model_name_or_path", "train_data_dir", "output_name", "network_dim"} <= keys


def test_groups_hold_every_field_and_none_is_mixed_up() -> None:
    by_group = groups()
    assert sum(map(len, by_group.values())) == len(FIELDS)
    assert next(iter(by_group)) == "Model"
    assert list(by_group)[-1] == "Other"


def test_conditions_name_fields_and_values_that_exist() -> None:
    for field in FIELDS:
        for condition in field.shown or ():
            if condition.key == "family":
                continue
            named = BY_KEY[condition.key]
            if named.choices and not named.free:
                assert set(condition.values) <= {str(choice) for choice in named.choices}, field.key


@pytest.mark.parametrize(
    ("key", "values", "shown"),
    [
        ("conv_dim", {}, False),
        ("conv_dim", {"LoRA_type": "Kohya LoCon"}, True),
        ("ae", {"sdxl": True}, False),
        ("ae", {"flux1_checkbox": True}, True),
        ("prior_loss_weight", {}, False),
        ("prior_loss_weight", {"reg_data_dir": "datasets/reg"}, True),
        ("huber_c", {"loss_type": "l2"}, False),
        ("huber_c", {"loss_type": "huber"}, True),
        ("min_bucket_reso", {"bucket_no_upscale": True}, False),
        ("min_bucket_reso", {"bucket_no_upscale": False}, True),
        ("model_list", {}, False),
        ("network_dim", {}, True),
    ],
)
def test_a_field_is_shown_when_it_matters(key: str, values: dict[str, object], shown: bool) -> None:
    assert BY_KEY[key].is_shown(Form(values)) is shown


def test_every_basic_field_is_always_shown() -> None:
    assert all(field.is_shown(Form()) for field in BASIC)


def test_secrets_are_the_two_keys_to_other_services() -> None:
    assert set(SECRETS) == {"huggingface_token", "wandb_api_key"}
