"""Whatever file somebody brings becomes a form."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from backend.errors import InvalidInput
from kohya_adapter import bring

DATA = Path(__file__).parent / "data"


def test_each_kind_of_file_is_known_by_its_ending(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"network_dim": 100000, "xformers": true}')
    (tmp_path / "a.TOML").write_text('[net]\nnetwork_dim = 12\nnetwork_module = "networks.lora"\n')
    metadata = json.loads((DATA / "lora_metadata_sd15.json").read_text())
    tensors = {"lora_unet_x.lora_down.weight": np.ones((2, 2), np.float16)}
    save_file(tensors, tmp_path / "a.safetensors", metadata)
    assert bring.load(tmp_path / "a.json").form["network_dim"] == 100000
    assert bring.load(tmp_path / "a.TOML").form["network_dim"] == 12
    assert bring.load(tmp_path / "a.safetensors").form["network_dim"] == int(metadata["ss_network_dim"])
    with pytest.raises(InvalidInput, match="bring a Kohya JSON"):
        bring.load(tmp_path / "a.png")


def test_text_is_read_as_what_it_is() -> None:
    assert bring.read('\ufeff {"seed": "42"}').form["seed"] == 42
    assert bring.read("# mine\nseed = 42\n").form["seed"] == 42
    with pytest.raises(InvalidInput, match="neither Kohya's JSON nor sd-scripts' TOML"):
        bring.read("hello")
    with pytest.raises(InvalidInput, match="This is not a JSON file"):
        bring.read('{"seed": }')
