"""The first notebook in JupyterLab, in Chromium: the button starts a training, the log and the curve move."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import nbformat
import pytest
from playwright.sync_api import Locator, Page, Request, expect

from tests.browser.chromium import chromium
from tests.e2e.notebooks.running import SHARED, environment, with_parameters
from tests.support.box import Box, free_port, until

SLOW = 60_000
"""Milliseconds that a kernel or a training may take to begin on a busy machine."""


PICTURES = os.environ.get("SCREENSHOTS", "")
"""The folder that the documentation's picture goes to."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, box: Box) -> Iterator[str]:
    """The address of the first notebook in a JupyterLab that may ask nothing of the internet."""
    folder = tmp_path_factory.mktemp("lab")
    book = with_parameters("01_train_a_lora", {"DATA": str(box.data_dir), "EPOCHS": 11})
    nbformat.write(book, folder / "train.ipynb")
    port = free_port()
    with (folder / "lab.log").open("w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser", f"--port={port}"),
                *("--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"),
                *(f"--app-dir={SHARED / 'lab'}", f"--ServerApp.root_dir={folder}"),
                *("--LabApp.news_url=", "--LabApp.extension_manager=readonly"),
                "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment(folder),
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _answers(url), "JupyterLab to start")
        yield f"{url}/lab/tree/train.ipynb"
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api", trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def page(lab: str) -> Iterator[Page]:
    """The notebook, open; nothing of it may ask another machine."""
    foreign: list[str] = []
    with chromium() as browser:
        made = browser.new_page(viewport={"width": 1280, "height": 900})
        made.set_default_timeout(SLOW)

        def look(request: Request) -> None:
            if not request.url.startswith((lab.partition("/lab")[0], "data:", "blob:")):
                foreign.append(request.url)

        made.on("request", look)
        made.goto(lab)
        yield made
    assert not foreign, foreign


def count(found: Locator, attribute: str) -> Callable[[], int]:
    return lambda: int(found.get_attribute(attribute) or 0)


def grows(number: Callable[[], int], what: str) -> None:
    """Wait until a number is larger than it is now."""
    now = number()
    until(lambda: number() > now, f"{what} to move on from {now}", SLOW / 1000)


@pytest.mark.timeout(200)
def test_the_button_starts_a_training_and_the_widget_follows_it(page: Page, box: Box) -> None:
    # Given the notebook, run as far as the form
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=SLOW)
    first = page.locator(".jp-CodeCell .cm-content").first
    first.click()
    form = page.get_by_role("button", name="Start training")
    for _ in range(5):
        page.keyboard.press("Shift+Enter")
        time.sleep(0.1)
    expect(form).to_be_visible(timeout=SLOW)
    # When a number is typed that cannot be
    rank = page.get_by_label("Learning rate", exact=True)
    rank.fill("fast")
    rank.press("Tab")
    # Then it is said at the field, and taken back when it is mended
    expect(page.get_by_text("'fast' is not a number")).to_be_visible(timeout=SLOW)
    rank.fill("0.001")
    rank.press("Tab")
    expect(page.get_by_text("'fast' is not a number")).to_be_hidden(timeout=SLOW)
    # When the button is pressed
    form.click()
    # Then a training runs, and log and curve move
    log, curve = page.locator(".lpn-log"), page.locator(".lpn-curve")
    expect(log).to_be_visible(timeout=SLOW)
    until(lambda: count(curve, "data-points")() > 2, "points of the curve")
    expect(curve.locator("canvas")).to_be_visible()
    grows(count(curve, "data-points"), "the curve")
    grows(count(log, "data-last"), "the log")
    expect(page.locator(".widget-image").first).to_be_visible()
    if PICTURES:
        until(lambda: count(curve, "data-points")() > 60, "a curve to show")
        page.get_by_role("button", name="No", exact=True).click()
        page.get_by_role("button", name="Stop…").scroll_into_view_if_needed()
        page.screenshot(path=Path(PICTURES) / "notebook.png")
    # When it is stopped in the widget
    page.get_by_role("button", name="Stop…").click()
    page.get_by_role("button", name="Stop now").click()
    # Then it is stopped
    expect(page.get_by_text("cancelled").first).to_be_visible(timeout=SLOW)
    with box.client() as client:
        assert client.tasks(limit=1)[0].state == "cancelled"
