"""A path that a user names lies in the data folder, or is refused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from backend import paths
from backend.errors import PathOutsideDataFolder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    paths.create(folder)
    return folder


def test_a_relative_path_starts_at_the_data_folder(data: Path) -> None:
    assert paths.confined(data, "datasets/x") == data.resolve() / "datasets" / "x"


def test_an_absolute_path_inside_is_taken(data: Path) -> None:
    assert (
        paths.confined(data, data / "models" / "not yet there") == data.resolve() / "models" / "not yet there"
    )


def test_the_folder_itself_is_inside(data: Path) -> None:
    assert paths.confined(data, ".") == data.resolve()


def test_a_link_within_the_folder_is_resolved(data: Path) -> None:
    (data / "models" / "link").symlink_to(data / "datasets")
    assert paths.confined(data, "models/link/a") == data.resolve() / "datasets" / "a"


@pytest.mark.parametrize(
    "path",
    [
        *("..", "../data-2", "/etc/passwd", "datasets/../../x", "~root", "~nobody-of-this-name/x", "a\0b"),
        *("x" * 256, "é" * 128, "x/" * 2048, "half a \ud800 character"),
    ],
)
def test_a_path_outside_is_refused_with_its_field(data: Path, path: str) -> None:
    with pytest.raises(PathOutsideDataFolder) as caught:
        paths.confined(data, path, field="train_data_dir")
    assert caught.value.field == "train_data_dir"
    assert "train_data_dir" in str(caught.value)


def test_a_link_that_leads_outside_is_refused(data: Path, tmp_path: Path) -> None:
    (data / "models" / "link").symlink_to(tmp_path)
    with pytest.raises(PathOutsideDataFolder):
        paths.confined(data, "models/link/secret")


def test_a_ring_of_links_is_refused(data: Path) -> None:
    (data / "a").symlink_to(data / "b")
    (data / "b").symlink_to(data / "a")
    with pytest.raises(PathOutsideDataFolder):
        paths.confined(data, "a/x")


def test_a_sibling_with_the_same_beginning_is_outside(data: Path) -> None:
    with pytest.raises(PathOutsideDataFolder):
        paths.confined(data, f"{data}-other/x")


def test_store_and_logs_are_for_this_user_alone_even_if_they_were_open(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in (paths.STORE, paths.LOGS):
        (folder / name).mkdir(parents=True, mode=0o755)
    paths.create(folder)
    for name in (paths.STORE, paths.LOGS):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o700
