"""A browser, a front end, and a gateway that does what a test tells it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

from tests.browser import stage
from tests.browser.chromium import chromium
from tests.browser.fake_gateway import FakeGateway, service

expect.set_options(timeout=stage.PATIENCE * 1000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for each file: while it is open an event loop runs here, which other files' tests could not bear."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def front_end(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stage.FrontEnd]:
    with stage.front_end(tmp_path_factory.mktemp("data")) as started:
        yield started


@pytest.fixture
def gateway(front_end: stage.FrontEnd) -> FakeGateway:
    """The gateway, empty."""
    fresh = front_end.gateway
    fresh.clear()
    fresh.services.append(service())
    return fresh


@pytest.fixture(scope="module")
def context(browser: Browser, front_end: stage.FrontEnd) -> Iterator[BrowserContext]:
    """One for all tests of a file, so that what never changes is loaded once."""
    made = browser.new_context(viewport=stage.DESKTOP, base_url=front_end.url, reduced_motion="reduce")
    made.set_default_timeout(stage.PATIENCE * 1000)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext, front_end: stage.FrontEnd) -> Iterator[Page]:
    """A newcomer's page; it may ask nothing of another machine, and no script of it may fail."""
    foreign: list[str] = []
    faults: list[str] = []

    def look(request: Request) -> None:
        if not request.url.startswith((front_end.url, "data:", "blob:")):
            foreign.append(request.url)

    made = context.new_page()
    made.on("request", look)
    made.on("pageerror", lambda error: faults.append(str(error)))
    yield made
    if made.url.startswith(front_end.url):
        made.evaluate("localStorage.clear()")
    made.close()
    assert not foreign, foreign
    assert not faults, faults
