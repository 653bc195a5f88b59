from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from backend import samples
from backend.errors import InvalidArgument
from backend.inference.catalog import Catalog, native_side


def lora(path: Path, at: float, **metadata: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(4, 2)}, path, metadata=metadata)
    os.utime(path, (at, at))
    return path


def test_the_model_that_comes_along_is_there_and_is_the_default_until_there_is_another(
    tmp_path: Path,
) -> None:
    catalog = Catalog(tmp_path)
    found = catalog.model("")
    assert (found.name, found.path, found.file) == ("tiny-shapes", "models/tiny-shapes", samples.MODEL)
    assert native_side(found) == 64
    mine = tmp_path / "models" / "mine"
    mine.mkdir(parents=True)
    (mine / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    assert catalog.model("").name == "mine"
    assert [entry.name for entry in catalog.models()] == ["mine", "tiny-shapes"]
    (tmp_path / "models" / "single.safetensors").write_bytes(b"x")
    with pytest.raises(InvalidArgument, match="mine, single, tiny-shapes"):
        catalog.model("")
    assert catalog.model("models/single.safetensors").pipeline == ""


def test_a_lora_is_found_by_name_by_path_and_by_the_newest_training_of_its_name(tmp_path: Path) -> None:
    old = lora(tmp_path / "loras" / "cat-11111111.safetensors", 1.0)
    new = lora(tmp_path / "loras" / "cat-22222222.safetensors", 2.0, ss_epoch="3", ss_sd_model_name="/m/sd15")
    epoch = lora(tmp_path / "jobs" / "t1" / "model" / "cat-000002.safetensors", 1.0)
    catalog = Catalog(tmp_path)
    assert catalog.lora("cat", "f").file == new
    assert (
        catalog.lora("cat-11111111", "f").file
        == catalog.lora("loras/cat-11111111.safetensors", "f").file
        == old
    )
    found = catalog.lora("jobs/t1/model/cat-000002", "f")
    assert (found.file, found.task, found.rank) == (epoch, "t1", 4)
    newest = catalog.loras()[0]
    assert (newest.epoch, newest.base_model, newest.task) == (3, "sd15", "")
    task = "22222222-1111-4111-8111-000000000000"
    (tmp_path / "jobs" / task).mkdir()
    assert [each.task for each in catalog.loras()] == [task, ""]


@pytest.mark.parametrize("name", ["../secret", "loras/../../secret", "/etc/passwd", "~/x/y", "link/secret"])
def test_nothing_outside_the_data_folder_can_be_named(tmp_path: Path, name: str) -> None:
    lora(tmp_path / "secret.safetensors", 1.0)
    data = tmp_path / "data"
    data.mkdir()
    (data / "link").symlink_to(tmp_path)
    for find in (lambda: Catalog(data).lora(name, "f"), lambda: Catalog(data).model(name)):
        with pytest.raises(InvalidArgument):
            find()


def test_a_wrong_name_is_answered_with_the_right_ones(tmp_path: Path) -> None:
    lora(tmp_path / "loras" / "watercolour.safetensors", 1.0)
    with pytest.raises(InvalidArgument, match="Did you mean 'watercolour'") as refused:
        Catalog(tmp_path).lora("watercolor", "loras[2].name")
    assert refused.value.field == "loras[2].name"


def test_a_checkpoint_of_a_job_that_was_deleted_is_told_from_a_misspelt_name(tmp_path: Path) -> None:
    lora(tmp_path / "loras" / "cat-11111111.safetensors", 1.0)
    with pytest.raises(InvalidArgument, match=r"jobs/t1/model/cat-000002.*its job has been deleted"):
        Catalog(tmp_path).lora("jobs/t1/model/cat-000002.safetensors", "loras[0].name")


def test_two_loras_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for folder in "ab":
        file = tmp_path / "loras" / folder / "cat.safetensors"
        file.parent.mkdir(parents=True)
        save_file({"x.lora_down.weight": torch.zeros(1 + "ab".index(folder), 1)}, file)
    catalog = Catalog(tmp_path)
    assert [catalog.lora(f"{folder}/cat", "loras").rank for folder in "ab"] == [1, 2]
    with pytest.raises(InvalidArgument, match=r"loras/ has (a/cat, b/cat|b/cat, a/cat)\."):
        catalog.lora("dog", "loras")


@pytest.mark.parametrize("header", ['{"a.lora_down.weight": 1}', '{"__metadata__": "cat"}', "[]", "7", "{}"])
def test_one_strange_file_does_not_hide_the_others(tmp_path: Path, header: str) -> None:
    folder = tmp_path / "loras"
    folder.mkdir()
    save_file({"x.lora_down.weight": torch.tensor(1.0)}, folder / "scalar.safetensors")
    (folder / "odd.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode())
    (folder / "gone.safetensors").symlink_to(folder / "nowhere")
    assert {entry.name for entry in Catalog(tmp_path).loras()} == {"scalar", "odd"}
