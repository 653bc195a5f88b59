"""TOML of sd-scripts -> form: what the form trains is what the file said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import InvalidArgument, InvalidInput
from kohya_adapter import FIELDS, Form, toml_text
from kohya_adapter.config import Config, kohya_config, trainer_config
from kohya_adapter.config_keys import ZERO_MEANS_ZERO
from kohya_adapter.network import MODULES
from kohya_adapter.presets import Preset, presets
from kohya_adapter.script_arguments import script_arguments
from kohya_adapter.toml_import import form_of_toml, load_toml

_NOT_IN_A_TOML = (
    "wandb_api_key",
    "huggingface_token",
    "additional_parameters",
    "sample_prompts",
    "model_list",
)
"""Fields that a configuration does not hold by intention."""


@st.composite
def sound_forms(draw: st.DrawFn) -> Form:
    """Random forms as a person can make them: choices are taken from their lists, texts are single words."""
    values: dict[str, object] = {}
    for field in draw(st.lists(st.sampled_from(FIELDS), max_size=40, unique_by=lambda field: field.key)):
        if field.key in _NOT_IN_A_TOML or field.key.endswith("_checkbox") or field.key == "sdxl":
            continue
        match field.type:
            case "bool":
                values[field.key] = draw(st.booleans())
            case "int":
                values[field.key] = draw(
                    st.sampled_from(field.choices) if field.choices else st.integers(1, 4000)
                )
            case "float":
                values[field.key] = draw(st.sampled_from([0, 0.25, 0.5, 1, 1e-4, 3.5]))
            case _ if field.choices:
                values[field.key] = draw(st.sampled_from(field.choices))
            case _ if field.key.endswith("_args"):
                values[field.key] = draw(st.sampled_from(["", "a=1", "betas=0.9,0.99 b=True"]))
            case _ if field.key == "max_resolution":
                values[field.key] = draw(st.sampled_from(["512", "512,768"]))
            case _:
                values[field.key] = draw(st.text("abcäß/._-", max_size=8))
    return Form(values).with_family(
        draw(st.sampled_from(["sd", "sdxl", "flux", "sd3", "hunyuan", "anima", "lumina"]))
    )


def effective(config: Config, family: str) -> dict[str, Any]:
    """What sd-scripts makes of a configuration: its defaults where a key is missing or empty."""
    table = script_arguments(family)
    found = {name: row.default for name, row in table.items()}
    found |= {name: value for name, value in config.items() if value not in ("", None, [])}
    found = {name: value for name, value in found.items() if value not in (None, [], "")}
    # Numbers that stand for "not given", and names for what is done anyway.
    found = {
        name: v
        for name, v in found.items()
        if v is not False and (v != 0 or table[name].default not in (None, 0))
    }
    if "unet_lr" not in found and "network_train_text_encoder_only" not in found:
        found["unet_lr"] = found.get("learning_rate", 2e-6)
    if found.get("lr_warmup_steps"):
        found["lr_warmup_steps"] = round(float(found["lr_warmup_steps"]), 9)
    for name, neutral in (
        ("max_timestep", 1000),
        ("save_precision", "float"),
        ("network_dim", 4),
        ("wandb_run_name", found.get("output_name")),
    ):
        if found.get(name) == neutral:
            found.pop(name, None)
    found["network_args"] = sorted(found.get("network_args", []))
    return found


def run(form: Form) -> Config:
    return trainer_config(form, script_arguments(form.family))


@settings(max_examples=200, deadline=None)
@given(sound_forms())
def test_a_form_survives_its_toml(form: Form) -> None:
    loaded = form_of_toml(toml_text.dumps(run(form)), family=form.family)
    assert effective(run(loaded.form), form.family) == effective(run(form), form.family)
    assert loaded.form["additional_parameters"] == ""
    assert loaded.form.family == form.family


@settings(max_examples=100, deadline=None)
@given(sound_forms())
def test_a_form_survives_the_toml_that_kohya_writes(form: Form) -> None:
    theirs = kohya_config(form)
    loaded = form_of_toml(toml_text.dumps(theirs), family=form.family)
    ours = {key: value for key, value in run(form).items() if key in theirs or key not in ZERO_MEANS_ZERO}
    assert effective(run(loaded.form), form.family) == effective(ours, form.family)


@pytest.mark.parametrize("each", presets(), ids=lambda each: each.name)
def test_every_preset_survives_its_toml_with_all_its_fields(each: Preset) -> None:
    form = each.form.replace({"additional_parameters": ""})
    loaded = form_of_toml(toml_text.dumps(run(form)), family=form.family, prompts=str(form["sample_prompts"]))
    assert run(loaded.form) | {"wandb_run_name": ""} == run(loaded.form) | run(form) | {"wandb_run_name": ""}
    for key in (
        "network_dim",
        "optimizer",
        "optimizer_args",
        "LoRA_type",
        "xformers",
        "sample_prompts",
        "unet_lr",
    ):
        assert loaded.form[key] == form[key], key


@pytest.mark.parametrize(
    "kind", [kind for kind in MODULES if not kind.startswith(("Flux", "Anima", "Lumina", "Hunyuan"))]
)
def test_every_network_type_is_found_again(kind: str) -> None:
    form = Form({"LoRA_type": kind, "sdxl": True, "conv_dim": 4, "unit": 2, "factor": 8})
    assert form_of_toml(toml_text.dumps(run(form)), family="sdxl").form["LoRA_type"] == kind


def test_an_absent_key_has_the_default_of_sd_scripts_and_not_kohyas() -> None:
    form = form_of_toml('pretrained_model_name_or_path = "models/a"\n').form
    assert form["learning_rate"] == 2e-6 and form["optimizer"] == "AdamW"
    assert form["caption_extension"] == ".caption" and form["lr_scheduler"] == "constant"
    assert form["cache_latents"] is False and form["mixed_precision"] == "no"
    assert form["network_dim"] == 4 and form["max_data_loader_n_workers"] == 8


def test_sections_are_flattened_as_sd_scripts_does() -> None:
    form = form_of_toml("[network]\nnetwork_dim = 32\n[optimizer.more]\nlearning_rate = 1e-3\n").form
    assert form["network_dim"] == 32 and form["learning_rate"] == 1e-3


def test_what_has_no_field_is_kept_as_an_argument_by_hand() -> None:
    text = 'zero_terminal_snr = true\ncaption_prefix = "photo of "\nlr_decay_steps = 0.2\nlowram = false\n'
    loaded = form_of_toml(text)
    assert (
        loaded.form["additional_parameters"]
        == "--zero_terminal_snr --caption_prefix 'photo of ' --lr_decay_steps 0.2"
    )
    assert loaded.warnings == ()


def test_both_kinds_of_noise_at_once_are_kept() -> None:
    form = form_of_toml("noise_offset = 0.05\nmultires_noise_iterations = 6\n").form
    assert form["noise_offset"] == 0.05
    assert form["additional_parameters"] == "--multires_noise_iterations 6"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lr_warmup_steps = 0.07\n", {"lr_warmup": 7, "lr_warmup_steps": 0}),
        ("lr_warmup_steps = 50\n", {"lr_warmup": 0, "lr_warmup_steps": 50}),
        ("learning_rate = 1e-4\nnetwork_train_unet_only = true\n", {"unet_lr": 1e-4, "text_encoder_lr": 0}),
        ("learning_rate = 1e-4\nunet_lr = 2e-4\n", {"unet_lr": 2e-4, "text_encoder_lr": 1e-4}),
        ("text_encoder_lr = 5e-5\n", {"text_encoder_lr": 5e-5, "unet_lr": 2e-6, "additional_parameters": ""}),
        (
            "text_encoder_lr = [1e-4, 2e-4, 3e-4]\n",
            {"additional_parameters": "--text_encoder_lr 0.0001 0.0002 0.0003"},
        ),
        ("network_dim = 4\n", {"dynamo_backend": "no", "max_timestep": 1000}),
        ("resolution = [512, 768]\n", {"max_resolution": "512,768"}),
        ("resolution = 768\n", {"max_resolution": "768"}),
        ("use_8bit_adam = true\n", {"optimizer": "AdamW8bit"}),
        ("sdpa = true\n", {"xformers": "sdpa"}),
        ('network_module = "networks.lora_flux"\n', {"flux1_checkbox": True, "LoRA_type": "Flux1"}),
        ('pretrained_model_name_or_path = "sd_xl_base.safetensors"\n', {"sdxl": True}),
        ("no_half_vae = true\n", {"sdxl": True, "sdxl_no_half_vae": True}),
    ],
)
def test_a_key_finds_its_field(text: str, expected: dict[str, object]) -> None:
    form = form_of_toml(text).form
    assert {key: form[key] for key in expected} == expected


def test_what_cannot_be_kept_is_said() -> None:
    text = (
        'frobnicate = 1\nnetwork_module = "my.network"\nnetwork_args = ["foo=1"]\nsample_prompts = "/p.txt"\n'
    )
    said = " ".join(form_of_toml(text + 'dataset_class = "evil"\n').warnings)
    for word in ("frobnicate", "my.network", "foo", "/p.txt", "dataset_class"):
        assert word in said


def test_a_file_of_an_earlier_job_brings_its_prompts(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('sample_prompts = "/data/jobs/1/prompts.txt"\nnetwork_dim = 8\n')
    (tmp_path / "prompts.txt").write_text("a cat\n")
    loaded = load_toml(tmp_path / "config.toml")
    assert loaded.form["sample_prompts"] == "a cat" and loaded.warnings == ()


@pytest.mark.parametrize("text", ["[[", "[[datasets]]\nresolution = 512\n"])
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="The form was left as it is"):
        form_of_toml(text)


def test_a_value_of_the_wrong_type_is_refused_at_its_field() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        form_of_toml('network_dim = "abc"\n')
    assert refusal.value.field == "network_dim"
