from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from backend.training import files, lora_file


def test_a_file_is_whole_readable_and_its_hashes_recompute(tmp_path: Path) -> None:
    path = tmp_path / "out" / "a.safetensors"
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(2.0)}
    model_hash = lora_file.write(path, tensors, {"ss_seed": "1", "modelspec.title": "ä"})
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    assert length % 8 == 0
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    assert metadata["sshs_model_hash"] == model_hash == hashlib.sha256(content[8 + length :]).hexdigest()
    assert metadata["sshs_legacy_hash"] == "e3b0c442"
    assert (metadata["ss_seed"], metadata["modelspec.title"]) == ("1", "ä")
    assert lora_file.model_hash_of(path) == model_hash
    assert lora_file.read_metadata(path) == metadata
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in load_file(path).items())
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_legacy_hash_sees_a_window_of_a_large_file(tmp_path: Path) -> None:
    large = {"a": torch.arange(400_000.0)}
    lora_file.write(tmp_path / "a.safetensors", large, {"ss_seed": "1"})
    lora_file.write(tmp_path / "b.safetensors", large, {"ss_seed": "1", "modelspec.title": "other"})
    large["a"][270_000] += 1
    lora_file.write(tmp_path / "c.safetensors", large, {"ss_seed": "1"})
    hashes = [lora_file.read_metadata(tmp_path / f"{name}.safetensors")["sshs_legacy_hash"] for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]
    assert hashes[0] != "e3b0c442"


def test_a_full_disk_leaves_the_old_file_and_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as caught:
        files.write_file(path, (b"new",))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    with pytest.raises(OSError):
        files.write_folder(tmp_path / "state", {"one": (b"1",), "two": (b"2",)})
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]
    assert path.read_bytes() == b"old"


def test_a_folder_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    files.write_folder(folder, {"old": (b"1",)})
    files.write_folder(folder, {"new": (b"2",)})
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]
    assert [entry.name for entry in folder.iterdir()] == ["new"]
    files.remove_folder(folder)
    files.remove_folder(folder)
    assert list(tmp_path.iterdir()) == []
