"""The main job as a person does it: form, queue, warm instance, live page, stop. Everything is real.

With SCREENSHOTS=docs/images the pictures of the documentation are taken on the way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from backend.errors import RunFailed
from tests.browser.stage import DESKTOP, PICTURES, field, log_lines, shooter
from tests.support.box import PATIENCE, Box, at_step, until

SLOW = 120_000
"""Milliseconds that a step of a real training on a busy machine may take."""

STEPS = 300 if PICTURES else 40
"""The whole of the sample training makes better pictures than its first steps."""

Shoot = Callable[[str], None]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    deployment = Box(tmp_path_factory.mktemp("whole") / "data", ui=True)
    deployment.install_samples()
    deployment.start(LORAPOOL_INFERENCE_MEMORY_GB="1")
    try:
        yield deployment
    finally:
        deployment.stop()
    until(lambda: not deployment.processes(), f"no process is left: {deployment.processes()}", 10.0)


@pytest.fixture
def page(browser: Browser, box: Box) -> Iterator[Page]:
    context = browser.new_context(
        viewport=DESKTOP,  # type: ignore[arg-type]
        base_url=f"http://127.0.0.1:{box.ui_port}",
        reduced_motion="reduce",
    )
    context.set_default_timeout(SLOW)
    yield context.new_page()
    context.close()


@pytest.fixture
def shoot(page: Page) -> Shoot:
    return shooter(page)


def start(page: Page, name: str, steps: int, every: int = 20) -> str:
    """Fill the form and start; the task's id. Pictures and checkpoints are made every so many steps."""
    page.goto("/")
    expect(page.locator("#lp-outlook")).to_contain_text("Pictures30", timeout=SLOW)
    page.fill(field("output_name"), name)
    page.fill(field("max_train_steps"), str(steps))
    page.fill(field("sample_every_n_steps"), str(every))
    page.fill(field("save_every_n_steps"), str(every))
    page.keyboard.press("Tab")
    expect(page.locator("#lp-outlook")).to_contain_text(f"Steps{steps}", timeout=SLOW)
    page.click("#lp-start")
    link = page.locator("#lp-after .queued a")
    expect(link).to_be_visible(timeout=SLOW)
    return (link.get_attribute("href") or "").partition("task=")[2]


def points_drawn(page: Page) -> int:
    return int(page.get_attribute(".chart", "data-points") or 0)


def steps_shown(page: Page) -> int:
    text = page.locator(".numbers div", has_text="Step").first.locator("dd").inner_text()
    return int(text.partition("/")[0].replace(" ", ""))


def test_a_training_from_the_form_to_the_stop(page: Page, box: Box, shoot: Shoot) -> None:
    # given a training that was filled in and started
    task_id = start(page, "moonlight", 400)
    shoot("train")
    page.click("#lp-after .queued a")
    # then its log appears line by line, the bar moves, the curve draws, pictures appear
    expect(page.locator(".log .l", has_text="running training")).to_be_visible(timeout=SLOW)
    expect(page.locator(".shot")).not_to_have_count(0, timeout=SLOW)
    until(lambda: points_drawn(page) > 2, "points of the curve")
    expect(page.locator(".chart canvas")).to_be_visible()
    first = steps_shown(page)
    with box.client() as client:
        handle = client.task(task_id)
        at_step(handle, 25)
        until(lambda: points_drawn(page) > 20, "points of the curve")
        assert steps_shown(page) > first
        shoot("job-running")
        # when the page is reloaded in the middle
        before = len(handle.log(limit=5000).lines)
        page.reload()
        # then everything is there and goes on
        expect(page.locator(".task h2")).to_have_text("moonlight")
        until(lambda: points_drawn(page) > 20, "points of the curve")
        expect(page.locator(".shot img").first).to_have_js_property("naturalWidth", 64)
        until(lambda: handle.view().log_lines > before, "more lines")
        newest = handle.log(after=before).lines[0][1]
        expect(page.locator(".log .l", has_text=newest).first).to_be_attached(timeout=SLOW)
        assert "running training" in "\n".join(log_lines(page)) or len(log_lines(page)) > 10
        # when it is stopped
        run = psutil.Process(box.pid("run"))
        page.locator(".acts").get_by_role("button", name="Stop", exact=True).click()
        page.locator("dialog").get_by_role("button", name="Stop", exact=True).click()
        expect(page.locator(".task .lp-chip")).to_have_text("stopped", timeout=SLOW)
        # then its process is gone and what it had saved is kept
        assert not run.is_running() or run.status() == psutil.STATUS_ZOMBIE
        kept = [file.path for file in handle.files() if file.kind == "checkpoint"]
    assert kept and all((box.data_dir / "jobs" / task_id / path).exists() for path in kept)
    expect(page.locator('.made tr[data-kind="checkpoint"]')).to_have_count(len(kept))


@pytest.mark.timeout(900)
def test_a_second_training_says_its_place_and_a_finished_one_gives_its_lora(
    page: Page, box: Box, shoot: Shoot
) -> None:
    # given one training that runs and one behind it
    first = start(page, "first", 60)
    second = start(page, "moonlight-2", STEPS, max(20, STEPS // 4))
    expect(page.locator("#lp-after .queued")).to_contain_text("moonlight-2", timeout=SLOW)
    page.goto(f"/jobs?task={second}")
    expect(page.locator(f'.list [data-task="{second}"]')).to_contain_text("position 1", timeout=SLOW)
    expect(page.locator(".progress")).to_contain_text("Position")
    shoot("job-queued")
    page.goto("/service")
    expect(page.locator("[data-instance] a")).to_have_text("first", timeout=SLOW)
    shoot("service")
    # when both have ended
    with box.client() as client:
        assert client.task(first).wait(SLOW / 400).state == "succeeded"
        assert client.task(second).wait(SLOW / 400).state == "succeeded"
    # then the page gives the file that they made
    page.goto(f"/jobs?task={second}")
    with page.expect_download() as download:
        page.click("text=Download LoRA")
    assert download.value.suggested_filename == "moonlight-2.safetensors"
    assert download.value.path().stat().st_size > 10_000
    expect(page.locator(".shot")).not_to_have_count(0)
    shoot("job-done")


def test_a_picture_too_large_for_the_memory_is_told_on_the_page_as_to_a_program(
    page: Page, box: Box, shoot: Shoot
) -> None:
    told = (
        r"4096×4096 takes about 15\.0 GB with tiny-shapes, and [\d.]+ [GM]B are free of the 1\.0 GB that may be taken "
        r"here \(LORAPOOL_INFERENCE_MEMORY_GB\); choose a smaller size"
    )
    # Given the largest size that the page lets through
    page.goto("/generate")
    page.fill("#w-prompt", "a red circle")
    page.fill("#w-steps", "2")
    for side in ("width", "height"):
        page.fill(f"#w-{side}", "4096")
    # When it is asked for, then its drawing says what it would take and what there is
    page.get_by_role("button", name="Generate", exact=True).click()
    line = page.locator(".drawing .line").first
    expect(line).to_have_text(re.compile(told), timeout=SLOW)
    shoot("too-large")
    # And a program hears the same
    with box.client() as client:
        service = client.service("kohya_job")
        with pytest.raises(RunFailed, match=told):
            service.generate("a red circle", steps=2, width=4096, height=4096).wait(PATIENCE)
    # And a smaller one is drawn at once, by the same app
    for side in ("width", "height"):
        page.fill(f"#w-{side}", "64")
    page.get_by_role("button", name="Generate", exact=True).click()
    expect(page.locator(".drawing").first.locator(".picture img")).to_be_visible(timeout=SLOW)
