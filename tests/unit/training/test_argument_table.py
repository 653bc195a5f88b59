from __future__ import annotations

import dataclasses

import pytest

from backend.errors import InvalidArgument
from backend.training.argument_table import Row, convert, rows
from backend.training.training_arguments import TrainingArguments

_FOLDED = {  # supported, but a run sees them under another field
    *("caption_extention", "config_file", "log_with", "save_model_as"),
    *("use_8bit_adam", "use_lion_optimizer"),
}


def test_every_supported_argument_is_a_field_and_every_field_an_argument() -> None:
    supported = {row.name for row in rows().values() if row.support == "yes"}
    fields = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert {name for name in supported - fields if not name.startswith("metadata_")} == _FOLDED
    assert fields - supported == {"modelspec", "network_texts", "data_dir", "notes"}


def test_the_arguments_of_all_three_trainers_are_known() -> None:
    table = rows()
    assert len(table) == 215
    assert {"network_dim", "cache_text_encoder_outputs", "t5xxl"} <= set(table)


@pytest.mark.parametrize("row", rows().values(), ids=lambda row: row.name)
def test_a_default_is_a_value_of_its_own_row(row: Row) -> None:
    if row.default is not None:
        assert convert(row, str(row.default)) == row.default or row.many
    assert row.is_neutral(row.default)


@pytest.mark.parametrize(
    "row", [row for row in rows().values() if row.support != "yes"], ids=lambda row: row.name
)
def test_what_has_no_effect_or_is_refused_says_why(row: Row) -> None:
    assert row.note


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("network_dim", "8", 8),
        ("network_dim", 8.0, 8),
        ("network_dim", "", None),
        ("learning_rate", "1e-4", 1e-4),
        ("lr_warmup_steps", 0.1, 0.1),
        ("lr_warmup_steps", "100", 100),
        ("seed", 2**60 + 1, 2**60 + 1),
        ("shuffle_caption", "true", True),
        ("text_encoder_lr", 1e-4, [1e-4]),
        ("optimizer_args", "weight_decay=0.1 eps=1e-8", ["weight_decay=0.1", "eps=1e-8"]),
        ("resolution", 512, "512"),
        ("resolution", [512, 768], "512,768"),
    ],
)
def test_values_take_the_type_of_their_row(name: str, given: object, value: object) -> None:
    assert convert(rows()[name], given) == value


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("network_dim", "abc", "a whole number"),
        ("network_dim", 1.5, "a whole number"),
        ("network_dim", 0, "the least is 1"),
        ("network_dim", True, "a whole number"),
        ("learning_rate", "nan", "a number"),
        ("caption_dropout_rate", 1.5, "the most is 1"),
        ("mixed_precision", "fp8", "it can be no, fp16, bf16"),
        ("flip_aug", "perhaps", "a switch"),
        ("output_name", ["a", "b"], "one value"),
        ("output_dir", "a\0b", "zero byte"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(name: str, given: object, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told) as caught:
        convert(rows()[name], given)
    assert caught.value.field == name
