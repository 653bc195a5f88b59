"""No field of the FLUX group is passed over in silence where the built-in trainer runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.errors import InvalidArgument
from backend.training import arguments
from backend.training.training_arguments import TrainingArguments
from kohya_adapter.config import trainer_config
from kohya_adapter.fields import FIELDS, Field
from kohya_adapter.form import Form
from kohya_adapter.presets import presets
from kohya_adapter.rules import broken_rules
from kohya_adapter.script_arguments import script_arguments

FLUX = Form(
    {
        **{"flux1_checkbox": True, "LoRA_type": "Flux1", "gradient_checkpointing": True},
        **{"pretrained_model_name_or_path": "models/flux", "train_data_dir": "datasets/a"},
    }
)
OTHER = {
    "train_double_block_indices": "0-1",
    "train_single_block_indices": "none",
    "in_dims": "1,1,1,1,1",
    "split_mode": True,
}
WITH = {"ggpo_sigma": {"train_lora_ggpo": True}, "ggpo_beta": {"train_lora_ggpo": True}}
"""What shows a field that is hidden otherwise."""
REFUSED = {
    *("model_type", "train_t5xxl", "split_mode", "split_qkv", "cpu_offload_checkpointing"),
    *("train_lora_ggpo", "ggpo_sigma", "ggpo_beta"),
}
WARNED = {"train_blocks", "mem_eff_save", "single_blocks_to_swap", "double_blocks_to_swap"}
OFT_ONLY = {"enable_all_linear"}


def trainer_s(form: Form, data_dir: Path) -> TrainingArguments:
    config = trainer_config(form, script_arguments("flux"))
    return arguments.from_values({**config, "output_dir": str(data_dir)}, data_dir=data_dir)


def another(field: Field) -> Any:
    """A value that is not the default."""
    if field.key in OTHER:
        return OTHER[field.key]
    if field.type == "bool":
        return not field.default
    if field.choices:
        return next(choice for choice in field.choices if choice != field.default)
    return field.default + 1 if isinstance(field.default, int | float) else "2"


def fate(field: Field, data_dir: Path) -> str:
    form = FLUX.replace({**WITH.get(field.key, {}), field.key: another(field)})
    try:
        if trainer_s(form, data_dir) != trainer_s(FLUX, data_dir):
            return "honoured"
    except InvalidArgument:
        return "refused"
    said = any(problem.field == field.key for problem in broken_rules(form, sd_scripts=False))
    return "warned" if said else "ignored"


def test_every_field_of_the_flux_group_is_honoured_refused_or_warned_of(tmp_path: Path) -> None:
    fates = {field.key: fate(field, tmp_path) for field in FIELDS if field.group == "FLUX"}
    wanted = dict.fromkeys(fates, "honoured")
    wanted |= {**dict.fromkeys(REFUSED, "refused"), **dict.fromkeys(WARNED, "warned")}
    assert fates == wanted | dict.fromkeys(OFT_ONLY, "ignored")
    with pytest.raises(InvalidArgument, match="not one that the built-in trainer has"):
        trainer_s(FLUX.replace({"LoRA_type": "Flux1 OFT", "enable_all_linear": True}), tmp_path)


def test_the_presets_for_flux_are_honoured_whole(tmp_path: Path) -> None:
    flux = [preset.form for preset in presets() if preset.form.family == "flux"]
    assert len(flux) == 2
    for form in flux:
        files = {"pretrained_model_name_or_path": "models/flux", "train_data_dir": "datasets/a"}
        args = trainer_s(form.replace({**files, "sample_every_n_steps": 0}), tmp_path)
        assert args.fp8_base and args.is_flux and args.timestep_sampling == "flux_shift"


def test_a_folder_needs_no_other_files_and_a_single_file_does() -> None:
    def lacking(form: Form, *, sd_scripts: bool) -> set[str]:
        found = broken_rules(form, sd_scripts=sd_scripts)
        return {problem.field for problem in found if "cannot be trained without" in problem.message}

    three = {"ae", "clip_l", "t5xxl"}
    assert lacking(FLUX, sd_scripts=False) == set()
    assert lacking(FLUX, sd_scripts=True) == three
    file = FLUX.replace({"pretrained_model_name_or_path": "models/flux1-dev.safetensors"})
    assert lacking(file, sd_scripts=False) == three
