"""Dataset folders: made whole or not at all, inside the data folder, whatever an upload or an archive holds."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from backend.errors import Conflict, InvalidArgument, LorapoolError, PathOutsideDataFolder
from kohya_adapter import Form
from kohya_adapter.crops import crops
from kohya_adapter.dataset import Concept, balance, balance_plan, extract, prepare, take_in


def picture(path: Path, size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path)
    return path


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name in ("b.png", "a.jpg"):
        picture(folder / "datasets" / "loose" / name)
    (folder / "datasets" / "loose" / "a.txt").write_text("a cat\n")
    (folder / "datasets" / "loose" / "notes.pdf").write_text("no")
    picture(folder / "datasets" / "others" / "c.png")
    return folder


CAT = Concept("datasets/loose", "sks", "cat", 10)


def test_loose_pictures_become_a_folder_as_sd_scripts_wants_it(data_dir: Path) -> None:
    made = prepare(data_dir, CAT, "datasets/cat", reg_source="datasets/others", reg_repeats=2)
    assert tree(data_dir / "datasets" / "cat") == [
        "img/10_sks cat/a.jpg",
        "img/10_sks cat/a.txt",
        "img/10_sks cat/b.png",
        "reg/2_cat/c.png",
    ]
    assert (made.train_data_dir, made.reg_data_dir) == ("datasets/cat/img", "datasets/cat/reg")
    assert (made.pictures, made.reg_pictures) == (2, 1)
    assert tree(data_dir / "datasets" / "loose") == ["a.jpg", "a.txt", "b.png", "notes.pdf"]


@pytest.mark.parametrize(
    ("concept", "destination", "error"),
    [
        (CAT, "datasets/others", Conflict),
        (CAT, "datasets/loose/inside", InvalidArgument),
        (CAT, "datasets", (InvalidArgument, Conflict)),
        (CAT, "../outside", PathOutsideDataFolder),
        (Concept("/etc", "sks", "cat", 1), "datasets/x", PathOutsideDataFolder),
        (Concept("datasets/none", "sks", "cat", 1), "datasets/x", InvalidArgument),
        (Concept("datasets", "sks", "cat", 1), "datasets/x", InvalidArgument),
        (Concept("datasets/loose", "../sks", "cat", 1), "datasets/x", InvalidArgument),
        (Concept("datasets/loose", "", "cat", 1), "datasets/x", InvalidArgument),
        (Concept("datasets/loose", "sks", "cat", 0), "datasets/x", InvalidArgument),
    ],
)
def test_what_cannot_be_prepared_changes_nothing(
    data_dir: Path, concept: Concept, destination: str, error: type[LorapoolError]
) -> None:
    before = tree(data_dir.parent)
    with pytest.raises(error):
        prepare(data_dir, concept, destination)
    assert tree(data_dir.parent) == before


def test_a_class_that_cannot_name_a_folder_is_refused_before_anything_is_copied(data_dir: Path) -> None:
    before = tree(data_dir)
    with pytest.raises(InvalidArgument):
        prepare(data_dir, Concept("datasets/loose", "sks", "a/b", 1), "datasets/x")
    assert tree(data_dir) == before and not (data_dir / "datasets" / "x").exists()


def test_a_copy_that_breaks_off_leaves_nothing_behind(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        if source.name == "b.png":
            raise OSError(28, "No space left on device")
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr("kohya_adapter.dataset.shutil.copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        prepare(data_dir, CAT, "datasets/cat")
    assert sorted(path.name for path in (data_dir / "datasets").iterdir()) == ["loose", "others"]


def test_balance_gives_every_folder_about_as_many_showings() -> None:
    assert balance_plan({"1_a": 10, "7_b": 40, "1_c": 5000, "x": 3, "2_d": 0}, 1000) == {
        "1_a": "100_a",
        "7_b": "25_b",
        "1_c": "1_c",
    }
    with pytest.raises(InvalidArgument):
        balance_plan({"1_a": 10, "2_a": 10}, 100)
    with pytest.raises(InvalidArgument):
        balance_plan({"1_a": 10}, 0)


def test_balancing_renames_folders_even_when_names_change_places(data_dir: Path) -> None:
    parent = data_dir / "datasets" / "set"
    for number in range(2):
        picture(parent / "4_a b" / f"{number}.png")
    for number in range(4):
        picture(parent / "2_c" / f"{number}.png")
    assert balance(data_dir, "datasets/set", 8) == {} and balance(data_dir, "datasets/set", 16) == {
        "4_a b": "8_a b",
        "2_c": "4_c",
    }
    assert sorted(path.name for path in parent.iterdir()) == ["4_c", "8_a b"]


# Uploads and archives


def archive(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    return buffer.getvalue()


def test_uploads_land_in_one_folder_with_their_captions(data_dir: Path, tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    picture(uploads / "one.png")
    (uploads / "one.txt").write_text("one")
    archive(
        uploads / "more.zip",
        {
            "set/10_x/two.png": png(),
            "set/10_x/two.txt": b"two",
            "__MACOSX/._two.png": b"",
            "set/run.sh": b"rm",
        },
    )
    arrived = take_in(data_dir, sorted(uploads.iterdir()), "datasets/new", upload_dir=uploads)
    assert arrived == 2
    assert tree(data_dir / "datasets" / "new") == ["one.png", "one.txt", "two.png", "two.txt"]
    assert not [path for path in data_dir.iterdir() if path.name.startswith(".upload")]


def test_a_name_that_is_taken_gets_a_number_with_its_caption(data_dir: Path, tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    picture(uploads / "a.png")
    (uploads / "a.txt").write_text("the new one")
    take_in(data_dir, sorted(uploads.iterdir()), "datasets/loose", upload_dir=uploads)
    assert (data_dir / "datasets/loose/a-2.txt").read_text() == "the new one"
    assert (data_dir / "datasets/loose/a.txt").read_text() == "a cat\n"
    assert (data_dir / "datasets/loose/a-2.png").exists()


@pytest.mark.parametrize(
    "name", ["../../evil.png", "/etc/evil.png", "..\\..\\evil.png", "C:\\evil.png", "a/../../evil.png"]
)
def test_an_archive_never_writes_outside_its_folder(tmp_path: Path, name: str) -> None:
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    extract(archive(tmp_path / "x.zip", {name: png()}), target)
    assert tree(tmp_path) in (["deep/target/evil.png", "x.zip"], ["x.zip"])


def test_links_in_an_archive_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("a.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(InvalidArgument, match="holds a link"):
        extract(tmp_path / "x.zip", tmp_path)
    assert tree(tmp_path) == ["x.zip"]


def test_what_is_no_archive_is_one_message_and_the_folder_stays_as_it_was(
    data_dir: Path, tmp_path: Path
) -> None:
    uploads = tmp_path / "uploads"
    picture(uploads / "good.png")
    (uploads / "x.zip").write_bytes(b"not a zip")
    with pytest.raises(InvalidArgument, match=r"x\.zip cannot be unpacked"):
        take_in(data_dir, sorted(uploads.iterdir()), "datasets/new", upload_dir=uploads)
    assert not (data_dir / "datasets" / "new").exists()


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kohya_adapter.dataset._MOST_BYTES", 1000)
    with pytest.raises(LorapoolError, match="more than fits"):
        extract(archive(tmp_path / "x.zip", {"a.png": b"0" * 2000}), tmp_path)
    assert tree(tmp_path) == ["x.zip"]


def test_only_what_was_uploaded_can_be_taken_in(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "uploads").mkdir()
    secret = picture(tmp_path / "private.png")
    with pytest.raises(PathOutsideDataFolder):
        take_in(data_dir, [secret], "datasets/new", upload_dir=tmp_path / "uploads")
    with pytest.raises(PathOutsideDataFolder):
        take_in(data_dir, [], "../elsewhere", upload_dir=tmp_path / "uploads")


# Crops


def test_the_preview_shows_the_part_that_is_kept(data_dir: Path) -> None:
    picture(data_dir / "datasets" / "set" / "3_x" / "wide.png", (400, 100))
    picture(data_dir / "datasets" / "set" / "3_x" / "square.png", (200, 200))
    form = Form({"train_data_dir": "datasets/set", "max_resolution": "64,64", "enable_bucket": False})
    square, wide = crops(form, data_dir)
    assert (square.bucket, square.box, square.copies, square.caption) == ((64, 64), (0, 0, 200, 200), 3, "x")
    assert (wide.bucket, wide.box) == ((64, 64), (150, 0, 250, 100))
