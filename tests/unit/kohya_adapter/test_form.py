"""Forms: typed, immutable; Kohya's files of any age mean the same whatever was in the form before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.errors import InvalidArgument, InvalidInput
from kohya_adapter import BY_KEY, Form, load_json, loads, read, save_json


def test_an_empty_form_has_kohyas_defaults() -> None:
    form = Form()
    assert len(form) == 287
    assert form["learning_rate"] == 1e-4 and form["optimizer"] == "AdamW8bit"
    assert form.changed() == {}


def test_the_json_is_flat_sorted_and_without_secrets(tmp_path: Path) -> None:
    form = Form({"huggingface_token": "hf_secret", "wandb_api_key": "w_secret", "output_name": "katze"})
    save_json(form, tmp_path / "katze.json")
    text = (tmp_path / "katze.json").read_text()
    values = json.loads(text)
    assert list(values) == sorted(values) and len(values) == 287
    assert "secret" not in text
    assert load_json(tmp_path / "katze.json").form["output_name"] == "katze"
    assert [path.name for path in tmp_path.iterdir()] == ["katze.json"]


@pytest.mark.parametrize(
    ("old", "key", "value"),
    [
        ({"xformers": True}, "xformers", "xformers"),
        ({"xformers": False}, "xformers", "none"),
        ({"lora_network_weights": "loras/a.safetensors"}, "network_weights", "loras/a.safetensors"),
        ({"use_8bit_adam": True}, "optimizer", "AdamW8bit"),
        ({"use_8bit_adam": False}, "optimizer", "AdamW"),
        ({"use_8bit_adam": False, "optimizer": "Lion"}, "optimizer", "Lion"),
        ({"use_wandb": "True"}, "log_with", "wandb"),
        ({"LoRA_type": "LoCon"}, "LoRA_type", "LyCORIS/LoCon"),
        ({"save_model_as": "same as source model"}, "save_model_as", "safetensors"),
        ({"flux1_clip_l": "models/clip_l.safetensors"}, "clip_l", "models/clip_l.safetensors"),
        ({"seed": "1234"}, "seed", 1234),
        ({"learning_rate": "1e-5"}, "learning_rate", 1e-5),
        ({"epoch": "10"}, "epoch", 10),
        ({"max_train_steps": 100.0}, "max_train_steps", 100),
        ({"lr_scheduler_num_cycles": ""}, "lr_scheduler_num_cycles", 1),
        ({"network_dim": None}, "network_dim", 8),
        ({"min_timestep": False}, "min_timestep", 0),
        ({"cache_latents": "false"}, "cache_latents", False),
        ({"max_resolution": 512}, "max_resolution", "512"),
        ({"network_dim": 100000}, "network_dim", 100000),
        ({"network_dim": 100000, "headless": True, "print_only": True}, "network_dim", 100000),
    ],
)
def test_old_files_mean_what_they_meant(old: dict[str, object], key: str, value: object) -> None:
    loaded = read(old)
    assert loaded.form[key] == value and type(loaded.form[key]) is type(value)
    assert loaded.warnings == ()


def test_absent_keys_have_the_default_whatever_was_there_before() -> None:
    assert loads('{"network_dim": 32}').form == Form({"network_dim": 32})


def test_unknown_keys_are_reported_with_a_guess() -> None:
    warnings = read({"network_dimm": 4, "no_token_padding": False, "epoch": 2}).warnings
    assert len(warnings) == 1
    assert "network_dimm" in warnings[0] and "network_dim?" in warnings[0]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("network_dim", "abc", "'abc' is not a whole number, such as 8"),
        ("network_dim", 4.5, "4.5 is not a whole number"),
        ("learning_rate", "fast", "'fast' is not a number, such as 0.0001"),
        ("learning_rate", "nan", "not a number"),
        ("learning_rate", [1], "not a number"),
        ("cache_latents", "perhaps", "neither true nor false"),
        ("output_name", ["a"], "not a text"),
        ("output_name", "\ud800", "no file can hold"),
        ("network_dimm", 4, "did you mean network_dim?"),
    ],
)
def test_a_bad_value_is_refused_at_its_field(key: str, value: object, said: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        Form({key: value})
    assert refusal.value.field == key
    assert said in str(refusal.value)


@pytest.mark.parametrize("text", ["", "[1]", "{", '"a"', '{"width": 3, "height": 4}'])
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="The form was left as it is"):
        loads(text)


def test_a_file_that_cannot_be_read_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"missing\.json cannot be read"):
        load_json(tmp_path / "missing.json")


def test_a_changed_form_leaves_the_first_as_it_was() -> None:
    first = Form()
    second = first.replace({"network_dim": "16"})
    assert (first["network_dim"], second["network_dim"]) == (8, 16)
    assert second.changed() == {"network_dim": 16}
    assert hash(first) != hash(second)


def test_one_model_family_is_chosen_at_a_time() -> None:
    form = Form({"sdxl": True}).with_family("flux")
    assert form.family == "flux" and not form["sdxl"] and form["flux1_checkbox"]
    assert form.with_family("sd").family == "sd"
    with pytest.raises(InvalidArgument):
        form.with_family("midjourney")


def test_a_form_never_shows_its_secrets() -> None:
    assert "w_secret" not in repr(Form({"wandb_api_key": "w_secret"}))


def test_numbers_are_never_clamped_to_the_slider() -> None:
    field = BY_KEY["network_dim"]
    assert field.maximum == 512
    assert Form({"network_dim": 100000})["network_dim"] == 100000
