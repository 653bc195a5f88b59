"""The Users page in Chromium, before a real gateway: the first account, a member, tokens, limits, who did what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import stage
from tests.browser.test_accessibility import faults
from tests.support.gateway_box import TOKEN, Box

PASSWORD = "correct horse"


@dataclass(frozen=True, slots=True)
class Studio:
    box: Box
    url: str


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    box = Box(tmp_path_factory.mktemp("studio"))
    try:
        box.start()
        box.create("kohya_job", "ScalableJob")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stage, "TOKEN", TOKEN)
            with stage.serving(box.url, box.data_dir) as url:
                yield Studio(box, url)
    finally:
        box.close()


def opened(browser: Browser, studio: Studio) -> Page:
    context = browser.new_context(viewport=stage.DESKTOP, base_url=studio.url, reduced_motion="reduce")  # type: ignore[arg-type]
    context.set_default_timeout(stage.PATIENCE * 1000)
    return context.new_page()


def log_in(page: Page, name: str, secret: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password or token").fill(secret)
    page.get_by_role("button", name="Log in").click()


def add(page: Page, name: str, role: str) -> None:
    form = page.locator("form.add")
    form.get_by_label("Name").fill(name)
    form.get_by_label("Role").select_option(role)
    form.get_by_label("Password").fill(PASSWORD)
    form.get_by_role("button", name="Add").click()


def test_from_the_first_account_to_who_did_what(browser: Browser, studio: Studio) -> None:
    first = opened(browser, studio)
    first.goto("/users")
    expect(first.get_by_text("No accounts yet")).to_be_visible()
    add(first, "boss", "admin")
    # With the first account there is somebody to be.
    expect(first.get_by_label("Password or token")).to_be_visible(timeout=stage.PATIENCE * 1000)
    log_in(first, "boss", "wrong")
    expect(first.get_by_role("alert")).to_have_text("Name, password or token is wrong.")
    log_in(first, "boss", PASSWORD)
    expect(first.get_by_role("heading", name="My account: boss")).to_be_visible()
    add(first, "ana", "member")
    row = first.locator("[data-user=ana]")
    expect(row).to_be_visible()
    row.get_by_role("button", name="Change").click()
    panel = first.get_by_role("region", name="ana", exact=True)
    panel.get_by_label("Running at most").fill("2")
    panel.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("0 of 2")
    panel.get_by_label("What it is for").fill("a notebook")
    panel.get_by_role("button", name="Make a token").click()
    token = panel.locator(".secret code").inner_text()
    assert re.fullmatch(r"lp_[\w-]{43}", token)
    expect(panel.get_by_role("cell", name="a notebook")).to_be_visible()
    stage.shooter(first)("users")
    assert not faults(first)

    _what_a_member_sees(browser, studio, token)
    _a_name_again(first, studio)
    _what_a_viewer_sees(browser, studio)

    first.reload()
    expect(first.get_by_role("region", name="Who did what")).to_contain_text("add user")
    first.context.close()


def _a_name_again(page: Page, studio: Studio) -> None:
    """An account is removed; somebody of that name is asked for."""
    with studio.box.client() as client:
        client.remove_user("ana")
    page.reload()
    add(page, "ana", "viewer")
    asked = page.get_by_role("dialog", name="Is it the same ana?")
    asked.get_by_role("button", name="Choose another name").click()
    expect(page.locator("[data-user=ana]")).to_have_count(0)
    page.locator("form.add").get_by_role("button", name="Add").click()
    asked.get_by_role("button", name="It is the same person").click()
    expect(page.locator("[data-user=ana]")).to_be_visible()


def _what_a_viewer_sees(browser: Browser, studio: Studio) -> None:
    """Of a job that has ended, nothing that would be refused."""
    with studio.box.client() as client:
        ended = client.service("kohya_job").submit(command="true", name="ana's own", user="ana")
        ended.cancel()
        ended.wait(stage.PATIENCE)
        token = client.make_token("ana").token or ""
    page = opened(browser, studio)
    page.goto("/users")
    log_in(page, "", token)
    page.goto(f"/jobs?task={ended.id}")
    expect(page.get_by_role("heading", name="ana's own")).to_be_visible()
    expect(page.locator(".facts").get_by_text("by ana")).to_be_visible()
    expect(page.locator(".acts button")).to_have_count(0)
    assert page.request.get("/train/services").json()["viewer"]
    _a_login_that_is_over_says_so_and_leads_back(page, token)
    page.context.close()


def _a_login_that_is_over_says_so_and_leads_back(page: Page, token: str) -> None:
    page.goto("/data")
    expect(page.get_by_role("heading", name="Data sets")).to_be_visible()
    other = page.context.new_page()
    other.goto("/users")
    other.get_by_role("button", name="Log out").click()
    expect(other.get_by_label("Password or token")).to_be_visible()
    # The tab is looked at again.
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(".lp-banner")).to_contain_text("You are logged out.")
    page.locator(".lp-banner").get_by_role("link", name="Log in").click()
    log_in(page, "", token)
    expect(page.get_by_role("heading", name="Data sets")).to_be_visible()


def _what_a_member_sees(browser: Browser, studio: Studio, token: str) -> None:
    with studio.box.client() as client:
        other = client.service("kohya_job").submit(command="echo nobody else's", name="the boss's run")
    page = opened(browser, studio)
    page.goto("/users")
    log_in(page, "", token)
    expect(page.get_by_role("heading", name="My account: ana")).to_be_visible()
    expect(page.get_by_role("heading", name="Accounts")).to_have_count(0)
    page.goto(f"/jobs?task={other.id}")
    expect(page.get_by_text("the boss's run").first).to_be_visible()
    expect(page.get_by_text("nobody else's")).to_have_count(0)
    with studio.box.client() as client:
        client.change_user("ana", disabled=True)
    page.goto("/users")
    stage.until(lambda: (page.reload(), "login" in page.url)[1], what="the disabled account to be shut out")
    page.context.close()
