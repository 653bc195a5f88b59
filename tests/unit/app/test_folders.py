"""What a form is offered to choose from."""

from __future__ import annotations

from pathlib import Path

from app import folders


def test_models_are_diffusers_folders_and_safetensors_files(tmp_path: Path) -> None:
    for name in ("models/tiny/model_index.json", "models/sd/v1-5.safetensors", "models/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert folders.models(tmp_path) == ["models/sd/v1-5.safetensors", "models/tiny"]


def test_datasets_are_folders_of_image_folders_with_repeats(tmp_path: Path) -> None:
    for name in ("cats/10_sks cat", "deep/inside/3_dog", "loose/pictures"):
        (tmp_path / "datasets" / name).mkdir(parents=True)
    assert folders.datasets(tmp_path) == ["datasets/cats", "datasets/deep/inside"]


def test_what_a_link_shows_of_other_places_is_not_offered(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.safetensors").write_text("")
    data_dir = tmp_path / "data"
    (data_dir / "models").mkdir(parents=True)
    (data_dir / "models" / "link").symlink_to(outside)
    assert folders.models(data_dir) == []


def test_an_empty_data_folder_offers_nothing(tmp_path: Path) -> None:
    assert folders.models(tmp_path) == folders.datasets(tmp_path) == folders.loras(tmp_path) == []
