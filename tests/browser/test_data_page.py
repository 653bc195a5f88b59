"""The Data page in a real browser: data sets, pictures, captions, uploads, and what a training would see."""

from __future__ import annotations

import io
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.fake_gateway import FakeGateway
from tests.browser.stage import PHONE, FrontEnd

pytestmark = pytest.mark.usefixtures("gateway")


def picture(size: tuple[int, int] = (320, 256), colour: str = "teal") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def cats(front_end: FrontEnd) -> Iterator[Path]:
    """A data set of three pictures, two with captions."""
    root = front_end.data_dir / "datasets" / "cats"
    folder = root / "5_mycat cat"
    folder.mkdir(parents=True)
    for name, caption in (("a", "mycat, sofa"), ("b", "mycat, garden, sofa"), ("c", "")):
        (folder / f"{name}.png").write_bytes(picture())
        if caption:
            (folder / f"{name}.txt").write_text(f"{caption}\n")
    yield folder
    shutil.rmtree(root, ignore_errors=True)


def open_cats(page: Page) -> None:
    page.goto("/data?set=datasets/cats")
    expect(page.locator(".task h2")).to_have_text("cats")
    expect(page.locator(".card")).to_have_count(3)


def caption(page: Page, name: str) -> str:
    return f'textarea[aria-label="Caption of {name}"]'


def test_a_data_set_shows_its_pictures_captions_tags_and_problems(page: Page, cats: Path) -> None:
    open_cats(page)
    expect(page.locator(".card img").first).to_have_js_property("naturalWidth", 320)
    expect(page.locator(caption(page, "b.png"))).to_have_value("mycat, garden, sofa")
    expect(page.locator(".tag")).to_have_text(["mycat2", "sofa2", "garden1"])
    expect(page.locator(".problems")).to_contain_text("1 of 3 pictures have no .txt caption")
    page.click(".tag >> text=garden")
    expect(page.locator(".card:visible")).to_have_count(1)
    page.click(".tag >> text=garden")
    page.check("text=without caption")
    expect(page.locator(".card:visible")).to_have_count(1)


def test_a_caption_is_kept_as_it_is_left_and_stays_after_a_reload(page: Page, cats: Path) -> None:
    open_cats(page)
    page.fill(caption(page, "c.png"), "mycat, roof")
    page.keyboard.press("Tab")
    expect(page.locator(".tag", has_text="roof")).to_be_visible()
    assert (cats / "c.txt").read_text() == "mycat, roof\n"
    page.reload()
    expect(page.locator(caption(page, "c.png"))).to_have_value("mycat, roof")


def test_all_captions_change_at_once_and_back(page: Page, cats: Path) -> None:
    open_cats(page)
    page.fill(".bulk input >> nth=0", "photo, mycat")
    page.click("text=Apply")
    expect(page.locator(caption(page, "a.png"))).to_have_value("photo, mycat, sofa")
    page.select_option(".bulk select", "find")
    page.fill(".bulk input >> nth=0", "sofa")
    page.fill(".bulk input >> nth=1", "couch")
    page.click("text=Apply")
    expect(page.locator(caption(page, "a.png"))).to_have_value("photo, mycat, couch")
    page.select_option(".bulk select", "remove_tags")
    page.fill(".bulk input >> nth=0", "photo")
    page.click("text=Apply")
    expect(page.locator(caption(page, "b.png"))).to_have_value("mycat, garden, couch")
    page.click("text=Undo")
    expect(page.locator(caption(page, "b.png"))).to_have_value("photo, mycat, garden, couch")
    assert (cats / "b.txt").read_text() == "photo, mycat, garden, couch\n"
    assert not (cats / "c.txt").exists()


def test_crops_and_buckets_follow_the_resolution(page: Page, cats: Path) -> None:
    (cats / "a.png").write_bytes(picture((300, 100)))
    open_cats(page)
    page.fill("#d-resolution", "128,128")
    page.keyboard.press("Tab")
    expect(page.locator(".buckets")).to_contain_text("192×64: 5")
    expect(page.locator(".card", has_text="a.png").locator(".foot small")).to_have_text("300×100 → 192×64")
    page.fill("#d-resolution", "nonsense")
    page.keyboard.press("Tab")
    expect(page.locator(".problems .error")).to_be_visible()


def test_pictures_captions_and_an_archive_are_taken_in(page: Page, cats: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("../../out.png", picture())
        made.writestr("deep/a.png", picture())
        made.writestr("deep/a.txt", "from the archive")
        made.writestr("notes.md", "nothing")
    open_cats(page)
    with page.expect_file_chooser() as chooser:
        page.click("text=Add pictures")
    chooser.value.set_files(
        [
            {"name": "new.png", "mimeType": "image/png", "buffer": picture()},
            {"name": "new.txt", "mimeType": "text/plain", "buffer": b"mycat, new"},
            {"name": "more.zip", "mimeType": "application/zip", "buffer": archive.getvalue()},
        ]
    )
    expect(page.locator(".card")).to_have_count(5)
    expect(page.locator(caption(page, "new.png"))).to_have_value("mycat, new")
    # A name that is taken gets a number, together with its caption; nothing leaves the folder.
    expect(page.locator(caption(page, "a-2.png"))).to_have_value("from the archive")
    assert sorted(path.name for path in cats.parent.iterdir()) == [cats.name]
    assert not list(cats.parents[3].rglob("out.png"))


def test_what_is_no_picture_is_refused_in_words(page: Page, cats: Path) -> None:
    open_cats(page)
    with page.expect_file_chooser() as chooser:
        page.click("text=Add pictures")
    chooser.value.set_files([{"name": "bad.zip", "mimeType": "application/zip", "buffer": b"no archive"}])
    expect(page.locator(".lp-toast.bad")).to_contain_text("cannot be unpacked")
    expect(page.locator(".card")).to_have_count(3)


def test_deleting_is_asked_first(page: Page, cats: Path) -> None:
    open_cats(page)
    page.check('[aria-label="Choose b.png"]')
    page.click("text=Delete 1 picture…")
    page.click("dialog >> text=Keep")
    assert (cats / "b.png").exists()
    page.click("text=Delete 1 picture…")
    page.locator("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator(".card")).to_have_count(2)
    assert not (cats / "b.png").exists() and not (cats / "b.txt").exists()


def test_a_new_data_set_is_made_from_dropped_pictures(page: Page, front_end: FrontEnd) -> None:
    page.goto("/data")
    page.click("text=New data set")
    expect(page.locator("dialog form")).to_have_text(re.compile("^New data setName"))
    page.fill("#d-name", "../evil")
    page.fill("#d-words", "mytea cup")
    page.keyboard.press("Enter")
    expect(page.locator(".lp-toast.bad")).to_contain_text("cannot be the name of a folder")
    page.click("text=New data set")
    page.fill("#d-name", "tea")
    page.fill("#d-words", "mytea cup")
    page.keyboard.press("Enter")
    expect(page.locator(".cards")).to_contain_text("No pictures in this folder yet")
    page.evaluate(
        """async (bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "one.png", { type: "image/png" }));
            dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
        }""",
        list(picture()),
    )
    expect(page.locator(".card")).to_have_count(1)
    folder = front_end.data_dir / "datasets" / "tea" / "10_mytea cup"
    assert (folder / "one.png").is_file()
    page.click("text=Train with it")
    expect(page.locator("#f-train_data_dir input")).to_have_value("datasets/tea")
    shutil.rmtree(folder.parent)


def test_loose_pictures_get_a_training_folder(page: Page, front_end: FrontEnd) -> None:
    loose = front_end.data_dir / "datasets" / "loose"
    loose.mkdir()
    (loose / "one.png").write_bytes(picture())
    (loose / "one.txt").write_text("a cup")
    page.goto("/data?set=datasets/loose")
    expect(page.locator(".folder-line")).to_contain_text("in no training folder yet")
    page.click("text=Make a training folder")
    page.fill("#d-words", "mycup cup")
    page.keyboard.press("Enter")
    expect(page.locator(".folder-line")).to_contain_text("10_mycup cup")
    assert (loose / "10_mycup cup" / "one.txt").read_text() == "a cup"
    shutil.rmtree(loose)


def test_two_tabs_see_what_the_other_has_changed(page: Page, context: BrowserContext, cats: Path) -> None:
    open_cats(page)
    other = context.new_page()
    open_cats(other)
    other.fill(caption(other, "a.png"), "from the other tab")
    other.keyboard.press("Tab")
    expect(other.locator(".tag", has_text="from the other tab")).to_be_visible()
    other.close()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(caption(page, "a.png"))).to_have_value("from the other tab")


def test_on_a_phone_the_list_and_the_set_take_turns(page: Page, cats: Path, gateway: FakeGateway) -> None:
    page.set_viewport_size(PHONE)
    page.goto("/data")
    page.click('[data-set="datasets/cats"]')
    expect(page.locator(".card")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.click("text=‹ All data sets")
    expect(page.locator(".list")).to_be_visible()


def test_an_empty_data_folder_offers_the_sample(page: Page, front_end: FrontEnd) -> None:
    away = front_end.data_dir / "away"
    away.mkdir()
    for name in ("datasets", "models"):
        (front_end.data_dir / name).rename(away / name)
    try:
        page.goto("/data")
        expect(page.locator(".newcomer")).to_contain_text("No pictures here yet")
        page.goto("/")
        expect(page.locator(".welcome")).to_contain_text("Two things are needed")
        expect(page.locator("#lp-start")).to_be_hidden()
        page.click("text=Install the sample")
        expect(page.locator("#f-train_data_dir input")).to_have_value("datasets/moonlight")
        expect(page.locator("#lp-outlook")).to_contain_text("Pictures30")
        expect(page.locator(".welcome")).to_have_count(0)
    finally:
        for name in ("datasets", "models"):
            shutil.rmtree(front_end.data_dir / name, ignore_errors=True)
            (away / name).rename(front_end.data_dir / name)
        away.rmdir()
