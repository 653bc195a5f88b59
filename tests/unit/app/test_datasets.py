"""Data sets as the Data page shows and changes them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image

from app import datasets
from backend.errors import (
    Conflict,
    InvalidArgument,
    InvalidInput,
    LorapoolError,
    NotFound,
    PathOutsideDataFolder,
)
from backend.inference.pictures import opened
from backend.training import pictures


def draw(path: Path, size: tuple[int, int] = (40, 20), **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "teal").save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    draw(tmp_path / "datasets/cats/5_mycat cat/a.png").with_suffix(".txt").write_text("mycat")
    draw(tmp_path / "datasets/cats/5_mycat cat/b.png")
    draw(tmp_path / "datasets/loose/c.png").with_suffix(".txt").write_text("a cup")
    draw(tmp_path / "datasets/kohya/img/10_x y/d.png")
    (tmp_path / "models").mkdir()
    return tmp_path


def test_sets_folders_and_what_the_form_takes(data_dir: Path) -> None:
    found = {each.name: each for each in datasets.data_sets(data_dir)}
    assert found["cats"].train_data_dir == "datasets/cats"
    assert found["kohya"].train_data_dir == "datasets/kohya/img"
    assert found["loose"].train_data_dir == ""
    [folder] = found["cats"].folders
    assert (folder.repeats, folder.words, folder.pictures, folder.captioned) == (5, "mycat cat", 2, 1)
    assert found["loose"].folders[0].repeats is None


def test_a_turned_picture_has_the_size_that_one_sees(data_dir: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    draw(data_dir / "datasets/cats/5_mycat cat/t.jpg", exif=turned)
    shown = {each.name: each for each in datasets.pictures(data_dir, "datasets/cats/5_mycat cat")}
    assert shown["t.jpg"].size == (20, 40)
    small = datasets.thumbnail(data_dir, shown["t.jpg"].path, 16)
    with Image.open(io.BytesIO(small)) as opened:
        assert (opened.format, opened.size) == ("WEBP", (8, 16))


def test_a_broken_picture_is_shown_as_one(data_dir: Path) -> None:
    (data_dir / "datasets/cats/5_mycat cat/z.png").write_bytes(b"no picture")
    shown = datasets.pictures(data_dir, "datasets/cats/5_mycat cat")
    assert shown[-1].size is None
    with pytest.raises(NotFound, match="cannot be read"):
        datasets.thumbnail(data_dir, shown[-1].path, 64)


def test_what_is_a_program_inside_is_no_picture_whatever_its_name(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow would have Ghostscript run it."""
    ran: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **_: ran.append(given))
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"
    path = data_dir / "datasets" / "cats" / "5_mycat cat" / "program.png"
    path.write_bytes(program)
    with pytest.raises(NotFound):
        datasets.thumbnail(data_dir, str(path.relative_to(data_dir)), 320)
    assert datasets._size(path) is None
    with pytest.raises(InvalidArgument):
        pictures.measure(path, "train_data_dir")
    with pytest.raises(InvalidArgument):
        opened(program)
    assert ran == []


def test_loose_pictures_move_with_their_captions(data_dir: Path) -> None:
    path = datasets.rename(data_dir, "datasets/loose", "mycup cup", 3)
    assert path == "datasets/loose/3_mycup cup"
    assert {each.name for each in (data_dir / path).iterdir()} == {"c.png", "c.txt"}


def test_nothing_is_overwritten_by_a_new_name(data_dir: Path) -> None:
    (data_dir / "datasets/cats/9_other").mkdir()
    with pytest.raises(Conflict, match="nothing was changed"):
        datasets.rename(data_dir, "datasets/cats/5_mycat cat", "other", 9)
    with pytest.raises(Conflict):
        datasets.create(data_dir, "cats", "x", 1)


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a\\b", "a\0b", "a\nb", "x" * 200, "c:"])
def test_a_name_is_one_folder(data_dir: Path, name: str) -> None:
    with pytest.raises(LorapoolError):
        datasets.create(data_dir, name, "words", 1)


@pytest.mark.parametrize("path", ["models", "datasets", "", "datasets/../models", "/etc", "datasets/../../x"])
def test_only_what_is_below_datasets_can_go(data_dir: Path, path: str) -> None:
    with pytest.raises((InvalidInput, PathOutsideDataFolder)):
        datasets.remove_folder(data_dir, path)
    assert (data_dir / "models").is_dir() and (data_dir / "datasets/cats").is_dir()


def test_a_link_out_of_the_data_folder_is_not_followed(
    data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    draw(outside / "1_x/secret.png")
    (data_dir / "datasets/link").symlink_to(outside)
    assert "link" not in {each.name for each in datasets.data_sets(data_dir)}
    with pytest.raises(PathOutsideDataFolder):
        datasets.thumbnail(data_dir, "datasets/link/1_x/secret.png", 64)


def test_one_bad_path_keeps_all_pictures(data_dir: Path) -> None:
    with pytest.raises(InvalidInput):
        datasets.remove_pictures(data_dir, ["datasets/cats/5_mycat cat/a.png", "models/x.png"])
    assert datasets.remove_pictures(data_dir, ["datasets/cats/5_mycat cat/a.png"]) == 1
    assert [path.name for path in (data_dir / "datasets/cats/5_mycat cat").iterdir()] == ["b.png"]
