"""From an empty data folder to a picture made with one's own LoRA, by the clicks of docs/start.md; then a grid.

Everything is real. With SCREENSHOTS=docs/images the pictures of the documentation are taken on the way.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat
from playwright.sync_api import Browser, Page, expect

from tests.browser.stage import DESKTOP, PICTURES, field, shooter
from tests.support.box import Box, training

SLOW = 240_000
"""Milliseconds that a step of a real training on a busy machine may take."""
MOST_CLICKS = 15

COUNT_CLICKS = """
addEventListener("click", (event) => {
    if (!event.isTrusted) return;
    sessionStorage.clicks = 1 + Number(sessionStorage.clicks ?? 0);
}, true);
"""
SERVICE = {
    "metadata": {"name": "kohya_job", "type": "ScalableJob", "instance": 2, "rpc.worker_threads": 8},
    "containers": [{"app": "built-in"}],
    "autoscaler": {"min": 2, "max": 2},
    "queue": {"max_delivery": 3, "sink": {"auto_evict": True, "capacity": 20_000}},
}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("newcomer")
    description = folder / "service.json"
    description.write_text(json.dumps(SERVICE))
    deployment = Box(folder / "data", ui=True, arguments=(str(description),))
    deployment.start()
    try:
        yield deployment
    finally:
        deployment.stop()


@pytest.fixture(scope="module")
def page(browser: Browser, box: Box) -> Iterator[Page]:
    context = browser.new_context(
        viewport=DESKTOP,  # type: ignore[arg-type]
        base_url=f"http://127.0.0.1:{box.ui_port}",
        reduced_motion="reduce",
    )
    context.set_default_timeout(SLOW)
    context.add_init_script(COUNT_CLICKS)
    yield context.new_page()
    context.close()


def step(page: Page, number: int) -> None:
    """A picture of what is before the eyes at a step of docs/start.md."""
    if PICTURES:
        page.wait_for_timeout(700)
        page.screenshot(path=Path(PICTURES) / f"start-{number}.png")


def drawn(page: Page, name: str) -> Image.Image:
    """The picture of a drawing's column, as the browser has it."""
    place = page.locator(".drawing").first.locator("th", has_text=name).first
    column = place.evaluate("cell => cell.cellIndex")
    image = page.locator(".drawing").first.locator(f"tbody td:nth-child({column + 1}) .picture img")
    expect(image).to_be_visible(timeout=SLOW)
    answer = page.request.get(image.evaluate("image => image.src"))
    return Image.open(io.BytesIO(answer.body())).convert("RGB")


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures, 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


@pytest.mark.timeout(600)
def test_a_newcomer_comes_to_a_picture_of_their_own_in_a_few_clicks(page: Page, box: Box) -> None:
    began = time.monotonic()
    page.goto("/")
    expect(page.locator(".welcome")).to_contain_text("Two things are needed", timeout=SLOW)
    step(page, 1)
    page.click("text=Install the sample")
    expect(page.locator("#lp-outlook")).to_contain_text("Pictures30", timeout=SLOW)
    step(page, 2)
    if not PICTURES:
        # Typed, not clicked: the whole of the sample training is for pictures of it.
        page.fill(field("max_train_steps"), "90")
        page.keyboard.press("Tab")
        expect(page.locator("#lp-outlook")).to_contain_text("Steps90", timeout=SLOW)
    page.click("#lp-start")
    page.click("#lp-after .queued a")
    expect(page.locator(".shot")).not_to_have_count(0, timeout=SLOW)
    expect(page.locator(".chart canvas")).to_be_visible(timeout=SLOW)
    step(page, 3)
    expect(page.locator(".task .lp-chip")).to_have_text("done", timeout=SLOW)
    step(page, 4)
    page.click("text=Try it")
    expect(page.locator(".lora select")).to_have_count(1, timeout=SLOW)
    expect(page.locator("#w-prompt")).to_have_value("a yellow star in sks style")
    page.get_by_role("button", name="Generate", exact=True).click()
    without, own = drawn(page, "without the LoRA"), drawn(page, "with the LoRA")
    step(page, 5)
    assert difference(without, own) > 20, "the LoRA makes a difference that everybody sees"
    clicks, seconds = int(page.evaluate("sessionStorage.clicks")), time.monotonic() - began
    print(f"\n{clicks} clicks, {seconds:.0f} s from the empty page to the picture")
    assert clicks <= MOST_CLICKS
    page.reload()
    expect(page.locator(".picture img")).to_have_count(2, timeout=SLOW)


def few(box: Box) -> Path:
    """Six pictures of the sample, each shown once: epochs of three steps, longer ones for pictures of them."""
    _, dataset = box.install_samples()
    folder = box.data_dir / "datasets" / "few" / f"{8 if PICTURES else 1}_sks style"
    folder.mkdir(parents=True)
    for picture in sorted(dataset.rglob("*.png"))[:6]:
        for file in (picture, picture.with_suffix(".txt")):
            (folder / file.name).write_bytes(file.read_bytes())
    return folder.parent


@pytest.mark.timeout(600)
def test_a_grid_of_four_epochs_and_three_weights_is_drawn_by_both_instances(page: Page, box: Box) -> None:
    # given a training with four saved epochs
    argv = [
        *training(box, "--max_train_epochs", "4", "--save_every_n_epochs", "1", name="epochs"),
        *("--train_data_dir", str(few(box)), "--train_batch_size", "2", "--v_parameterization"),
        *("--zero_terminal_snr", "--learning_rate", "4e-3"),
        *("--output_dir", str(box.data_dir / "jobs" / "epochs" / "output")),
    ]
    with box.client() as client:
        task = client.service("kohya_job").submit(argv=argv, name="epochs", id="epochs")
        assert task.wait(SLOW / 1000).state == "succeeded", task.view().reason
        # when its grid is asked for
        page.goto(f"/generate?lora={task.id}&grid=1")
        button = page.get_by_role("button", name="Generate", exact=True)
        expect(button).to_be_focused(timeout=SLOW)
        expect(page.locator("#w-training")).to_have_value(task.id)
        page.fill("#w-prompt", "a red heart in sks style")
        for key, value in {"width": 64, "height": 64, "steps": 10, "guidance": 3, "seed": 5}.items():
            page.fill(f"#w-{key}", str(value))
        button.click()
        # then it has a row for each epoch, a column for each weight, and every instance has drawn of it
        newest = page.locator(".drawing").first
        expect(page.locator(".problem")).to_be_empty()
        expect(newest.locator("tbody th")).to_have_text(["epoch 1", "epoch 2", "epoch 3", "finished"])
        expect(newest.locator("thead th")).to_have_text(["weight 0.6", "weight 0.8", "weight 1"])
        expect(newest.locator(".picture img")).to_have_count(12, timeout=SLOW)
        cells = newest.locator("[data-task]").evaluate_all("cells => cells.map((cell) => cell.dataset.task)")
        views = [client.task(cell).view() for cell in cells]
    assert len({view.attempts[-1].instance for view in views}) == 2
    shooter(page)("generate")
    page.goto("/data")
    expect(page.locator(".card img").first).to_be_visible(timeout=SLOW)
    page.goto("/data?set=datasets/moonlight")
    expect(page.locator(".card")).to_have_count(30, timeout=SLOW)
    shooter(page)("data")
    # when a query cannot work, then it says so and the others go on
    page.goto("/generate")
    page.fill("#w-width", "63")
    page.get_by_role("button", name="Generate", exact=True).click()
    expect(page.locator(".problem")).not_to_be_empty()
