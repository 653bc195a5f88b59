"""Each network type of the form is the module and the arguments that kohya_ss gives it, and never anything else."""

from __future__ import annotations

import pytest

from kohya_adapter import BY_KEY, Form
from kohya_adapter.network import MODULES, network_args, network_module


def test_every_type_of_the_form_has_a_module() -> None:
    assert set(BY_KEY["LoRA_type"].choices) == set(MODULES)


def test_a_type_that_is_not_on_the_list_imports_nothing() -> None:
    assert network_module(Form({"LoRA_type": "os.system"})) == ""


@pytest.mark.parametrize(
    ("values", "module", "args"),
    [
        ({}, "networks.lora", []),
        (
            {"rank_dropout": 0.1, "block_dims": "4, 4"},
            "networks.lora",
            ["block_dims=4,4", "rank_dropout=0.1"],
        ),
        ({"loraplus_lr_ratio": 16}, "networks.lora", ["loraplus_lr_ratio=16"]),
        ({"LoRA_type": "Kohya LoCon", "conv_dim": 4}, "networks.lora", ["conv_dim=4", "conv_alpha=1"]),
        ({"LoRA_type": "Standard", "sd3_checkbox": True}, "networks.lora_sd3", []),
        (
            {"LoRA_type": "Kohya DyLoRA", "unit": 2},
            "networks.dylora",
            ["conv_dim=1", "conv_alpha=1", "unit=2"],
        ),
        ({"LoRA_type": "LoRA-FA", "conv_dim": 4}, "networks.lora_fa", []),
        (
            {"LoRA_type": "Kohya LoKr", "factor": 8, "use_tucker": True, "sdxl": True},
            "networks.lokr",
            ["conv_dim=1", "conv_alpha=1", "use_tucker=True", "factor=8"],
        ),
        ({"LoRA_type": "Kohya LoHa", "conv_dim": 0, "factor": 8}, "networks.loha", []),
        (
            {"LoRA_type": "Flux1", "flux1_checkbox": True, "img_attn_dim": "2", "split_mode": True},
            "networks.lora_flux",
            [
                "img_attn_dim=2",
                "train_double_block_indices=all",
                "train_single_block_indices=all",
                "train_blocks=single",
            ],
        ),
        (
            {"LoRA_type": "Flux1 OFT", "enable_all_linear": True},
            "networks.oft_flux",
            ["enable_all_linear=True"],
        ),
        (
            {"LoRA_type": "LyCORIS/iA3"},
            "lycoris.kohya",
            ["preset=full", "conv_dim=1", "conv_alpha=1", "train_on_input=True", "algo=ia3"],
        ),
        (
            {"LoRA_type": "LyCORIS/Native Fine-Tuning"},
            "lycoris.kohya",
            [
                "preset=full",
                "rank_dropout=0",
                "module_dropout=0.0",
                "train_norm=False",
                "rank_dropout_scale=False",
                "algo=full",
            ],
        ),
    ],
)
def test_a_type_becomes_its_module_and_arguments(
    values: dict[str, object], module: str, args: list[str]
) -> None:
    assert network_module(Form(values)) == module
    assert network_args(Form(values)) == args


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            "LyCORIS/LoKr",
            {"algo", "factor", "use_cp", "decompose_both", "dora_wd", "bypass_mode", "use_scalar"},
        ),
        ("LyCORIS/LoHa", {"algo", "dora_wd", "bypass_mode", "use_scalar", "use_tucker"}),
        ("LyCORIS/Diag-OFT", {"algo", "constraint", "rescaled", "use_tucker"}),
        ("LyCORIS/DyLoRA", {"algo", "block_size", "use_tucker"}),
    ],
)
def test_a_lycoris_type_has_the_arguments_of_its_algorithm(kind: str, names: set[str]) -> None:
    given = {arg.partition("=")[0] for arg in network_args(Form({"LoRA_type": kind}))}
    assert (
        names | {"preset", "conv_dim", "conv_alpha", "rank_dropout", "module_dropout", "train_norm"} <= given
    )
    assert len(given) == len(network_args(Form({"LoRA_type": kind})))
