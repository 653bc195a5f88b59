"""The Service page in a real browser: instances and how they fare, why there are so many, what they were spent on."""

from __future__ import annotations

import time
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.fake_gateway import FakeGateway, instance, service
from tests.browser.stage import PHONE, until

GPU = {
    **{"cpu_load": 0.1, "memory_used": 8e9, "memory_total": 64e9, "gpu": "NVIDIA GeForce RTX 4090"},
    **{"gpu_load": 0.87, "gpu_memory_used": 6e9, "gpu_memory_total": 24e9},
}
CPU = {
    **{"cpu_load": 0.35, "memory_used": 4e9, "memory_total": 16e9, "gpu": ""},
    **{"gpu_load": None, "gpu_memory_used": None, "gpu_memory_total": None},
}


def busy(gateway: FakeGateway) -> None:
    """Two instances, a queue that has come and gone, decisions, and two users."""
    now = time.time()
    gateway.add("run", name="my style", state="running")
    gateway.instances.append(
        instance("kohya_job-0001", state="busy", tasks=["run"], loaded=["models/sd15"], vitals=GPU)
    )
    gateway.instances.append(instance("kohya_job-0002", device="cpu", vitals=CPU))
    gateway.moments += [
        moment(now - 3000, 0),
        moment(now - 2000, 6, busy=1),
        moment(now - 900, 1, busy=1, idle=1),
    ]
    gateway.users += [
        {"user": "ana", "run": 7260.0, "boot": 12.0, "idle": 300.0},
        {"user": "", "run": 60.0, "boot": 0.0, "idle": 0.0},
    ]
    gateway.decisions.append(decision())


def moment(at: float, waiting: int, **instances: int) -> dict[str, float]:
    none = {"starting": 0, "idle": 0, "busy": 0, "draining": 0}
    return {"at": at, "waiting": waiting, "running": instances.get("busy", 0), **none, **instances}


def decision(**more: Any) -> dict[str, Any]:
    said = {"seen": "1 task waiting, instances: none", "decided": "start 1", "why": "a task waits"}
    return {"at": time.time(), "until": time.time(), "times": 1, **said, "why_not_more": "", **more}


def test_what_each_instance_does_has_and_costs_and_why_it_is_there(page: Page, gateway: FakeGateway) -> None:
    busy(gateway)
    page.goto("/service")
    first, second = (page.locator(f'[data-instance="kohya_job-000{n}"]') for n in (1, 2))
    expect(first).to_contain_text("busy")
    expect(first.locator("a")).to_have_text("my style")
    expect(first).to_contain_text("models/sd15")
    expect(first.locator(".memory")).to_contain_text("6.0 GB of 24 GB")
    expect(first.locator(".memory")).to_contain_text("RTX 4090")
    expect(first.locator(".load")).to_contain_text("87 %")
    expect(second.locator(".memory")).to_contain_text("4.0 GB of 16 GB")
    expect(second).to_contain_text("no GPU")
    expect(second.locator(".load")).to_contain_text("35 %")
    expect(page.locator(".journal")).to_contain_text("Start 1.A task waits.")
    expect(page.locator(".past")).to_have_attribute("data-points", "3")
    expect(page.locator(".past canvas")).to_be_visible()
    expect(page.locator(".legend")).to_have_text("queued 1instances 2at work 1")
    expect(page.locator(".usage tbody tr").first).to_contain_text("ana2 h 01 min12 s5 min 00 s")
    expect(page.locator(".usage tbody tr").last).to_contain_text("nobody in particular")
    assert "the-service-token" not in page.content()
    # and it is all there again after a reload
    page.reload()
    expect(page.locator(".past")).to_have_attribute("data-points", "3")
    expect(first.locator(".load")).to_contain_text("87 %")


def test_the_settings_of_scaling_are_shown_and_changed_and_another_tab_hears_of_it(
    page: Page, context: BrowserContext, gateway: FakeGateway
) -> None:
    gateway.services[0]["description"] = {"autoscaler": {"min": 0, "max": 2, "user_limits": {"ana": 1}}}
    other = context.new_page()
    for each in (page, other):
        each.goto("/service")
        expect(each.locator("#s-max")).to_have_value("2")
        expect(each.locator("#s-rule")).to_have_value("work")
    page.fill("#s-max", "4")
    page.fill("#s-comfort", "1")
    page.click(".scaling >> text=Apply")
    expect(page.locator(".lp-toast")).to_contain_text("hold from now on")
    kept = {"user_limits": {"ana": 1}}
    assert gateway.services[0]["description"]["autoscaler"] == {"min": 0, "max": 4, "comfort": 1, **kept}
    gateway.pool_changed()
    expect(other.locator("#s-max")).to_have_value("4")
    # what somebody types is not written over by what the server tells
    other.fill("#s-min", "9")
    page.select_option("#s-rule", "length")
    page.fill("#s-threshold", "3")
    page.click(".scaling >> text=Apply")
    until(
        lambda: (
            gateway.services[0]["description"]["autoscaler"]
            == {"min": 0, "max": 4, "strategies": {"avg_waiting_length": 3}, **kept}
        ),
        what="the new rule",
    )
    gateway.pool_changed()
    gateway.services[0]["max"] = 5
    expect(other.locator(".service")).to_contain_text("At most5")
    expect(other.locator("#s-min")).to_have_value("9")
    # what is wrong is said, and nothing is sent
    other.click(".scaling >> text=Apply")
    expect(other.locator(".scaling .problem")).to_contain_text("more than")
    gateway.refuses = {"error": "InvalidArgument", "message": "autoscaler.max: no"}
    other.fill("#s-min", "1")
    other.click(".scaling >> text=Apply")
    expect(other.locator(".scaling .problem")).to_have_text("autoscaler.max: no")
    other.close()


def test_of_several_services_one_is_looked_at_closely(page: Page, gateway: FakeGateway) -> None:
    gateway.services.append(service("second", max=7, description={"autoscaler": {"min": 0, "max": 7}}))
    page.goto("/service")
    expect(page.locator("#s-max")).to_have_value("1")
    page.get_by_role("button", name="second").click()
    expect(page.locator("#s-max")).to_have_value("7")
    page.reload()
    expect(page.locator("#s-max")).to_have_value("7")


def test_it_is_plain_when_nothing_runs_and_fits_a_phone(page: Page, gateway: FakeGateway) -> None:
    gateway.services.clear()
    page.set_viewport_size(PHONE)
    page.goto("/service")
    expect(page.locator(".services")).to_contain_text("No service yet")
    expect(page.locator("#lp-page")).to_contain_text("No instance is running")
    gateway.stop()
    try:
        expect(page.locator(".lp-banner")).to_contain_text("does not answer")
    finally:
        gateway.start()
    expect(page.locator(".lp-banner")).to_be_hidden()
    gateway.services.append(service())
    busy(gateway)
    gateway.pool_changed()
    expect(page.locator('[data-instance="kohya_job-0001"]')).to_contain_text("busy")
    expect(page.locator(".past canvas")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_queue_is_paused_and_goes_on_and_the_jobs_page_says_so(
    page: Page, context: BrowserContext, gateway: FakeGateway
) -> None:
    gateway.add("run", name="my style", state="running")
    jobs = context.new_page()
    jobs.goto("/jobs")
    expect(jobs.locator(".pause")).to_have_text("Pause the queue")
    page.goto("/service")
    page.get_by_role("button", name="Pause the queue").click()
    expect(page.locator(".lp-toast")).to_contain_text("What runs now is not interrupted")
    expect(page.locator(".service")).to_contain_text("stopped")
    expect(jobs.locator(".pause")).to_have_text("Paused: what is queued waits.Go on")
    jobs.get_by_role("button", name="Go on").click()
    expect(jobs.locator(".pause")).to_have_text("Pause the queue")
    assert gateway.services[0]["state"] == "Running"
