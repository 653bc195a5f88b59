"""A LoRA file is new, whole and finite, or what is wrong with it is said."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from backend.worker import proof

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    return tmp_path / "name.safetensors"


def saved(path: Path, **tensors: torch.Tensor) -> Path:
    save_file(tensors, path, metadata={"ss_network_dim": "4"})
    return path


def fault(path: Path) -> str:
    return proof.fault(path, since=time.time() - 60)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_finite_file_is_good(lora: Path, dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    limits = torch.tensor([info.max, info.min, info.tiny, 0.0], dtype=dtype)
    assert fault(saved(lora, a=torch.randn(7, 3).to(dtype), limits=limits, alpha=torch.tensor(4))) == ""


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_one_value_that_is_not_finite_is_found(lora: Path, dtype: torch.dtype, value: float) -> None:
    tensor = torch.zeros(129, dtype=dtype)
    tensor[-1] = value
    found = fault(saved(lora, good=torch.ones(2), lora_up=tensor))
    assert "lora_up" in found
    assert "diverged" in found


def test_whole_numbers_are_not_taken_for_floats(lora: Path) -> None:
    assert fault(saved(lora, n=torch.tensor([-1, 0x7F800000]), a=torch.ones(1))) == ""


def test_an_empty_tensor_is_no_fault(lora: Path) -> None:
    assert fault(saved(lora, none=torch.zeros(0), a=torch.ones(1))) == ""


def test_nothing_there(lora: Path) -> None:
    assert fault(lora) == "the training ended without writing name.safetensors"


def test_a_file_of_an_earlier_run_proves_nothing(lora: Path) -> None:
    saved(lora, a=torch.ones(2))
    os.utime(lora, (1000.0, 1000.0))
    assert "older than this run" in fault(lora)


@pytest.mark.parametrize("cut", [0, 4, 8, 30, -1])
def test_a_file_that_was_cut_off(lora: Path, cut: int) -> None:
    whole = saved(lora, a=torch.ones(64)).read_bytes()
    lora.write_bytes(whole[:cut])
    assert fault(lora)


def header(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        b"this is a text and no model",
        b"\xff" * 64,
        header(b"{}"),
        header(b'{"__metadata__": {}}'),
        header(b"[1, 2]"),
        header(b"not json"),
        header(b"[" * 50_000),
        header(json.dumps({"a": 3}).encode()),
        header(json.dumps({"a": {"dtype": "F32"}}).encode()),
        header(json.dumps({"a": {"dtype": "F32", "data_offsets": [0, 3]}}).encode()) + b"abc",
        header(json.dumps({"a": {"dtype": "F32", "data_offsets": "x"}}).encode()) + b"abcd",
    ],
)
def test_what_is_no_safetensors_file_is_said_in_one_line(lora: Path, content: bytes) -> None:
    lora.write_bytes(content)
    found = fault(lora)
    assert "name.safetensors" in found
    assert "\n" not in found


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").mkdir()
    assert fault(tmp_path / "x.safetensors")
