"""Every preset loads whole, is free of contradictions, and is what its name says."""

from __future__ import annotations

from importlib.resources import files

import pytest

from backend.errors import NotFound
from backend.samples import RECOMMENDED, SAMPLE_PROMPTS
from kohya_adapter import loads
from kohya_adapter.config import trainer_config
from kohya_adapter.presets import Preset, preset, presets
from kohya_adapter.rules import broken_rules
from kohya_adapter.script_arguments import script_arguments

PATHS = {"pretrained_model_name_or_path", "train_data_dir", "ae", "t5xxl", "clip_l"}
"""What only the person who trains can fill in."""


def test_there_are_presets_for_sd15_sdxl_flux_and_the_sample() -> None:
    assert {each.form.family for each in presets()} == {"sd", "sdxl", "flux"}
    assert preset("tiny-shapes").form["train_data_dir"] == "datasets/moonlight"


@pytest.mark.parametrize("each", presets(), ids=lambda each: each.name)
def test_a_preset_contradicts_neither_itself_nor_sd_scripts(each: Preset) -> None:
    problems = [
        p for p in broken_rules(each.form, sd_scripts=each.name != "tiny-shapes") if p.field not in PATHS
    ]
    assert [p for p in problems if p.field != "sample_prompts" and p.field != "sample_every_n_steps"] == []
    assert each.title and each.about.endswith(".")


def test_every_preset_file_is_in_the_index_and_has_no_unknown_key() -> None:
    folder = files("kohya_adapter.presets")
    names = {entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json")}
    assert names == {each.name for each in presets()}
    for name in names:
        assert loads(folder.joinpath(f"{name}.json").read_text()).warnings == ()


def test_the_sample_preset_trains_as_the_samples_recommend() -> None:
    form = preset("tiny-shapes").form
    config = trainer_config(form, script_arguments("sd"))
    recommended = RECOMMENDED.arguments()
    assert (
        recommended.pop("zero_terminal_snr")
        and "--zero_terminal_snr" in form.text("additional_parameters").split()
    )
    assert {key: config.get(key, False) for key in recommended} == recommended
    assert form["sample_prompts"] == "\n".join(prompt.line() for prompt in SAMPLE_PROMPTS)


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(NotFound, match="there are sd15-subject"):
        preset("none")
