"""What the browser tests play on: sizes, patience, and a front end before a fake gateway."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from playwright.sync_api import Page

from backend.samples import DATASET, MODEL
from tests.browser.fake_gateway import TOKEN, FakeGateway, free_port

PATIENCE = 20
"""Seconds until something that should have happened counts as not happening."""
PICTURES = os.environ.get("SCREENSHOTS", "")
"""With SCREENSHOTS=docs/images the pictures of the documentation are taken on the way."""
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


@dataclass
class FrontEnd:
    """A front end with a data folder that holds the samples."""

    url: str
    data_dir: Path
    gateway: FakeGateway


@contextmanager
def front_end(data_dir: Path) -> Iterator[FrontEnd]:
    shutil.copytree(MODEL, data_dir / "models" / MODEL.name)
    shutil.copytree(DATASET, data_dir / "datasets" / DATASET.name)
    gateway = FakeGateway(data_dir / "jobs")
    gateway.start()
    with serving(gateway.endpoint, data_dir) as url:
        until(lambda: "gradio-app" in httpx.get(url, trust_env=False).text, 60, "the form to be ready")
        yield FrontEnd(url, data_dir, gateway)
    gateway.stop()


@contextmanager
def serving(endpoint: str, data_dir: Path, root_path: str = "") -> Iterator[str]:
    """A front end in a process of its own, ended with SIGTERM."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("serve.py")), endpoint, str(port), data_dir, root_path],
        env={**os.environ, "LORAPOOL_TOKEN": TOKEN, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: process.poll() is not None or _answers(url), PATIENCE, "the front end to start")
        yield url
        process.terminate()
        assert process.wait(PATIENCE) in (0, -15)
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).is_success
    except httpx.TransportError:
        return False


def until(true: Callable[[], bool], seconds: float = PATIENCE, what: str = "it") -> None:
    """Look again until it is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def log_lines(page: Page) -> list[str]:
    """The lines of the log that are drawn, in their order."""
    texts: list[str] = page.eval_on_selector_all(
        ".log .l",
        "rows => rows.sort((a, b) => a.offsetTop - b.offsetTop).map(row => row.textContent)",
    )
    return texts


def shooter(page: Page) -> Callable[[str], None]:
    """Takes the pictures of a page, on a desk and on a phone, light and dark; only where SCREENSHOTS names a folder."""

    def take(name: str) -> None:
        if not PICTURES:
            return
        page.evaluate("scrollTo(0, 0)")
        for size, suffix in ((DESKTOP, ""), (PHONE, "-phone")):
            page.set_viewport_size(size)  # type: ignore[arg-type]
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                page.wait_for_timeout(500)
                dark = "-dark" if scheme == "dark" else ""
                page.screenshot(path=Path(PICTURES) / f"{name}{suffix}{dark}.png")
        page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
        page.emulate_media(color_scheme="light")

    return take


def field(key: str) -> str:
    """A selector of what one types into at a field of the form."""
    return f"#f-{key} :is(input, textarea)"
