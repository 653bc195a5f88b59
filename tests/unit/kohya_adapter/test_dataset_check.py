"""A dataset, looked at before it is trained on; and the commands that make, caption and check one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from backend.cli.dataset import app
from backend.errors import InvalidArgument, PathOutsideDataFolder
from kohya_adapter.dataset_check import DatasetFacts, look_at


def picture(
    path: Path, colour: int = 0, size: tuple[int, int] = (64, 64), caption: str | None = "a cat"
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour, 2 * colour, 7)).save(path)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption)
    return path


@pytest.fixture
def cats(tmp_path: Path) -> Path:
    """Three pictures of cats, all well."""
    folder = tmp_path / "datasets" / "cats" / "10_sks cat"
    for number in range(3):
        picture(folder / f"{number}.png", 10 * number, caption=f"sks cat, {number}")
    return folder


def said(facts: DatasetFacts) -> str:
    return "\n".join(f"{finding.severity} {finding.where}: {finding.message}" for finding in facts.findings)


def look(data_dir: Path, folder: str = "datasets/cats") -> DatasetFacts:
    return look_at(data_dir, folder, settings={"max_resolution": "64,64"})


def test_a_good_dataset_has_counts_buckets_and_tags_and_no_findings(tmp_path: Path, cats: Path) -> None:
    facts = look(tmp_path)
    assert facts.ok and said(facts) == ""
    concept = facts.concepts[0]
    assert (concept.folder, concept.showings, concept.captioned) == ("10_sks cat", 30, 3)
    assert facts.tags[0] == ("sks cat", 3)
    assert facts.report is not None
    assert [(b.width, b.height, b.count) for b in facts.report.buckets] == [(64, 64, 30)]


@pytest.mark.parametrize(
    ("add", "expected"),
    [
        (lambda f: picture(f.parent / "cats" / "a.png"), "warning cats: is passed over with its 1 pictures"),
        (lambda f: picture(f.parent / "0_x" / "a.png"), "warning 0_x: is passed over"),
        (lambda f: picture(f.parent / "a.png"), "warning cats: 1 pictures beside the image folders"),
        (lambda f: picture(f / "x" / "a.png"), "warning 10_sks cat: x: folders within an image folder"),
        (lambda f: (f / "gone.txt").write_text("x"), "gone.txt: captions without a picture"),
        (lambda f: (f / "notes.docx").write_text("x"), "notes.docx: neither pictures nor captions"),
        (
            lambda f: picture(f / "n.png", 90, caption=None),
            "1 of 4 pictures have no .txt caption, n.png; 'sks cat'",
        ),
        (lambda f: picture(f / "n.png", 90, caption=""), "n.png: the caption is empty"),
        (lambda f: picture(f / "n.png", 90, caption="a\nb"), "n.png: only the first line of a caption"),
        (lambda f: picture(f / "0.jpg", 90), "0.jpg and 0.png share one caption file"),
        (lambda f: picture(f / "n.png", 10), "10_sks cat/n.png: is the same picture as 10_sks cat/1.png"),
        (
            lambda f: picture(f.parent / "1_dog" / "a.png", 99),
            "warning 10_sks cat: its pictures are shown 30 times",
        ),
        (
            lambda f: (f / "bad.png").write_bytes(b"x"),
            "error 10_sks cat/bad.png: the picture 10_sks cat/bad.png cannot",
        ),
        (lambda f: (f.parent / "5_none").mkdir(), "error 5_none: has no pictures"),
    ],
)
def test_what_is_odd_is_named_where_it_is(tmp_path: Path, cats: Path, add: object, expected: str) -> None:
    add(cats)  # type: ignore[operator]
    facts = look(tmp_path)
    assert expected in said(facts)
    assert facts.ok == (not expected.startswith("error"))


def test_another_ending_of_captions_is_guessed(tmp_path: Path, cats: Path) -> None:
    for path in cats.glob("*.txt"):
        path.rename(path.with_suffix(".caption"))
    assert "3 of them have a .caption file: is that the ending you want?" in said(look(tmp_path))


def test_pictures_without_image_folders_are_an_error_with_the_way_out(tmp_path: Path) -> None:
    picture(tmp_path / "loose" / "a.png")
    facts = look(tmp_path, "loose")
    assert not facts.ok and facts.report is None
    assert "its 1 pictures lie in it directly" in said(facts) and "lorapool dataset prepare" in said(facts)


def test_only_folders_of_the_data_folder_are_looked_at(tmp_path: Path) -> None:
    with pytest.raises(PathOutsideDataFolder):
        look(tmp_path, "../")
    with pytest.raises(InvalidArgument, match="there is no folder"):
        look(tmp_path, "nowhere")


def run(data_dir: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [words[0], "--data-dir", str(data_dir), *words[1:]])


def test_from_loose_pictures_to_a_checked_dataset_on_the_command_line(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / "in" / f"{number}.png", 20 * number, (64 + 32 * number, 64), caption="cat, red")
    # prepare
    made = run(
        tmp_path, "prepare", "in", "datasets/new", "--instance", "sks", "--class", "cat", "--repeats", "5"
    )
    assert made.output == "train_data_dir: datasets/new/img (4 pictures)\n"
    # captions: seen first, then changed
    edit = ("datasets/new/img", "--rename", "red=crimson", "--add-first", "sks", "--remove", "dog")
    seen = run(tmp_path, "captions", *edit, "--dry-run")
    assert (
        "0.png: cat, red → sks, cat, crimson" in seen.output and "4 captions would be changed" in seen.output
    )
    assert run(tmp_path, "captions", *edit).output == "4 captions were changed\n"
    assert (
        run(tmp_path, "captions", "datasets/new/img").output.splitlines()[-1] == "4 pictures, 4 with captions"
    )
    # balance
    assert run(tmp_path, "balance", "datasets/new/img", "--showings", "8").output == "5_sks cat → 2_sks cat\n"
    # check: without upscaling the wide ones are too narrow for a bucket
    narrow = run(tmp_path, "check", "datasets/new/img", "--resolution", "64,64")
    assert narrow.exit_code == 1 and "error: img: " in narrow.output
    wide = ("--resolution", "64,64", "--upscale")
    checked = run(tmp_path, "check", "datasets/new/img", *wide, "--crops", "--json")
    assert checked.exit_code == 0
    facts = json.loads(checked.output)
    assert facts["concepts"] == [{"folder": "2_sks cat", "repeats": 2, "pictures": 4, "captioned": 4}]
    assert len(facts["crops"]) == 4 and facts["crops"][0]["bucket"] == [64, 64]
    assert facts["crops"][3]["path"] == "datasets/new/img/2_sks cat/3.png"
    # and the copies alone were changed
    assert (tmp_path / "in" / "0.txt").read_text() == "cat, red"


def test_a_dataset_that_cannot_be_trained_on_has_exit_code_1(tmp_path: Path) -> None:
    picture(tmp_path / "loose" / "a.png")
    checked = run(tmp_path, "check", "loose")
    assert checked.exit_code == 1
    assert "error: loose: its 1 pictures lie in it directly" in checked.output
