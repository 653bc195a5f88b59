"""What the Jobs page does with jobs that have ended, in a real browser: deleting them, downloading all their LoRAs."""

from __future__ import annotations

import time

from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.fake_gateway import FakeGateway
from tests.browser.stage import PHONE, until

ROOM = {
    "parts": [
        {"kind": "pictures", "count": 12, "bytes": 3_000_000},
        {"kind": "logs", "count": 1, "bytes": 200_000},
    ],
    "lora": "loras/cats-3f9a0c12.safetensors",
    "lora_bytes": 37_000_000,
}


def test_a_job_is_deleted_with_what_is_ticked_and_gone_in_every_tab(
    page: Page, context: BrowserContext, gateway: FakeGateway
) -> None:
    gateway.add("old", name="cats", state="succeeded", finished_at=time.time())
    gateway.add("run", name="dogs", state="running")
    gateway.rooms["old"] = ROOM
    other = context.new_page()
    other.goto("/jobs?task=old")
    page.set_viewport_size(PHONE)
    page.goto("/jobs?task=run")
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Delete", exact=True)).to_have_count(0)

    page.goto("/jobs?task=old")
    page.get_by_role("button", name="Delete", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("12 pictures, 1 log (3.2 MB)")
    lora = dialog.get_by_label("Also the finished LoRA loras/cats-3f9a0c12.safetensors (37 MB)")
    expect(lora).to_be_disabled()
    dialog.get_by_label("Also the files").check()
    lora.check()
    dialog.get_by_role("button", name="Cancel").click()
    assert not gateway.deleted

    page.get_by_role("button", name="Delete", exact=True).click()
    dialog.get_by_label("Also the files").check()
    dialog.get_by_role("button", name="Delete").click()
    until(lambda: gateway.deleted == [("old", True, False)])
    expect(page.locator(".lp-toast")).to_contain_text("Deleted.")
    expect(page.locator('.list [data-task="old"]')).to_have_count(0)
    expect(other.locator(".task")).to_contain_text("This job has been deleted")
    expect(other.locator('.list [data-task="old"]')).to_have_count(0)
    other.close()


def test_all_that_failed_are_deleted_at_once_even_if_somebody_was_faster(
    page: Page, gateway: FakeGateway
) -> None:
    gateway.add("good", name="good", state="succeeded", finished_at=time.time())
    for name in ("one", "two", "three"):
        gateway.add(name, name=name, state="failed", reason="no memory", finished_at=time.time())
        gateway.rooms[name] = {**ROOM, "lora": ""}
    page.goto("/jobs")
    sweep = page.get_by_role("button", name="Delete failed jobs…")
    expect(page.locator('.list [data-task="good"]')).to_be_visible()
    expect(sweep).to_be_hidden()
    page.get_by_label("Which jobs").select_option("failed")
    sweep.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete 3 failed jobs?")
    expect(dialog).to_contain_text("36 pictures, 3 logs (9.6 MB)")
    gateway.forget("two")
    dialog.get_by_role("button", name="Delete").click()

    expect(page.locator(".list")).to_contain_text("No such jobs")
    expect(sweep).to_be_hidden()
    assert sorted(gateway.deleted) == [("one", False, False), ("three", False, False)]
    assert [*gateway.tasks] == ["good"]


def test_new_loras_are_one_download(page: Page, gateway: FakeGateway) -> None:
    gateway.add("old", state="succeeded", finished_at=time.time() - 2 * 86400)
    page.goto("/jobs")
    button = page.get_by_role("link", name="Download new LoRAs")
    expect(page.locator('.list [data-task="old"]')).to_be_visible()
    expect(button).to_be_hidden()
    gateway.add("new", state="succeeded", finished_at=time.time())
    with page.expect_download() as download:
        button.click()
    assert download.value.suggested_filename.startswith("loras-")
    assert download.value.path().read_bytes() == b"a zip archive"
