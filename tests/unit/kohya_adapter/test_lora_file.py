"""LoRA files: the header alone says what is inside, whether it is whole, and how to train it again."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from backend.errors import InvalidInput
from kohya_adapter import Form
from kohya_adapter.lora_file import form_of_lora, read_lora
from kohya_adapter.metadata_import import form_of_metadata

DATA = Path(__file__).parent / "data"
REAL: dict[str, str] = json.loads((DATA / "lora_metadata_sd15.json").read_text())
TENSORS = {
    "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": np.ones((4, 8), np.float16),
    "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight": np.ones((8, 4), np.float16),
    "lora_unet_down_blocks_0_attentions_0_proj_in.alpha": np.array(2, np.float16),
    "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": np.ones((4, 16), np.float16),
}


def data_section(file: bytes) -> bytes:
    return file[8 + struct.unpack("<Q", file[:8])[0] :]


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    path = tmp_path / "cat.safetensors"
    right = hashlib.sha256(data_section(save(TENSORS))).hexdigest()
    save_file(TENSORS, path, {**REAL, "sshs_model_hash": right})
    return path


def test_the_header_says_what_is_inside(lora: Path) -> None:
    found = read_lora(lora)
    assert found.rank == 4
    assert found.modules == {"text encoder": 1, "U-Net": 1}
    assert found.metadata["ss_output_name"] == "full"
    tensor = found.tensors["lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight"]
    assert (tensor.dtype, tensor.shape, tensor.end - tensor.start) == ("F16", (8, 4), 64)


def test_the_hash_of_a_whole_file_recomputes(lora: Path) -> None:
    assert read_lora(lora).is_intact() is True


def test_a_flipped_byte_shows(lora: Path) -> None:
    content = bytearray(lora.read_bytes())
    content[-1] ^= 1
    lora.write_bytes(content)
    assert read_lora(lora).is_intact() is False


def test_a_file_without_a_hash_cannot_be_judged(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors")
    assert read_lora(tmp_path / "a.safetensors").is_intact() is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not a safetensors file"),
        (b"PK\x03\x04" + b"x" * 100, "is not a safetensors file"),
        (struct.pack("<Q", 2**63), "is not a safetensors file"),
        (struct.pack("<Q", 4) + b"[{}]", "header"),
        (struct.pack("<Q", 9) + b'{"a": {}}', "header"),
    ],
)
def test_what_is_no_lora_file_is_one_message(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(InvalidInput, match=said):
        read_lora(tmp_path / "x.safetensors")


def test_a_file_that_is_cut_short_or_missing_is_one_message(lora: Path) -> None:
    lora.write_bytes(lora.read_bytes()[:-10])
    with pytest.raises(InvalidInput, match="cut short"):
        read_lora(lora)
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_lora(lora.with_name("none.safetensors"))


def test_a_real_file_is_trained_again_with_its_own_settings(lora: Path) -> None:
    loaded = form_of_lora(lora)
    expected = {
        "LoRA_type": "Standard",
        "learning_rate": 1e-3,
        "lr_scheduler": "constant",
        "max_resolution": "64,64",
        "max_train_steps": 5,
        "mixed_precision": "no",
        "network_alpha": 2.0,
        "network_dim": 4,
        "optimizer": "AdamW",
        "output_name": "full",
        "seed": 42,
        "train_batch_size": 1,
        "max_bucket_reso": 128,
        "enable_bucket": True,
        "cache_latents": True,
    }
    assert {key: loaded.form[key] for key in expected} == expected
    assert loaded.form.family == "sd"
    said = " ".join(loaded.warnings)
    assert "the base model was called model" in said and "3_sks cat (4 pictures)" in said


def test_the_model_and_the_pictures_are_looked_for_by_name(lora: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    (data_dir / "models" / "model").mkdir(parents=True)
    (data_dir / "datasets" / "other" / "img").mkdir(parents=True)
    (data_dir / "datasets" / "cats" / "img" / "3_sks cat").mkdir(parents=True)
    form = form_of_lora(lora, data_dir).form
    assert form["pretrained_model_name_or_path"] == "models/model"
    assert form["train_data_dir"] == "datasets/cats/img"
    assert form["additional_parameters"] == "" and form["dynamo_backend"] == "no"


def test_a_file_without_training_metadata_says_so(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors", {"title": "mine"})
    with pytest.raises(InvalidInput, match="does not say how it was trained"):
        form_of_lora(tmp_path / "a.safetensors")


def form_with(parts: tuple[str, ...] = ("U-Net", "text encoder"), **changes: str) -> Form:
    return form_of_metadata({**REAL, **changes}, parts=parts).form


def test_parts_that_have_no_lora_were_not_trained() -> None:
    assert form_with(("U-Net",))["text_encoder_lr"] == 0 and form_with(("U-Net",))["unet_lr"] == 1e-3
    assert form_with(("text encoder",))["unet_lr"] == 0
    assert form_with(ss_text_encoder_lr="[0.0005, 0.0005]")["text_encoder_lr"] == 5e-4


@pytest.mark.parametrize(
    ("optimizer", "name", "args"),
    [
        (
            "bitsandbytes.optim.adamw.AdamW8bit(weight_decay=0.1,betas=(0.9, 0.99))",
            "AdamW8bit",
            "weight_decay=0.1 betas=(0.9,0.99)",
        ),
        ("prodigyopt.prodigy.Prodigy(decouple=True)", "Prodigy", "decouple=True"),
        ("transformers.optimization.Adafactor(relative_step=False)", "Adafactor", "relative_step=False"),
        ("torch.optim.adamw.AdamW", "AdamW", ""),
    ],
)
def test_the_optimizer_is_found_by_its_class(optimizer: str, name: str, args: str) -> None:
    form = form_with(ss_optimizer=optimizer)
    assert (form["optimizer"], form["optimizer_args"]) == (name, args)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ss_base_model_version": "sdxl_base_v1-0"}, {"sdxl": True}),
        (
            {"ss_base_model_version": "flux1", "ss_network_module": "networks.lora_flux"},
            {"LoRA_type": "Flux1"},
        ),
        ({"ss_v2": "True"}, {"v2": True}),
        ({"modelspec.prediction_type": "v"}, {"v_parameterization": True}),
        (
            {"ss_network_args": '{"conv_dim": "4", "conv_alpha": "1"}'},
            {"LoRA_type": "Kohya LoCon", "conv_dim": 4},
        ),
        (
            {
                "ss_network_module": "lycoris.kohya",
                "ss_network_args": '{"algo": "lokr", "factor": "8", "preset": "full"}',
            },
            {"LoRA_type": "LyCORIS/LoKr", "factor": 8},
        ),
        ({"ss_lr_warmup_steps": "0.1"}, {"lr_warmup": 10}),
        (
            {"ss_min_snr_gamma": "5.0", "ss_noise_offset": "0.05"},
            {"min_snr_gamma": 5.0, "noise_offset": 0.05},
        ),
        ({"ss_zero_terminal_snr": "True"}, {"additional_parameters": "--zero_terminal_snr"}),
        ({"ss_training_comment": "trigger: sks"}, {"training_comment": "trigger: sks"}),
        ({"ss_debiased_estimation": "True"}, {"debiased_estimation_loss": True}),
        (
            {
                "ss_datasets": json.dumps(
                    [
                        {
                            "batch_size_per_device": 6,
                            "resolution": [768, 768],
                            "enable_bucket": False,
                            "subsets": [{"shuffle_caption": True, "flip_aug": True, "keep_tokens": 2}],
                        }
                    ]
                )
            },
            {"train_batch_size": 6, "max_resolution": "768,768", "shuffle_caption": True, "keep_tokens": 2},
        ),
    ],
)
def test_a_fact_of_the_metadata_finds_its_field(changes: dict[str, str], expected: dict[str, object]) -> None:
    form = form_with(**changes)
    assert {key: form[key] for key in expected} == expected


def test_metadata_that_make_no_sense_break_nothing() -> None:
    form = form_with(
        ss_datasets="[", ss_network_args="x", ss_optimizer="((", ss_dataset_dirs="3", ss_resolution="?"
    )
    assert form["network_dim"] == 4
