"""The three descriptions of the EAS documents, deployed as they are printed, and the integrated one's form in Chromium.

Only the names of the images are others.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from backend import ports
from tests.browser.stage import DESKTOP, field
from tests.support.box import ROOT, Box, free_port, until

DESCRIPTIONS = ROOT / "docs" / "examples" / "eas"
OLDER = ROOT / "tests" / "support" / "eas_inference_older.json"
SLOW = 60_000
"""Milliseconds that a page of a busy machine may take."""
PRINTED_PORT = 8001


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    deployment = Box(tmp_path_factory.mktemp("documents") / "data")
    deployment.install_samples()
    shutil.copy(ROOT / "docs" / "examples" / "queries" / "app.py", deployment.data_dir)
    deployment.start()
    try:
        yield deployment
    finally:
        deployment.stop()
    until(lambda: not deployment.processes(), f"no process is left: {deployment.processes()}", 10.0)


def create(box: Box, description: Path) -> subprocess.CompletedProcess[str]:
    """`lorapool service create FILE`."""
    words = (sys.executable, "-m", "backend.cli", "service", "create", str(description))
    where = ("--endpoint", box.endpoint, "--data-dir", str(box.data_dir))
    return subprocess.run([*words, *where], capture_output=True, text=True, cwd=ROOT)


def test_inference_as_printed_answers_a_query(box: Box) -> None:
    made = create(box, DESCRIPTIONS / "inference.json")
    assert made.returncode == 0, made.stderr
    assert "scalablejob (ScalableJob)" in made.stdout
    with box.client() as client:
        service = client.service("scalablejob")
        asked = service.submit(data=b'{"prompt": "a red circle"}', kind="query")
        assert asked.wait(SLOW / 1000).state == "succeeded", asked.view().reason
        assert service.view().state == "Running"
        service.delete()


def test_the_missing_comma_of_the_older_sample_is_found_on_its_line(box: Box) -> None:
    refused = create(box, OLDER)
    assert refused.returncode == 2
    line = next(n for n, text in enumerate(OLDER.read_text().splitlines(), 1) if '"command"' in text)
    assert f"line {line}" in refused.stderr and "a comma is missing" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_independent_as_printed_runs_commands(box: Box) -> None:
    made = create(box, DESCRIPTIONS / "independent.json")
    assert made.returncode == 0, made.stderr
    for key in ("cloud", "features", "metadata.enable_webservice"):
        assert f"{key}: " in made.stderr
    with box.client() as client:
        task = client.service("kohya_scalable_job").submit(command="echo done")
        assert task.wait(SLOW / 1000).state == "succeeded", task.view().reason
        client.service("kohya_scalable_job").delete()


@pytest.fixture
def integrated(box: Box, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Two integrated deployments, the printed one and another of its kind: where the form of each is."""
    if ports.why_not("0.0.0.0", PRINTED_PORT):
        pytest.skip(f"port {PRINTED_PORT} is taken on this machine, and the printed command names it")
    other = tmp_path / "other.json"
    port = free_port()
    text = (DESCRIPTIONS / "integrated.json").read_text()
    other.write_text(text.replace("kohya_job", "other_job").replace(str(PRINTED_PORT), str(port)))
    for description in (DESCRIPTIONS / "integrated.json", other):
        made = create(box, description)
        assert made.returncode == 0, made.stderr
    urls = {"kohya_job": f"http://127.0.0.1:{PRINTED_PORT}", "other_job": f"http://127.0.0.1:{port}"}
    for url in urls.values():
        until(lambda url=url: answers(url), f"the form at {url}")  # type: ignore[misc]
    yield urls
    with box.client() as client:
        for name in urls:
            client.service(name).delete()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False, timeout=2.0).is_success
    except httpx.HTTPError:
        return False


def opened(browser: Browser, url: str, token: str) -> Page:
    """A page of a front end, logged in with the token of its service."""
    context = browser.new_context(viewport=DESKTOP, base_url=url, reduced_motion="reduce")  # type: ignore[arg-type]
    context.set_default_timeout(SLOW)
    page = context.new_page()
    page.goto("/")
    page.fill('input[name="secret"]', token)
    page.press('input[name="secret"]', "Enter")
    return page


def test_the_printed_command_s_form_trains_and_another_service_s_form_sees_nothing_of_it(
    browser: Browser, box: Box, integrated: dict[str, str]
) -> None:
    with box.client() as client:
        tokens = {name: client.service(name).view().token or "" for name in integrated}
    # given forms that let in whoever has the token of their service, and none of which has the administrator's
    for url, token in ((integrated[name], tokens[name]) for name in integrated):
        with httpx.Client(base_url=url, trust_env=False, follow_redirects=True, timeout=30.0) as visitor:
            assert visitor.get("/live/tasks").status_code == 401
            assert visitor.post("/login", data={"secret": "wrong"}).status_code == 401
            assert visitor.post("/login", data={"secret": token}).status_code == 200
    for pid, line in box.processes().items():
        if "kohya_gui" in line:
            assert box.token not in psutil.Process(pid).environ().values()
    # when a training is started on the form that the printed command serves
    page = opened(browser, integrated["kohya_job"], tokens["kohya_job"])
    expect(page.locator("#lp-outlook")).to_contain_text("Pictures30", timeout=SLOW)
    page.fill(field("output_name"), "printed")
    page.fill(field("max_train_steps"), "2")
    page.fill(field("sample_every_n_steps"), "0")
    page.fill(field("save_every_n_steps"), "0")
    page.keyboard.press("Tab")
    expect(page.locator("#lp-outlook")).to_contain_text("Steps2", timeout=SLOW)
    page.click("#lp-start")
    link = page.locator("#lp-after .queued a")
    expect(link).to_be_visible(timeout=SLOW)
    task_id = (link.get_attribute("href") or "").partition("task=")[2]
    # then it runs on the pool of that service
    with box.client() as client:
        ended = client.task(task_id).wait(SLOW / 500)
        assert (ended.service, ended.state) == ("kohya_job", "succeeded"), ended.reason
    page.goto("/jobs")
    expect(page.locator(f'.list [data-task="{task_id}"]')).to_be_visible()
    # and the form of the other service neither shows it nor may touch it
    other = opened(browser, integrated["other_job"], tokens["other_job"])
    other.goto("/jobs")
    expect(other.locator("body")).to_contain_text("No jobs yet", timeout=SLOW)
    assert other.locator("[data-task]").count() == 0
    for action in ("cancel", "retry"):
        refused = other.evaluate(
            "([id, action]) => fetch(`/live/tasks/${id}/${action}`, {method: 'POST', body: '{}',"
            " headers: {'Content-Type': 'application/json'}}).then(answer => answer.status)",
            [task_id, action],
        )
        assert refused == 403
    with box.client() as client:
        assert client.task(task_id).state == "succeeded"
    page.context.close()
    other.context.close()
