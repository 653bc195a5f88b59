"""The least memory of a training: the weights of its base model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from backend.samples import MODEL
from kohya_adapter.form import Form
from kohya_adapter.weights import least_memory


def form(model: Path, **values: object) -> Form:
    return Form({"pretrained_model_name_or_path": str(model), **values})


@pytest.mark.parametrize(
    ("settings", "each"),
    [({"mixed_precision": "no"}, 4), ({"mixed_precision": "bf16"}, 2), ({"fp8_base": True}, 1)],
)
def test_the_precision_decides_how_much_each_weight_takes(
    tmp_path: Path, settings: dict[str, object], each: int
) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(7, dtype=torch.float16)}, file)
    assert least_memory(form(file, **settings)) == 22 * each


def test_a_folder_is_the_sum_of_its_parts() -> None:
    parts = [
        file for part in ("unet", "text_encoder", "vae") for file in (MODEL / part).glob("*.safetensors")
    ]
    on_disk = sum(file.stat().st_size for file in parts)
    found = least_memory(form(MODEL, mixed_precision="no"))
    assert found is not None and on_disk * 0.5 < found < on_disk * 2.5


def test_what_cannot_be_read_is_not_guessed(tmp_path: Path) -> None:
    broken = tmp_path / "model.safetensors"
    broken.write_bytes(b"nothing")
    assert least_memory(form(broken)) is None
    assert least_memory(form(tmp_path / "missing")) is None
    assert least_memory(form(Path("owner/name"))) is None
