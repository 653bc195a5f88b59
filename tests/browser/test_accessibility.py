"""No page has a serious or critical fault that axe-core finds, light or dark, on a desk or a phone."""

from __future__ import annotations

import time
from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.fake_gateway import FakeGateway, instance, progress
from tests.browser.stage import DESKTOP, PHONE
from tests.browser.test_jobs_page import picture

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
BAD = ("serious", "critical")
READY = {
    "/": "#lp-outlook dd:has-text('30')",
    "/data": ".card img",
    "/jobs?task=run": ".shot img",
    "/jobs?task=bad": ".reason",
    "/generate": ".picture img",
    "/service": "[data-instance]",
}


@pytest.fixture
def busy(gateway: FakeGateway) -> FakeGateway:
    """A gateway with something of everything."""
    gateway.add("run", name="my style", state="running", started_at=time.time(), progress=progress(100, 400))
    gateway.add("bad", state="failed", reason="the disk is full", finished_at=time.time(), position=None)
    gateway.add("next", position=1, expected_start=time.time() + 240)
    gateway.log("run", *(f"line {n}" for n in range(1, 31)), "an ERROR: nothing")
    for step in range(1, 101):
        gateway.point("run", step=step, loss=1 / step, lr=1e-4)
    gateway.file("run", "output/a.png", picture("red"), kind="sample", step=50, label="a cat")
    gateway.file("run", "output/a.safetensors", b"1", kind="checkpoint", step=50)
    place = {"group": "g", "row": 0, "column": 0, "rows": [""], "columns": [""]}
    drawing = {**place, "settings": {"prompt": "a cat", "steps": 20}}
    gateway.add("g-0-0", kind="query", name="a cat", details={"drawing": drawing})
    gateway.drawn("g-0-0", picture("teal"))
    gateway.instances.append(instance("kohya_job-0001", state="busy", tasks=["run"]))
    return gateway


def faults(page: Page) -> list[str]:
    """What axe finds, most of all contrast, names and roles; one line for each place."""
    page.evaluate(AXE)
    found: dict[str, Any] = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{fault['id']} ({fault['impact']}): {node['target']} {node['html'][:120]}"
        for fault in found["violations"]
        if fault["impact"] in BAD
        for node in fault["nodes"]
    ]


@pytest.mark.parametrize("path", list(READY))
def test_axe_finds_no_serious_fault(page: Page, busy: FakeGateway, path: str) -> None:
    found = {}
    page.set_viewport_size(DESKTOP)
    page.goto(path)
    expect(page.locator(READY[path]).first).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        expect(page.locator("html")).to_have_attribute("data-theme", scheme)
        for size in (DESKTOP, PHONE):
            page.set_viewport_size(size)
            said = faults(page)
            if said:
                found[f"{scheme} {size['width']}"] = said
    assert not found, "\n".join(f"{where}: {line}" for where, lines in found.items() for line in lines)
