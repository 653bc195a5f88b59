"""The Jobs page in a real browser: the list, one task live, and what can be done with it."""

from __future__ import annotations

import io
import re
import time
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, WebSocket, expect

from tests.browser.fake_gateway import FakeGateway, progress
from tests.browser.stage import PHONE, log_lines, until

LOG = ".log .view"
CURVE = ".chart"


@pytest.fixture
def running(gateway: FakeGateway) -> str:
    """A task that runs, with a little of everything."""
    gateway.add(
        "run",
        name="my style",
        state="running",
        started_at=time.time() - 60,
        attempt=1,
        instance="kohya_job-0001",
        progress=progress(100, 400),
    )
    gateway.log("run", *(f"line {n}" for n in range(1, 31)))
    for step in range(1, 101):
        gateway.point("run", step=step, loss=1 / step, lr=1e-4)
    gateway.file("run", "output/sample/a.png", picture("red"), kind="sample", step=50, label="a cat")
    return "run"


def picture(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "PNG")
    return buffer.getvalue()


def row(page: Page, id: str) -> Any:
    return page.locator(f'.list [data-task="{id}"]')


def test_with_no_jobs_the_page_says_so_and_leads_to_the_form(page: Page, gateway: FakeGateway) -> None:
    page.goto("/jobs")
    expect(page.locator(".list")).to_contain_text("No jobs yet")
    expect(page.locator("text=New training")).to_have_attribute("href", "/")


def test_what_runs_stands_first_then_the_queue_in_its_turn_then_what_ended_last(
    page: Page, gateway: FakeGateway
) -> None:
    gateway.add("old", state="succeeded", finished_at=time.time() - 60)
    gateway.add("one", state="failed", reason="the disk is full", finished_at=time.time())
    gateway.add("two", state="running", progress=progress(50, 200))
    gateway.add("three", position=1, expected_start=time.time() + 240)
    gateway.add("four", position=2)
    page.goto("/jobs")
    expect(page.locator(".list [data-task]")).to_have_count(5)
    ids = page.eval_on_selector_all(".list [data-task]", "rows => rows.map(row => row.dataset.task)")
    assert ids == ["two", "three", "four", "one", "old"]
    expect(row(page, "three")).to_contain_text("position 1 · starts in about 4 min")
    expect(row(page, "two")).to_contain_text("step 50 of 200")
    expect(row(page, "two").locator("[role=progressbar]")).to_have_attribute("aria-valuenow", "25")
    expect(row(page, "one")).to_contain_text("the disk is full")


def test_many_pictures_push_no_training_out_of_the_list(page: Page, gateway: FakeGateway) -> None:
    gateway.add("one", name="cats", state="succeeded", finished_at=time.time())
    for n in range(120):
        gateway.add(f"p{n}", kind="query", state="succeeded", finished_at=time.time())
    page.goto("/jobs")
    expect(row(page, "one")).to_be_visible()
    expect(page.locator(".list [data-task]")).to_have_count(1)


def test_the_list_follows_what_happens(page: Page, gateway: FakeGateway) -> None:
    gateway.add("one", position=1)
    page.goto("/jobs")
    expect(row(page, "one")).to_contain_text("queued")
    gateway.update("one", state="running", position=None, progress=progress(3, 10))
    expect(row(page, "one")).to_contain_text("step 3 of 10")
    gateway.add("two", position=1)
    expect(row(page, "two")).to_be_visible()


def test_everything_about_a_running_task_is_there_and_moves(
    page: Page, gateway: FakeGateway, running: str
) -> None:
    page.goto(f"/jobs?task={running}")
    expect(page.locator(".task h2")).to_have_text("my style")
    expect(page.locator(".progress")).to_contain_text("100 / 400")
    expect(page.locator(".progress [role=progressbar]")).to_have_attribute("aria-valuenow", "25")
    expect(page.locator(CURVE)).to_have_attribute("data-points", "100")
    expect(page.locator(f"{CURVE} canvas")).to_be_visible()
    expect(page.locator(".shot img")).to_have_js_property("naturalWidth", 64)
    gateway.log(running, "a new line")
    gateway.point(running, step=101, loss=0.01)
    gateway.update(running, progress=progress(200, 400))
    gateway.file(running, "output/b.safetensors", b"1234", kind="checkpoint", step=200)
    expect(page.locator(".log .l", has_text="a new line")).to_be_visible()
    expect(page.locator(CURVE)).to_have_attribute("data-points", "101")
    expect(page.locator(".progress [role=progressbar]")).to_have_attribute("aria-valuenow", "50")
    expect(page.locator(".made")).to_contain_text("b.safetensors")
    expect(page.locator(".made >> text=Try it")).to_have_attribute(
        "href", re.compile(r"lora=run&checkpoint=jobs%2Frun%2Foutput%2Fb.safetensors")
    )


def test_a_reload_in_the_middle_shows_everything_again_and_goes_on(
    page: Page, gateway: FakeGateway, running: str
) -> None:
    page.goto(f"/jobs?task={running}")
    expect(page.locator(".log .l", has_text="line 30")).to_be_visible()
    page.reload()
    expect(page.locator(".task h2")).to_have_text("my style")
    expect(page.locator(CURVE)).to_have_attribute("data-points", "100")
    expect(page.locator(".shot img")).to_be_visible()
    gateway.log(running, "after the reload")
    expect(page.locator(".log .l", has_text="after the reload")).to_be_visible()
    assert log_lines(page)[-2:] == ["line 30", "after the reload"]


def test_a_lost_gateway_is_said_and_heals_without_a_line_lost_or_doubled(
    page: Page, gateway: FakeGateway, running: str
) -> None:
    page.goto(f"/jobs?task={running}")
    expect(page.locator(".log .l", has_text="line 30")).to_be_visible()
    gateway.stop()
    expect(page.locator(".lp-banner")).to_contain_text("does not answer")
    gateway.log(running, "printed meanwhile")
    gateway.start()
    expect(page.locator(".lp-banner")).to_be_hidden()
    gateway.log(running, "printed after")
    expect(page.locator(".log .l", has_text="printed after")).to_be_visible()
    assert log_lines(page)[-3:] == ["line 30", "printed meanwhile", "printed after"]


def test_only_what_is_new_travels(page: Page, gateway: FakeGateway, running: str) -> None:
    frames: list[str] = []

    def listen(socket: WebSocket) -> None:
        if f"/live/tasks/{running}" in socket.url:
            socket.on("framereceived", lambda data: frames.append(str(data)))

    page.on("websocket", listen)
    page.goto(f"/jobs?task={running}")
    expect(page.locator(".log .l", has_text="line 30")).to_be_visible()
    frames.clear()
    gateway.log(running, "just this")
    expect(page.locator(".log .l", has_text="just this")).to_be_visible()
    logs = [frame for frame in frames if '"event":"log"' in frame]
    assert len(logs) == 1 and "line 30" not in logs[0]


def test_a_log_of_a_hundred_thousand_lines_stays_light_and_can_be_searched(
    page: Page, gateway: FakeGateway
) -> None:
    gateway.add("long", state="running", progress=progress(1, 2))
    gateway.log("long", *(f"entry {n}" for n in range(1, 100_001)))
    gateway.tasks["long"].lines[49_999] = "the needle"
    page.goto("/jobs?task=long")
    expect(page.locator(".log header")).to_contain_text("100 000 lines")
    assert log_lines(page)[-1] == "entry 100000"
    page.eval_on_selector(LOG, "view => view.scrollTo(0, 0)")
    expect(page.locator('.log .l[data-n="1"]')).to_have_text("entry 1")
    assert page.locator(".log .l").count() < 100
    page.fill(".log input", "needle")
    expect(page.locator(".log .hit")).to_have_text("the needle", timeout=60_000)
    expect(page.locator(".log output")).to_have_text("1 / 1")


def test_the_log_follows_at_its_end_and_stays_put_elsewhere(
    page: Page, gateway: FakeGateway, running: str
) -> None:
    gateway.log(running, *(f"line {n}" for n in range(31, 201)))
    page.goto(f"/jobs?task={running}")
    expect(page.locator(".log .l", has_text="line 200")).to_be_visible()
    page.eval_on_selector(LOG, "view => view.scrollTo(0, 500)")
    expect(page.locator(".jump")).to_be_visible()
    gateway.log(running, "unseen")
    expect(page.locator(".jump")).to_have_text("↓ 1 new")
    assert page.eval_on_selector(LOG, "view => view.scrollTop") == 500
    page.click(".jump")
    expect(page.locator(".log .l", has_text="unseen")).to_be_visible()


def test_the_log_can_be_downloaded(page: Page, running: str) -> None:
    page.goto(f"/jobs?task={running}")
    with page.expect_download() as download:
        page.click(".log >> text=Download")
    assert download.value.path().read_text().splitlines()[29] == "line 30"


def test_pictures_stand_by_prompt_and_step_and_can_be_looked_at(
    page: Page, gateway: FakeGateway, running: str
) -> None:
    gateway.file(running, "output/sample/d.png", picture("green"), kind="sample", step=100, label="a dog")
    gateway.file(running, "output/sample/c.png", picture("blue"), kind="sample", step=100, label="a cat")
    page.goto(f"/jobs?task={running}")
    expect(page.locator(".strip")).to_have_count(2)
    cats = page.locator(".strip", has_text="a cat").locator(".shot")
    expect(cats).to_have_text(["step 50", "step 100"])
    expect(page.locator(".sliding output")).to_have_text("step 100")
    page.fill(".sliding input", "0")
    expect(page.locator(".sliding output")).to_have_text("step 50")
    expect(page.locator(".shot.chosen").first).to_have_text("step 50")
    cats.first.click()
    expect(page.locator(".lightbox footer")).to_contain_text("step 50 · a cat")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".lightbox footer")).to_contain_text("step 100 · a cat")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".lightbox footer")).to_contain_text("step 100 · a dog")
    page.keyboard.press("Escape")
    expect(page.locator(".lightbox")).to_have_count(0)


@pytest.mark.parametrize(("button", "mode"), [("Stop", "stop"), ("Stop and save", "save")])
def test_stopping_is_asked_first_and_then_said(
    page: Page, gateway: FakeGateway, running: str, button: str, mode: str
) -> None:
    page.goto(f"/jobs?task={running}")
    page.locator(".acts").get_by_role("button", name=button, exact=True).click()
    page.click("dialog >> text=Keep it running")
    assert gateway.tasks[running].view["cancel"] is None
    page.locator(".acts").get_by_role("button", name=button, exact=True).click()
    page.locator("dialog").get_by_role("button", name=button, exact=True).click()
    expect(page.locator(".progress b")).to_have_text(
        "Saving, then stopping…" if mode == "save" else "Stopping…"
    )
    assert gateway.tasks[running].view["cancel"] == mode
    gateway.update(running, state="cancelled", finished_at=time.time(), reason="stopped by a person")
    expect(page.locator(".task .lp-chip")).to_have_text("stopped")


def test_curves_of_several_runs_stand_in_one_picture(page: Page, gateway: FakeGateway, running: str) -> None:
    gateway.add("other", name="the other", state="succeeded", started_at=1.0, finished_at=2.0)
    for step in range(5, 300, 5):
        gateway.point("other", step=step, loss=2 / step, lr=1e-4)
    page.goto(f"/jobs?task={running}")
    expect(page.locator(CURVE)).to_have_attribute("data-curves", "1")
    page.focus(".others select")
    page.select_option(".others select", label="the other")
    expect(page.locator(CURVE)).to_have_attribute("data-curves", "2")
    expect(page.locator(CURVE)).to_have_attribute("data-points", "100")
    page.click(".other")
    expect(page.locator(CURVE)).to_have_attribute("data-curves", "1")


def test_the_list_can_be_searched_and_a_waiting_task_moved(page: Page, gateway: FakeGateway) -> None:
    gateway.add("one", name="cats", position=1, priority=2)
    gateway.add("two", name="dogs", position=2)
    gateway.add("drawn", name="a picture", kind="query", state="succeeded", finished_at=time.time())
    page.goto("/jobs?task=two")
    expect(page.locator(".list [data-task]")).to_have_count(2)
    page.fill(".filter input", "dog")
    expect(page.locator(".list [data-task]")).to_have_count(1)
    page.fill(".filter input", "")
    page.select_option(".filter select", "query")
    expect(page.locator(".list [data-task] b")).to_have_text(["a picture"])
    page.click("text=First in line")
    until(lambda: gateway.tasks["two"].view["priority"] == 3, what="the new priority")
    page.click("text=To the end")
    until(lambda: gateway.tasks["two"].view["priority"] == 1, what="the new priority")


def test_a_finished_task_offers_its_lora_and_another_run(page: Page, gateway: FakeGateway) -> None:
    gateway.add("done", name="moon", state="succeeded", finished_at=time.time(), started_at=time.time() - 9)
    gateway.file("done", "output/moon.safetensors", b"tensors", kind="lora", step=300)
    page.goto("/jobs?task=done")
    with page.expect_download() as download:
        page.click("text=Download LoRA")
    assert download.value.suggested_filename == "moon.safetensors"
    assert download.value.path().read_bytes() == b"tensors"
    page.click("text=Run again")
    expect(page.locator(".task .lp-chip")).to_have_text("queued")
    assert page.url.endswith("?task=done-again")
    page.go_back()
    expect(page.locator(".task .lp-chip")).to_have_text("done")


def test_a_failure_shows_its_reason_attempts_and_settings(page: Page, gateway: FakeGateway) -> None:
    at = time.time() - 100
    attempt = {"number": 1, "instance": "i-1", "started_at": at, "ended_at": at + 5, "outcome": "lost"}
    gateway.add(
        "bad",
        state="dead",
        reason="gave up after 3 attempts",
        finished_at=time.time(),
        attempts=[{**attempt, "reason": "its instance died"}],
        details={"settings": {"network_dim": 16}},
    )
    page.goto("/jobs?task=bad")
    expect(page.locator(".reason")).to_have_text("gave up after 3 attempts")
    page.click("summary >> text=Settings")
    expect(page.locator(".settings")).to_contain_text("network_dim16")
    page.click("summary >> text=Attempts")
    expect(page.locator("details", has_text="Attempts")).to_contain_text("lost: its instance died")


def test_a_task_that_is_not_there_is_said_plainly(page: Page, gateway: FakeGateway) -> None:
    page.goto("/jobs?task=nothing")
    expect(page.locator(".task")).to_contain_text("There is no nothing")


def test_names_and_lines_are_text_whatever_they_hold(page: Page, gateway: FakeGateway) -> None:
    evil = '<img src=x onerror="window.hacked=1">'
    gateway.add("evil", name=evil, state="running", reason=evil, user=evil, progress=progress(1, 2))
    gateway.log("evil", evil)
    gateway.file("evil", "output/sample/x.png", picture("red"), kind="sample", step=1, label=evil)
    page.goto("/jobs?task=evil")
    expect(page.locator(".task h2")).to_have_text(evil)
    expect(page.locator(".log .l")).to_have_text(evil)
    expect(page.locator(".strip p")).to_have_text(evil)
    assert page.evaluate("window.hacked") is None


def test_on_a_phone_the_list_and_the_task_take_turns(page: Page, gateway: FakeGateway, running: str) -> None:
    page.set_viewport_size(PHONE)
    page.goto("/jobs")
    row(page, running).click()
    expect(page.locator(".task h2")).to_be_visible()
    expect(page.locator(".list")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.click("text=‹ All jobs")
    expect(page.locator(".list")).to_be_visible()
    expect(page.locator(".task")).to_be_hidden()


def test_two_tabs_show_the_same_whoever_acts(
    page: Page, context: BrowserContext, gateway: FakeGateway, running: str
) -> None:
    gateway.add("next", name="the next", position=1, priority=0)
    other = context.new_page()
    for each in (page, other):
        each.goto(f"/jobs?task={running}")
        expect(each.locator(".progress")).to_contain_text("100 / 400")
    page.locator(".acts").get_by_role("button", name="Stop and save", exact=True).click()
    page.locator("dialog").get_by_role("button", name="Stop and save", exact=True).click()
    expect(other.locator(".progress b")).to_have_text("Saving, then stopping…")
    expect(row(other, running)).to_contain_text("saving, then stopping")
    expect(other.locator(".acts").get_by_role("button", name="Stop", exact=True)).to_have_count(0)
    other.goto("/jobs?task=next")
    other.get_by_role("button", name="To the end", exact=True).click()
    gateway.update("next", state="cancelled", finished_at=time.time())
    expect(row(page, "next").locator(".lp-chip")).to_have_text("stopped")
    expect(other.locator(".task .lp-chip")).to_have_text("stopped")
    other.close()


def test_twenty_pages_of_one_browser_all_follow(
    context: BrowserContext, gateway: FakeGateway, running: str
) -> None:
    pages = [context.new_page() for _ in range(20)]
    for each in pages:
        each.goto(f"/jobs?task={running}", wait_until="commit")
    for each in pages:
        expect(each.locator(".log .l", has_text="line 30")).to_be_visible(timeout=60_000)
    gateway.log(running, "for everybody")
    for each in pages:
        expect(each.locator(".log .l", has_text="for everybody")).to_be_visible()
        each.close()


def test_a_page_that_is_closed_leaves_nothing_open(
    context: BrowserContext, gateway: FakeGateway, running: str
) -> None:
    page = context.new_page()
    page.goto(f"/jobs?task={running}")
    until(lambda: gateway.streams == 1, what="the stream to open")
    page.close()
    until(lambda: gateway.streams == 0, what="the stream to end")
