"""A real Chromium for the tests: the one that `CHROMIUM` names, the system's, or playwright's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Playwright, sync_playwright

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_MAC = ("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",)


def executable() -> str | None:
    """The path of a Chromium that is installed; None leaves the choice to playwright."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named
    found = (shutil.which(name) for name in _NAMES)
    return next((path for path in (*found, *_MAC) if path and Path(path).exists()), None)


@contextmanager
def chromium(playwright: Playwright | None = None) -> Iterator[Browser]:
    """A running browser."""
    if playwright is None:
        with sync_playwright() as started, chromium(started) as browser:
            yield browser
        return
    browser = playwright.chromium.launch(executable_path=executable(), args=list(FLAGS))
    try:
        yield browser
    finally:
        browser.close()
