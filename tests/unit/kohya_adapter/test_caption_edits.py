"""Captions: one by one or all at once, never half."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from backend.errors import InvalidArgument, PathOutsideDataFolder
from kohya_adapter.captions import (
    CaptionEdit,
    caption_changes,
    edit_captions,
    read_captions,
    tag_counts,
    write_caption,
)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    for name, caption in (("a", "sks, cat, red chair"), ("b", "cat"), ("c", None)):
        Image.new("RGB", (4, 4)).save(folder / f"{name}.png")
        if caption is not None:
            (folder / f"{name}.txt").write_text(caption + "\n")
    return tmp_path


def captions(data_dir: Path) -> dict[str, str | None]:
    return {each.image.stem: each.caption for each in read_captions(data_dir, "set")}


def test_captions_are_read_with_their_pictures(data_dir: Path) -> None:
    assert captions(data_dir) == {"a": "sks, cat, red chair", "b": "cat", "c": None}


@pytest.mark.parametrize(
    ("edit", "before", "after"),
    [
        (CaptionEdit(prefix="photo of "), "a cat", "photo of a cat"),
        (CaptionEdit(suffix=", indoors"), "a cat", "a cat, indoors"),
        (CaptionEdit(find="cat", replace="dog"), "a cat, cats", "a dog, dogs"),
        (CaptionEdit(find="."), "a. b.", "a b"),
        (CaptionEdit(add_first=["sks"]), "cat, sks", "sks, cat"),
        (CaptionEdit(add_last=["sks", "cat"]), "cat", "cat, sks"),
        (CaptionEdit(remove_tags=["red chair", " cat "]), "sks, cat, red chair", "sks"),
        (CaptionEdit(remove_tags=["a"]), "a cat, a", "a cat"),
        (CaptionEdit(rename_tags={"cat": "dog", "a": "b"}), "cat, a cat, dog, a", "dog, a cat, b"),
        (CaptionEdit(rename_tags={"cat": ""}), "sks, cat", "sks"),
        (CaptionEdit(find="cat", replace="dog", remove_tags=["dog"], add_first=["x"]), "cat, big", "x, big"),
        (CaptionEdit(), " as it was ", "as it was"),
    ],
)
def test_an_edit_does_what_it_says(edit: CaptionEdit, before: str, after: str) -> None:
    assert edit.apply(before) == after


def test_an_edit_of_a_folder_counts_what_it_changed(data_dir: Path) -> None:
    assert edit_captions(data_dir, "set", CaptionEdit(add_first=["sks"])) == 1
    assert captions(data_dir) == {"a": "sks, cat, red chair", "b": "sks, cat", "c": None}
    assert edit_captions(data_dir, "set", CaptionEdit(missing="dog", add_first=["sks"])) == 1
    assert captions(data_dir)["c"] == "sks, dog"
    assert edit_captions(data_dir, "set", CaptionEdit(missing="dog", add_first=["sks"])) == 0


def test_what_an_edit_would_do_can_be_seen_before(data_dir: Path) -> None:
    changes = caption_changes(data_dir, "set", CaptionEdit(missing="dog", rename_tags={"cat": "dog"}))
    assert [(change.image.stem, change.before, change.after) for change in changes] == [
        ("a", "sks, cat, red chair", "sks, dog, red chair"),
        ("b", "cat", "dog"),
        ("c", None, "dog"),
    ]
    assert captions(data_dir) == {"a": "sks, cat, red chair", "b": "cat", "c": None}


def test_a_broken_caption_changes_none(data_dir: Path) -> None:
    (data_dir / "set" / "b.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InvalidArgument, match=r"b\.txt cannot be read"):
        edit_captions(data_dir, "set", CaptionEdit(prefix="x "))
    assert (data_dir / "set" / "a.txt").read_text() == "sks, cat, red chair\n"


def test_one_caption_is_written_or_removed(data_dir: Path) -> None:
    write_caption(data_dir, "set/c.png", "  a dog ")
    assert (data_dir / "set" / "c.txt").read_text() == "a dog\n"
    write_caption(data_dir, "set/c.png", " ")
    assert captions(data_dir)["c"] is None
    write_caption(data_dir, "set/c.png", "x", extension=".caption")
    assert (data_dir / "set" / "c.caption").exists()


def test_captions_are_written_in_the_data_folder_only(data_dir: Path) -> None:
    with pytest.raises(PathOutsideDataFolder):
        write_caption(data_dir, "../x.png", "a")
    with pytest.raises(PathOutsideDataFolder):
        read_captions(data_dir, "/etc")
    with pytest.raises(InvalidArgument, match="no picture"):
        write_caption(data_dir, "set/a.txt", "a")
    with pytest.raises(InvalidArgument, match="ending"):
        write_caption(data_dir, "set/a.png", "a", extension=".png")
    with pytest.raises(InvalidArgument, match="ending"):
        write_caption(data_dir, "set/a.png", "a", extension="/../x")
    with pytest.raises(InvalidArgument, match="no folder"):
        read_captions(data_dir, "none")


def test_tags_are_counted_once_for_each_caption(data_dir: Path) -> None:
    (data_dir / "set" / "b.txt").write_text("cat, cat")
    assert tag_counts(read_captions(data_dir, "set"))[:2] == [("cat", 2), ("red chair", 1)]
